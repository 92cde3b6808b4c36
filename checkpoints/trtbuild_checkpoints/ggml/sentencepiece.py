"""SentencePiece's BPE as parts of ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def spm_normalizer(prefix: bool) -> dict[str, Any]:
    """Return the normalizer: spaces become ``▁``; ``prefix`` puts one before the text."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    if not prefix:
        return replace
    return {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}


def spm_decoder(prefix: bool) -> dict[str, Any]:
    """Return the decoder, byte tokens included."""
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def spm_merges(vocab: Mapping[str, int], scores: list[float]) -> list[list[str]]:
    """Return every merge of two tokens into one, in SentencePiece's order."""
    found: list[tuple[float, int, int, int]] = []
    names = list(vocab)
    for token, number in vocab.items():
        for at in range(1, len(token)):
            left, right = vocab.get(token[:at]), vocab.get(token[at:])
            if left is not None and right is not None:
                found.append((-scores[number], left, right, number))
    found.sort()
    return [[names[left], names[right]] for _, left, right, _ in found]
