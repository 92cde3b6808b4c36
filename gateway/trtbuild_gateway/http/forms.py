"""Forms with a file: ``multipart/form-data``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.http.exchange import Exchange

_MOST_FIELDS = 64


async def form_of(exchange: Exchange, *, filenames: bool = False) -> dict[str, Any]:
    """Read a form: files as bytes, other fields as text.

    With ``filenames`` a file is a pair of its name and its bytes. A field whose
    name ends with ``[]`` is one element of a list.

    Raises:
        ApiError: The body is no form, is too large (413) or too slow (408).
        LeftError: The client left.
    """
    kind = exchange.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise invalid("send the file as multipart/form-data", code="invalid_form")
    body = await exchange.body()

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        Headers({"content-type": kind}), once(), max_files=1, max_fields=_MOST_FIELDS
    )
    parser.spool_max_size = len(body) + 1  # nothing goes to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, LookupError, ValueError) as error:
        raise invalid(f"the form cannot be read: {error}", code="invalid_form") from None
    made: dict[str, Any] = {}
    for name, value in form.multi_items():
        found: Any = value
        if isinstance(value, UploadFile):
            found = await value.read()
            found = (value.filename or "", found) if filenames else found
        if name.endswith("[]"):
            made.setdefault(name[:-2], []).append(found)
        else:
            made[name] = found
    await form.close()
    return made
