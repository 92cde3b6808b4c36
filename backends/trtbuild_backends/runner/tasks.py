"""Classification and transcription in the tensors of trtbuild's own request schemas.

``docs/reference/request-schemas.md`` describes them: ``classify`` and ``transcribe``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild_backends.backend import (
    Classes,
    ClassifyRequest,
    RequestError,
    TranscribeRequest,
    Transcript,
)
from trtbuild_backends.runner.triton import VERSION


def classify_request(body: Mapping[str, Any]) -> ClassifyRequest:
    """Return the texts to classify; RequestError if there are none."""
    texts, raw = _texts(body, "text"), bool(_parameters(body).get("raw_scores"))
    if "text_pair" not in body:
        return ClassifyRequest(texts, raw)
    pairs = _texts(body, "text_pair")
    if len(texts) != len(pairs):
        raise RequestError("text and text_pair have different numbers of texts")
    return ClassifyRequest(list(zip(texts, pairs, strict=True)), raw)


def classes(name: str, found: Classes, labels: Sequence[str]) -> Mapping[str, Any]:
    """Return the scores of labels as an event."""
    if any(len(row) != len(labels) for row in found.scores):
        raise ValueError(f"a text has another number of scores than the {len(labels)} labels")
    best = [labels[max(range(len(row)), key=row.__getitem__)] for row in found.scores]
    scores = [float(score) for row in found.scores for score in row]
    event = {**_begun(name), "scores": scores, "label": best}
    return event | {"token_count": list(found.tokens)} if found.tokens else event


def transcribe_request(body: Mapping[str, Any]) -> TranscribeRequest:
    """Return the only recording of a request; RequestError if there is none or more."""
    recordings, more = _texts(body, "audio"), _parameters(body)
    if len(recordings) != 1:
        raise RequestError("send one recording at a time")
    try:
        audio = base64.b64decode(recordings[0], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("audio is not the base64 text of a file") from None
    return TranscribeRequest(
        audio,
        language=str(more.get("language", "")),
        prompt=str(more.get("prompt", "")),
        translate=more.get("task") == "translate",
        timestamps=bool(more.get("timestamps")),
    )


def transcript(name: str, found: Transcript, *, timed: bool) -> Mapping[str, Any]:
    """Return a text as an event; with times if the model has them."""
    event = {**_begun(name), "text": found.text, "language": found.language}
    if timed:
        parts = [{"start": a, "end": b, "text": text} for a, b, text in found.segments]
        event |= {"duration": found.duration, "segments": json.dumps(parts)}
    return event if found.tokens is None else event | {"token_count": found.tokens}


def _begun(name: str) -> dict[str, Any]:
    return {"model_name": name, "model_version": VERSION}


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    given = body.get(name)
    found: list[Any] = given if isinstance(given, list) else [given]
    if not found or not all(isinstance(text, str) for text in found):
        raise RequestError(f"{name} is missing, or no text")
    return found


def _parameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("parameters")
    return found if isinstance(found, dict) else {}
