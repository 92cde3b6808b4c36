"""The answer to a path or method that does not exist."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trtbuild_gateway.failures import ApiError


async def not_here(request: Request, error: Exception) -> Response:
    """Answer in OpenAI's form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = "does not exist" if status == 404 else f"cannot be asked with {request.method}"
    code = "unknown_url" if status == 404 else "method_not_allowed"
    answer = ApiError(status, f"{request.url.path} {what}", code=code)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return Response(
        msgspec.json.encode(answer.body()), status, headers, media_type="application/json"
    )
