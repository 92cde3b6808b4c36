"""Small files in base64 that ask a model of images or recordings whether it answers."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib


def gray_png() -> str:
    """Return a gray square of 32 pixels: an RGB image in PNG format."""
    size = 32
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


def silent_wav() -> str:
    """Return a silence of 0.1 s: mono, 16 bits, 16 kHz, in WAV format."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * 1600))
    return base64.b64encode(made.getvalue()).decode()
