"""Heads with several rows a text, without Triton: tokens, entities and ragged answers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from support.onnx_encoders import SETTINGS
from support.tiny_encoders import make_embedder
from trtbuild.resources import template_dir

NAMES = ("text_rows", "text_tasks", "text_entities", "text_template")
LABELS = ["O", "B-PER", "I-PER", "B-LOC"]
MULTI = {
    **SETTINGS, "head": "multi-vector", "lower": False, "prompts": {}, "query_tokens": 8,
    "document_tokens": 6, "query_expansion": "masked", "expansion_id": 4, "skip_words": ["!", "x"],
}  # fmt: skip
TOKENS = {**SETTINGS, "head": "token-labels", "labels": LABELS, "activation": "identity"}


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    folder = str(template_dir("text", "model"))
    sys.path.insert(0, folder)
    yield {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("checkpoint") / "tiny")


# ------------------------------------------------------------------------------------ many vectors


@pytest.mark.parametrize(("how", "attended"), [("masked", 0), ("attended", 1)])
def test_a_short_query_is_filled_with_the_mask_token(
    modules: dict[str, ModuleType], checkpoint: Path, how: str, attended: int
) -> None:
    texts = modules["text_rows"].Texts(checkpoint, {**MULTI, "query_expansion": how})
    short, long = texts.encode(["a!", "abcdefghijkl"], "END", "query")
    assert short.ids[4:] == [4] * 4
    assert short.attended == [1] * 4 + [attended] * 4
    assert short.kept.all()
    assert len(long.ids) == 8
    assert long.attended is None


def test_words_of_a_document_are_skipped(modules: dict[str, ModuleType], checkpoint: Path) -> None:
    texts = modules["text_rows"].Texts(checkpoint, MULTI)
    (one,) = texts.encode(["a ! x b c d"], "END", "passage")
    assert len(one.ids) == 6
    assert one.kept.tolist() == [True, True, False, False, True, True]
    work = modules["text_tasks"].prepare(MULTI, {"text": ["a"]}, {"input_type": "document"})
    assert work.use == "passage"


def test_rows_of_vectors_are_padded_with_zeros(modules: dict[str, ModuleType]) -> None:
    tokens = modules["text_template"].Tokens
    work = modules["text_tasks"].prepare(MULTI, {"text": ["a", "b"]}, {})
    rows = [np.ones((3, 2), np.float32), np.full((2, 2), 2, np.float32)]
    made = [
        tokens([1, 2, 3], [], [], kept=np.array([True, False, True])),
        tokens([1, 2], [], [], kept=np.array([True, False])),
    ]
    answer = work.answer(rows, made)
    assert answer["vector_count"].tolist() == [[2], [1]]
    assert answer["token_count"].tolist() == [[3], [2]]
    assert answer["token_embeddings"].tolist() == [[[1, 1], [1, 1]], [[2, 2], [0, 0]]]


def test_a_prompt_that_is_one_token_stays_one(
    modules: dict[str, ModuleType], checkpoint: Path
) -> None:
    settings = {**MULTI, "prompts": {"query": "## "}, "query_expansion": ""}
    document = json.loads((checkpoint / "tokenizer.json").read_text())
    document["model"]["vocab"]["##"] = len(document["model"]["vocab"])
    other = checkpoint.parent / "marked"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(document))
    plain = modules["text_rows"].Texts(other, {**settings, "prompts": {}})
    marked = modules["text_rows"].Texts(other, settings)
    assert len(plain.encode(["## a"], "NONE")[0].ids) == 5
    assert len(marked.encode(["## a"], "NONE")[0].ids) == 4


def test_sparse_rows_are_padded_with_minus_one(modules: dict[str, ModuleType]) -> None:
    settings = {**SETTINGS, "head": "sparse"}
    work = modules["text_tasks"].prepare(settings, {"text": ["a", "b", "c"]}, {})
    rows = [np.array([0, 0.5, 2.0]), np.array([1.5, 0, 0]), np.zeros(3)]
    tokens = [modules["text_template"].Tokens([1], [], []) for _ in rows]
    answer = work.answer(rows, tokens)
    assert answer["indices"].tolist() == [[1, 2], [0, -1], [-1, -1]]
    assert answer["values"].tolist() == [[0.5, 2.0], [1.5, 0], [0, 0]]
    with pytest.raises(modules["text_rows"].Refused, match="dimensions"):
        modules["text_tasks"].prepare(settings, {"text": ["a"]}, {"dimensions": 2})


# ---------------------------------------------------------------------------------------- entities

TEXT = "Ann Lee is in Rome"
# Tokens: Ann, L, ##ee, is, in, Rome; the second part of "Lee" disagrees with the first.
SPANS = [(0, 0), (0, 3), (4, 5), (5, 7), (8, 10), (11, 13), (14, 18), (0, 0)]
INNER = [False, False, False, True, False, False, False, False]
BEST = [0, 1, 2, 3, 0, 0, 3, 0]


def found(modules: dict[str, ModuleType], how: str) -> list[tuple[str, str, float]]:
    scores = np.full((8, 4), 0.1)
    scores[np.arange(8), BEST] = [0.7, 0.8, 0.6, 0.9, 0.7, 0.7, 0.5, 0.7]
    tokens = modules["text_template"].Tokens([0] * 8, [], [1, 0, 0, 0, 0, 0, 0, 1])
    tokens.offsets, tokens.inner = SPANS, INNER
    rows = modules["text_entities"].entities(TEXT, scores, tokens, LABELS, how)
    assert all(TEXT[row["start"] : row["end"]] == row["word"] for row in rows)
    return [(row.get("entity_group", row.get("entity")), row["word"], row["score"]) for row in rows]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("none", [("B-PER", "Ann", 0.8), ("I-PER", "L", 0.6), ("B-LOC", "ee", 0.9),
                  ("B-LOC", "Rome", 0.5)]),
        ("simple", [("PER", "Ann L", 0.7), ("LOC", "ee", 0.9), ("LOC", "Rome", 0.5)]),
        ("first", [("PER", "Ann Lee", 0.7), ("LOC", "Rome", 0.5)]),
        ("average", [("PER", "Ann", 0.8), ("LOC", "Lee", 0.5), ("LOC", "Rome", 0.5)]),
        ("max", [("PER", "Ann", 0.8), ("LOC", "Lee", 0.9), ("LOC", "Rome", 0.5)]),
    ],
)  # fmt: skip
def test_tokens_become_entities(
    modules: dict[str, ModuleType], how: str, wanted: list[tuple[str, str, float]]
) -> None:
    rows = found(modules, how)
    assert [row[:2] for row in rows] == [row[:2] for row in wanted]
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in wanted])


def test_words_are_those_of_the_tokenizer(modules: dict[str, ModuleType], checkpoint: Path) -> None:
    texts = modules["text_rows"].Texts(checkpoint, {**TOKENS, "lower": True})
    (one,) = texts.encode(["Ab c"], "END")
    assert one.offsets == [(0, 0), (0, 1), (1, 2), (3, 4), (0, 0)]
    assert one.inner[1:4] == [False, True, False]


def test_what_a_unigram_does_not_know_is_a_word(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    """As in transformers, which goes by the id: the token keeps its characters."""
    pieces = [("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0), ("b", -2.0)]
    made = Tokenizer(models.Unigram(pieces, 0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.save(str(tmp_path / "tokenizer.json"))
    (one,) = modules["text_rows"].Texts(tmp_path, TOKENS).encode(["aüb ab"], "END")
    assert one.ids == [1, 2, 0, 3, 1, 2, 3]
    assert one.inner == [False, False, False, True, False, False, True]


def test_an_unknown_aggregation_is_refused(modules: dict[str, ModuleType]) -> None:
    with pytest.raises(modules["text_rows"].Refused, match="unknown aggregation 'words'"):
        modules["text_tasks"].prepare(TOKENS, {"text": ["a"]}, {"aggregation": "words"})


def test_entities_come_as_json_for_each_text(modules: dict[str, ModuleType]) -> None:
    work = modules["text_tasks"].prepare(TOKENS, {"text": ["Ann", ""]}, {})
    tokens = modules["text_template"].Tokens
    first = tokens([0, 1, 2], [], [1, 0, 1], offsets=[(0, 0), (0, 3), (0, 0)], inner=[False] * 3)
    empty = tokens([0, 2], [], [1, 1], offsets=[(0, 0), (0, 0)], inner=[False] * 2)
    rows = [np.eye(4)[[0, 1, 0]], np.eye(4)[[0, 0]]]
    answer: dict[str, Any] = work.answer(rows, [first, empty])
    (one,) = json.loads(answer["entities"][0, 0])
    assert one == {"entity_group": "PER", "score": 1.0, "start": 0, "end": 3, "word": "Ann"}
    assert json.loads(answer["entities"][1, 0]) == []
    assert answer["scores"].shape == (2, 3, 4)
    assert not answer["scores"][1, 2].any()
