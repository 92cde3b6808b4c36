"""Small files in base64 that ask a model of images or recordings whether it answers."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib


def gray_png(size: int = 32) -> str:
    """Return a gray square of ``size`` pixels: an RGB image in PNG format."""
    row = b"\0" + b"\x80\x80\x80" * size
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * size)),
        (b"IEND", b""),
    )
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def silent_wav(seconds: float = 0.1, rate: int = 16000) -> str:
    """Return a silence: mono, 16 bits, in WAV format."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * int(seconds * rate)))
    return base64.b64encode(made.getvalue()).decode()
