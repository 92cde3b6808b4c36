"""Images of a request as pictures."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

from trtbuild_backends.backend import RequestError

_MOST_PIXELS = 64 * 1024 * 1024


def pictures(images: Sequence[str]) -> list[Any]:
    """Return base64 image files as RGB pictures.

    Raises:
        RequestError: One is not an image, or has more than 64 megapixels.
    """
    from PIL import Image

    made = []
    for number, text in enumerate(images, start=1):
        try:
            picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
            if picture.width * picture.height > _MOST_PIXELS:
                raise RequestError(f"image {number} has more than {_MOST_PIXELS:,} pixels")
            made.append(picture.convert("RGB"))
        except (binascii.Error, OSError, ValueError, SyntaxError) as error:
            raise RequestError(f"image {number} cannot be read: {error}") from None
    return made
