"""Images of a request: base64 text or bytes to RGB pictures, within limits.

Runs inside Triton, beside a model.py or a Python-based backend, and imports Pillow only when a
request has an image. Everything wrong with an image is an ImageError whose text is for the client.
An image is read as vLLM's own server reads it: turned as EXIF says, transparency on white, the
first frame of an animation.
"""

import base64
import binascii
import contextlib
import io
from dataclasses import dataclass

# Formats that Pillow decodes in its own process; EPS would start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_SPACE = b" \t\r\n"
_MIB = 1 << 20


class ImageError(ValueError):
    """An image that cannot be used as it is; the client is told this text."""


@dataclass(frozen=True)
class Limits:
    """The largest request: bytes of one image file, pixels of one, pixels of all, and images."""

    file_bytes: int = 32 * _MIB
    pixels: int = 1 << 26
    total_pixels: int = 1 << 27
    count: int = 64


LIMITS = Limits()


def pictures(values, limits=LIMITS, name="image"):
    """RGB pictures of all elements of a request's image tensor (bytes or text of base64)."""
    values = list(values)
    if len(values) > limits.count:
        raise ImageError(f"'{name}' has {len(values)} images; a request may have {limits.count}")
    found, pixels = [], 0
    for number, value in enumerate(values, 1):
        which = f"'{name}'" if len(values) == 1 else f"'{name}' {number} of {len(values)}"
        picture = rgb(decoded(value, which, limits), which, limits)
        pixels += picture.width * picture.height
        if pixels > limits.total_pixels:
            raise ImageError(
                f"the images of the request have more than {limits.total_pixels} pixels together: "
                "send smaller ones, or fewer"
            )
        found.append(picture)
    return found


def decoded(value, which="'image'", limits=LIMITS):
    """The bytes of an image file from its base64 text; a ``data:`` URL may carry it."""
    text = value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value)
    if text[:5].lower() == b"data:":
        head, comma, text = text.partition(b",")
        if not comma or not head.lower().endswith(b";base64"):
            raise ImageError(f"{which} is a data URL without ';base64,'")
    elif text[:8].lower().startswith((b"http://", b"https:/", b"file:/")):
        raise ImageError(f"{which} is an address: send the file itself, as base64")
    if len(text) // 4 * 3 > limits.file_bytes + _MIB:
        raise _too_large(which, len(text) // 4 * 3, limits)
    try:
        return base64.b64decode(text.translate(None, _SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{which} is not valid base64: {error}") from None


def rgb(data, which="'image'", limits=LIMITS):
    """The picture in the bytes of an image file, in RGB with 8 bits a channel."""
    if not data:
        raise ImageError(f"{which} is empty")
    if len(data) > limits.file_bytes:
        raise _too_large(which, len(data), limits)
    from PIL import Image

    try:
        Image.init()
        known = [name for name in FORMATS if name in Image.OPEN]
        image = Image.open(io.BytesIO(data), formats=known)
        _require_size(image.size, which, limits)
        image.load()
        return _plain(image, which)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{which} is far larger than the {limits.pixels} pixels allowed") from None
    except Image.UnidentifiedImageError:
        names = ", ".join(FORMATS[:6])
        raise ImageError(f"{which} is not a readable picture: send {names}") from None
    except Exception as error:  # a damaged file makes its reader raise anything
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"{which} is not a readable picture: {said}") from None


def _too_large(which, size, limits):
    allowed = limits.file_bytes // _MIB
    return ImageError(f"{which} has {size / _MIB:.1f} MiB; an image may have {allowed} MiB")


def _require_size(size, which, limits):
    """The header's size, before anything of that size is allocated."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{which} has no pixels ({width} x {height})")
    if width * height > limits.pixels:
        raise ImageError(
            f"{which} has {width} x {height} = {width * height} pixels; "
            f"an image may have {limits.pixels}"
        )


def _plain(image, which):
    from PIL import Image, ImageOps

    kind = image.format
    with contextlib.suppress(Exception):  # damaged EXIF: as it lies
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        # Pillow would cut off all above 255 and show a white picture.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode in ("I", "F"):
        raise ImageError(f"{which} has 32-bit pixels: send 8 or 16 bits a channel")
    clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if not clear:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
