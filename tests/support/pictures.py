"""Image files for tests: small ones of every kind, and hostile ones."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image

RED, GREEN = (255, 0, 0), (0, 255, 0)


def halves(size: tuple[int, int] = (32, 16)) -> Image.Image:
    """Red on the left, green on the right."""
    picture = Image.new("RGB", size, GREEN)
    picture.paste(RED, (0, 0, size[0] // 2, size[1]))
    return picture


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def text_of(data: bytes) -> str:
    """Base64, as requests carry it."""
    return base64.b64encode(data).decode()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG from its parts; ``rows`` are the compressed scan lines, whatever the header says."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(side: int = 30_000) -> bytes:
    """A valid grey PNG of two kilobytes a megapixel: ``side`` squared when decoded.

    One row is compressed and its bytes repeated: compressing all of them takes seconds.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    row = packer.compress(bytes(side + 1)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.flush()
    checksum = (side * (side + 1) % 65_521) << 16 | 1  # Adler-32 of as many zeros
    return png(side, side, 8, 0, b"\x78\x9c" + row * side + last + checksum.to_bytes(4, "big"))


def grey16(values: list[int]) -> bytes:
    """A PNG of one row with 16 bits a pixel."""
    row = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    return png(len(values), 1, 16, 0, zlib.compress(row))
