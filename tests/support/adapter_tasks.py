"""The transformers adapter beside the library's own pipelines: ``CLASSIFIER WHISPER ANSWERS``.

Runs where PyTorch is; the answers are JSON.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
import wave
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["a b", "c a d", ("a", "b c")]
WINDOW = 2  # seconds of the tiny Whisper's


def recording(seconds: float, rate: int = 16_000) -> bytes:
    """A WAV file with noise."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(random.Random(1).randbytes(2 * round(seconds * rate)))
    return made.getvalue()


async def main(moods: str, speech: str, answers: str) -> None:
    """Ask the adapter and the pipelines, and write what both say."""
    sys.path[:0] = [str(ROOT / "backends"), str(ROOT / "adapters/transformers")]
    from transformers import pipeline

    from trtbuild_backends.backend import (
        ClassifyRequest,
        ModelSource,
        RequestError,
        TranscribeRequest,
    )
    from trtbuild_transformers_adapter.backend import TransformersBackend

    options = {"dtype": "float32"}
    labels, hears = (
        TransformersBackend(ModelSource(Path(one).name, one, options=options))
        for one in (moods, speech)
    )
    facts = [await labels.load(), await hears.load()]
    found: dict[str, Any] = {"tasks": [one.task for one in facts], "labels": facts[0].labels}
    found["scores"] = (await labels.classify(ClassifyRequest(TEXTS))).scores
    own = pipeline("text-classification", moods, top_k=None)
    given = [one if isinstance(one, str) else dict(zip(("text", "text_pair"), one, strict=True))
             for one in TEXTS]  # fmt: skip
    said = [own(one) for one in given]
    lists = [one[0] if isinstance(one[0], list) else one for one in said]
    rows = [{row["label"]: row["score"] for row in one} for one in lists]
    found["pipeline scores"] = [[row[name] for name in facts[0].labels] for row in rows]

    audio = recording(WINDOW)
    found["text"] = (await hears.transcribe(TranscribeRequest(audio, "de"))).text
    asked = {"language": "de", "task": "transcribe"}
    samples = np.frombuffer(audio[44:], dtype="<i2") / np.float32(32768)
    given_too = {"raw": samples, "sampling_rate": 16_000}
    heard = pipeline("automatic-speech-recognition", speech)(given_too, generate_kwargs=asked)
    found["pipeline text"] = heard["text"].strip()
    long = TranscribeRequest(recording(2.5 * WINDOW), prompt="a b c", timestamps=True)
    whole = await hears.transcribe(long)
    found |= {"segments": whole.segments, "duration": whole.duration, "language": whole.language}

    async def refusal(asking: Awaitable[Any]) -> str:
        try:
            return f"answered {await asking}"
        except RequestError as error:
            return str(error)

    found["refusals"] = [
        await refusal(hears.transcribe(TranscribeRequest(wav, language)))
        for wav, language in (
            (recording(1), "xx"), (recording(1, rate=8000), ""), (recording(0), ""),
            (b"RIFF\x04\x00\x00\x00WAVE", ""),
        )
    ] + [await refusal(labels.classify(ClassifyRequest(["a " * 99])))]  # fmt: skip
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
