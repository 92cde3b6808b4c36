"""``/ui/``: the gateway's page, whose files are built from ``gateway/ui`` and lie in ``page``.

The files are the same for everybody and need no key; what they show is asked for with the reader's.
Neither port has the other's paths, so that the page shows on each what can be done there and never
asks another origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from pathlib import PurePath
from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

Port = Literal["data", "control"]

_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",  # the images of a prompt
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "cache-control": "no-cache",  # the ETag tells whether there is a new one
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(port: Port) -> Iterator[Route]:
    """Yield the routes of the page for one of the gateway's ports."""
    yield Route("/ui", _to_page)
    for file in files("trtbuild_gateway").joinpath("page").iterdir():
        content = file.read_bytes()
        if file.name == "index.html":
            own = content.replace(b'data-port="data"', f'data-port="{port}"'.encode())
            yield Route("/ui/", _sends(own, _KINDS[".html"]))
        else:
            kind = _KINDS[PurePath(file.name).suffix]
            yield Route(f"/ui/{file.name}", _sends(content, kind))


async def _to_page(_: Request) -> Response:
    return RedirectResponse("ui/", headers=_HEADERS)  # relative, whatever path a proxy puts before


def _sends(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {**_HEADERS, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match", "").removeprefix("W/") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return send
