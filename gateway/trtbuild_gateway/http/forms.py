"""Forms with a file: ``multipart/form-data``."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.exchange import Exchange

_MOST_FIELDS = 64


async def form_of(exchange: Exchange, *, uploads: bool = False) -> dict[str, Any]:
    """Read a form: files as bytes, other fields as text.

    A file that is larger than a mebibyte is on the disk while it arrives. With ``uploads`` it is
    not read: the caller gets an ``UploadFile``, and closes it. A field whose name ends with ``[]``
    is one element of a list.

    Raises:
        ApiError: The body is not a form, is too large (413) or too slow (408), or there is no room
            for it on the disk (507).
        LeftError: The client left.
    """
    kind = exchange.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise invalid("send the file as multipart/form-data", code="invalid_form")
    parser = MultiPartParser(
        Headers({"content-type": kind}), exchange.pieces(), max_files=1, max_fields=_MOST_FIELDS
    )
    try:
        form = await parser.parse()
    except (MultiPartException, LookupError, ValueError) as error:
        raise invalid(f"the form cannot be read: {error}", code="invalid_form") from None
    except OSError as error:
        raise ApiError(
            507,
            f"the gateway cannot keep the file while it arrives: {error.strerror}; free space in "
            "its temporary directory, or set TMPDIR to another",
            code="storage_full",
        ) from None
    made: dict[str, Any] = {}
    for name, value in form.multi_items():
        found: Any = value
        if isinstance(value, UploadFile) and not uploads:
            found = await value.read()
            await value.close()
        if name.endswith("[]"):
            made.setdefault(name[:-2], []).append(found)
        else:
            made[name] = found
    return made
