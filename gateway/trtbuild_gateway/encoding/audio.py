"""Transcriptions in OpenAI's five forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from trtbuild.signature.requests import Segment, Transcription


def as_json(found: Transcription) -> bytes:
    """Return the text, with the length of the recording as what it costs."""
    body: dict[str, Any] = {"text": found.text}
    if found.seconds is not None:
        body["usage"] = {"type": "duration", "seconds": math.ceil(found.seconds)}
    return msgspec.json.encode(body)


def as_verbose_json(found: Transcription, task: str, language: str) -> bytes:
    """Return everything that is known; the models report nothing else about a segment."""
    seconds = found.seconds or 0.0
    body = {
        "task": task,
        "language": found.language or language,
        "duration": seconds,
        "text": found.text,
        "segments": [{"id": at, **part._asdict()} for at, part in enumerate(found.segments)],
        "usage": {"type": "duration", "seconds": math.ceil(seconds)},
    }
    return msgspec.json.encode(body)


def as_srt(segments: Sequence[Segment]) -> str:
    """Return subtitles in SubRip's form."""
    blocks = [
        f"{at}\n{_time(part.start, ',')} --> {_time(part.end, ',')}\n{part.text.strip()}\n"
        for at, part in enumerate(segments, 1)
    ]
    return "\n".join(blocks)


def as_vtt(segments: Sequence[Segment]) -> str:
    """Return subtitles in WebVTT's form; its text must not hold an arrow."""
    blocks = [
        f"{_time(part.start, '.')} --> {_time(part.end, '.')}\n"
        f"{part.text.strip().replace('-->', '→')}\n"
        for part in segments
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _time(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{milliseconds:03}"
