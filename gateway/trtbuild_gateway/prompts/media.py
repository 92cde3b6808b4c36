"""Images and audio in the parts of messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.prompts.fetching import fetch
from trtbuild_gateway.settings import MediaSettings

_IMAGES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*",
)  # fmt: skip

# A hint: the model's own files say how its images are scaled. Source: openai-python 3.57.0,
# types/responses/response_input_image_param.py.
_DETAILS = (None, "low", "high", "auto", "original")


async def take_images(
    messages: Sequence[Mapping[str, Any]], settings: MediaSettings
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return messages with a mark for each image, and the images as base64 text.

    Raises:
        ApiError: An image that is none, is too large or cannot be fetched; audio, which no model
            that generates text takes.
    """
    made: list[dict[str, Any]] = []
    images: list[str] = []
    for at, message in enumerate(messages):
        parts = message.get("content")
        if isinstance(parts, list):
            kept = []
            for number, part in enumerate(parts):
                param = f"messages[{at}].content[{number}]"
                kept.append(await _part(part, param, images, settings))
            made.append({**message, "content": kept})
        else:
            made.append(dict(message))
    return made, tuple(images)


async def _part(
    part: dict[str, Any], param: str, images: list[str], settings: MediaSettings
) -> dict[str, Any]:
    if part["type"] == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if part["type"] == "text":
        return part
    if part["type"] == "input_audio":
        raise invalid(
            "no model of this gateway that generates text takes audio: send its text",
            param,
            "unsupported_content",
        )
    if len(images) >= settings.most:
        raise invalid(f"the request has more than {settings.most} images", param)
    content = await _image(part.get("image_url"), f"{param}.image_url", settings)
    images.append(base64.b64encode(content).decode())
    return {"type": "image"}


async def _image(value: Any, param: str, settings: MediaSettings) -> bytes:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise invalid(f"{param!r} needs 'url'", param)
    detail = value.get("detail") if isinstance(value, dict) else None
    if detail not in _DETAILS:
        known = ", ".join(filter(None, _DETAILS))
        raise invalid(f"the detail {detail!r} is not one of {known}", f"{param}.detail")
    if url[:5].lower() == "data:":
        content = _data(url, param, settings)
    else:
        content = await fetch(url, param, settings)
    if not content.startswith(_IMAGES) and not (
        content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    ):
        raise invalid(
            "the content is not an image: PNG, JPEG, WebP, GIF, BMP or TIFF",
            param,
            "invalid_image",
        )
    return content


def _data(url: str, param: str, settings: MediaSettings) -> bytes:
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise invalid("a data URL must be base64: data:image/png;base64,…", param, "invalid_url")
    if len(text) // 4 * 3 > settings.most_bytes + 2:
        raise ApiError(
            413,
            f"the image is larger than {settings.most_bytes:,} bytes",
            param=param,
            code="image_too_large",
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("the data URL is not valid base64", param, "invalid_url") from None
