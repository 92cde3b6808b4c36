"""The text of recordings.

``audio`` STRING (base64 text of a WAV file) → ``text`` STRING and, where the model
sends them, ``language`` STRING, ``duration`` FP32 (seconds), ``segments`` STRING (a JSON list of
``start``, ``end``, ``text``) and ``token_count`` INT32 (generated tokens). Request parameters:
``language``, ``prompt``, ``task`` (``transcribe`` or ``translate``) and ``timestamps``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from trtbuild.signature.dialects.base import misfit, required_rows, rows, text
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Segment,
    TaskAnswer,
    TaskRequest,
    TranscribeAnswer,
    TranscribeRequest,
    Transcription,
)
from trtbuild.wire.tensors import Outputs, Parameter
from trtbuild_dialects.batched import Batched
from trtbuild_dialects.samples import silent_wav


class Transcribe(Batched[TranscribeRequest, Transcription]):
    """Texts of recordings."""

    name = "transcribe"
    priority = 30
    task = ServedTask.TRANSCRIBE
    takes = (TranscribeRequest,)
    required = (("audio",), ("text",))
    noun = "recording"

    def items(self, request: TranscribeRequest) -> Sequence[str]:
        """Return the recordings."""
        return request.audio

    def options(
        self, model: ServedModel, request: TranscribeRequest
    ) -> Mapping[str, Parameter | None]:
        """Return the parameters of the task."""
        return {
            "language": request.language,
            "prompt": request.prompt,
            "task": "translate" if request.translate else "",
            "timestamps": request.timestamps,
        }

    def read(
        self, model: ServedModel, request: TranscribeRequest, part: slice, outputs: Outputs
    ) -> Sequence[Transcription]:
        """Return the text of each recording, and what the model sends besides."""
        size = part.stop - part.start
        texts = required_rows(model, outputs, "text", size)
        names = ("language", "duration", "segments")
        more = [rows(model, outputs, name, size) or [()] * size for name in names]
        return [
            Transcription(
                text(spoken[0]),
                text(language[0]) if len(language) else "",
                float(seconds[0]) if len(seconds) else None,
                _segments(model, text(segments[0])) if len(segments) else (),
            )
            for spoken, language, seconds, segments in zip(texts, *more, strict=True)
        ]

    def collect(
        self,
        model: ServedModel,
        request: TranscribeRequest,
        results: Sequence[Transcription],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the transcriptions."""
        return TranscribeAnswer(tuple(results), counts)

    def example(self, model: ServedModel) -> TaskRequest:
        """Return a short silence."""
        return TranscribeRequest((silent_wav(),))


def _segments(model: ServedModel, said: str) -> tuple[Segment, ...]:
    try:
        return tuple(
            Segment(float(row["start"]), float(row["end"]), str(row["text"]))
            for row in json.loads(said or "[]")
        )
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise misfit(model, "'segments' is not the JSON list of a recording's parts") from None


dialect = Transcribe()
