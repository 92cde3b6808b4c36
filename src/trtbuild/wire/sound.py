"""Recordings in other formats as WAV files, which are what served models read.

libsndfile decodes them (FLAC, MP3, Ogg, AIFF and others), by the package soundfile of the extra
``audio``.
"""

from __future__ import annotations

import io
from typing import Any

CONVERT = "convert it (ffmpeg -i FILE -ar 16000 -ac 1 out.wav)"
MOST_BYTES = 256 << 20
"""Of a converted recording, as the builder ``torch`` takes: 48 minutes at 48 kHz."""
_BLOCK = 1 << 16  # frames
_MARKS = {
    b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"ID3": "an MP3 file", b"FORM": "an AIFF file",
    b"\xff\xfb": "an MP3 file", b"\xff\xf3": "an MP3 file", b"\x1aE\xdf\xa3": "a WebM file",
}  # fmt: skip


class _Bytes(io.BytesIO):
    """A damaged file names places before its start; soundfile would print a traceback for each."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class SoundError(ValueError):
    """A recording that cannot be read; the message is for whoever sent it."""


def is_wav(data: bytes) -> bool:
    """Whether ``data`` is a RIFF file, which needs no conversion."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def as_wav(data: bytes, extra: str, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a recording as a WAV file of one channel, 16 bits and the same rate.

    Args:
        data: The file; a WAV file is returned as it is.
        extra: The distribution with the extra that decodes others, for messages.
        most_bytes: Of the WAV file: minutes of silence are a small FLAC file.

    Raises:
        SoundError: It is not a recording, is too long, or soundfile is not installed.
    """
    if is_wav(data):
        return data
    try:
        import soundfile
    except (ImportError, OSError):  # the second: a wheel without libsndfile
        kind = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "")
        raise SoundError(
            f"the file is {kind + ', and only WAV can be read' if kind else 'not a WAV file'}: "
            f"{CONVERT}, or install {extra}[audio], which reads FLAC, MP3, Ogg and AIFF"
        ) from None
    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            return _written(soundfile, file, most_bytes)
    except (soundfile.SoundFileError, TypeError):
        raise SoundError(f"the file is not a recording that can be read: {CONVERT}") from None


def _written(soundfile: Any, file: Any, most_bytes: int) -> bytes:
    """Copy in blocks as whole numbers, which keeps the samples of lossless files."""
    made, most = io.BytesIO(), most_bytes // 2  # samples of 16 bits
    with soundfile.SoundFile(
        made, "w", samplerate=file.samplerate, channels=1, format="WAV", subtype="PCM_16"
    ) as out:
        while len(block := file.read(_BLOCK, dtype="int32", always_2d=True)):
            out.write(block.mean(axis=1).astype("int32"))
            if out.tell() > most:
                raise SoundError(
                    f"the recording is longer than {most // file.samplerate} s, the most at "
                    f"{file.samplerate} Hz: cut it, or {CONVERT}"
                )
    return made.getvalue()
