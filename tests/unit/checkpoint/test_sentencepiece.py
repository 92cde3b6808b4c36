"""SentencePiece models in GGUF: the tokens that the ``sentencepiece`` library itself gives.

The golden file holds a small trained BPE model with byte fallback, as GGUF would store it, and
the library's own ids for some texts.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from support.paths import TESTS
from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.file import GgufFile
from trtbuild_checkpoints.ggml.tokenizer import tokenizer_files

GOLDEN = json.loads((TESTS / "golden" / "sentencepiece_bpe.json").read_text(encoding="utf-8"))


def described(**changes: object) -> GgufFile:
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": GOLDEN["tokens"],
        "tokenizer.ggml.scores": GOLDEN["scores"],
        "tokenizer.ggml.token_type": GOLDEN["types"],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    } | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return GgufFile("x.gguf", (Path("x.gguf"),), metadata, {})


def tokenizer_of(file: GgufFile) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_files(file, 512)["tokenizer.json"].decode())


def test_the_same_tokens_as_the_library() -> None:
    tokenizer = tokenizer_of(described())
    for text, expected in zip(GOLDEN["S"], GOLDEN["ids"], strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == expected, text
        assert tokenizer.decode(ids) == text


def test_bos_comes_first_unless_the_file_says_no() -> None:
    assert tokenizer_of(described()).encode("a").ids[0] == 1
    assert tokenizer_of(described(add_bos_token=False)).encode("a").ids[0] != 1
    both = tokenizer_of(described(add_eos_token=True)).encode("a").ids
    assert (both[0], both[-1]) == (1, 2)


def test_scores_must_be_there() -> None:
    with pytest.raises(UnsupportedError, match="0 scores for"):
        tokenizer_files(described(scores=[]), 512)
