"""Requests of an adapter's worker that are none."""

from __future__ import annotations

from typing import Any

import pytest

from trtbuild_backends.backend import ClassifyRequest, RequestError
from trtbuild_backends.runner.tasks import classify_request, transcribe_request


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text is missing"),
        ({"text": []}, "text is missing"),
        ({"text_pair": ["b"]}, "text is missing"),
        ({"text": ["a", 1]}, "text is missing, or no text"),
        ({"text": ["a", "b"], "text_pair": ["c"]}, "different numbers of texts"),
    ],
)
def test_texts_that_cannot_be_classified(body: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        classify_request(body)


def test_pairs_are_classified_as_pairs() -> None:
    body = {"text": "a", "text_pair": "b", "parameters": {"raw_scores": True}}
    assert classify_request(body) == ClassifyRequest([("a", "b")], True)


@pytest.mark.parametrize(("audio", "said"), [(["AA==", "AA=="], "one recording"), ("?", "base64")])
def test_recordings_that_cannot_be_read(audio: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        transcribe_request({"audio": audio})
