"""The served ONNX model without Triton: batches, truncation, requests, what the check catches."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.onnx_encoders import SETTINGS, write_graph
from support.tiny_encoders import make_embedder
from trtbuild.resources import template_dir
from trtbuild.signature.vectors import typed

NAMES = ("text_rows", "text_tasks", "compare")
LIMITS = {"max_abs": 1e-5, "cosine": 0.99999}
TEXTS = ["a", "", "Some words, more than a few", "UPPER lower", "z" * 30 + " " + "y" * 40]


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    folders = [str(template_dir("text", part)) for part in ("model", "check")]
    sys.path[:0] = folders
    yield {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name)
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("checkpoint") / "tiny")


# ------------------------------------------------------------------------------------- batches


@given(lengths=st.lists(st.integers(0, 90), max_size=60), budget=st.integers(1, 400))
def test_packs_hold_each_item_once_and_little_padding(lengths: list[int], budget: int) -> None:
    sys.path.insert(0, str(template_dir("text", "model")))
    try:
        packs = list(importlib.import_module("text_rows").packs(lengths, budget))
    finally:
        sys.path.pop(0)
    assert sorted(at for pack in packs for at in pack) == list(range(len(lengths)))
    for pack in packs:
        sizes = [max(1, lengths[at]) for at in pack]
        assert len(pack) == 1 or max(sizes) * len(pack) <= budget
        assert max(sizes) <= max(1.3 * min(sizes), min(sizes) + 8)


# ------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"dimensions": 3}, "dimensions 3 is not supported: send one of 2, 4"),
        ({"dimensions": "all"}, "dimensions all is not supported"),
        ({"dimensions": True}, "dimensions True is not supported"),
        ({"input_type": "image"}, "unknown input_type 'image'"),
        ({"prompt_name": "code"}, "no prompt 'code': leave prompt_name out"),
        ({"truncate": "MIDDLE"}, "unknown truncate 'MIDDLE'"),
        (
            {"embedding_type": "int4"},
            "unknown embedding_type 'int4': send one of float, binary, ubinary, int8",
        ),
    ],
)
def test_a_wrong_parameter_is_refused(
    modules: dict[str, ModuleType], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(modules["text_rows"].Refused, match=message):
        modules["text_tasks"].prepare(SETTINGS, {"text": ["a"]}, asked)


def test_only_a_matryoshka_model_is_cut(modules: dict[str, ModuleType]) -> None:
    plain = {**SETTINGS, "matryoshka": []}
    with pytest.raises(modules["text_rows"].Refused, match="not trained for shorter vectors"):
        modules["text_tasks"].prepare(plain, {"text": ["a"]}, {"dimensions": 2})
    assert modules["text_tasks"].prepare(plain, {"text": ["a"]}, {"dimensions": 6}).items == ["a"]


@pytest.mark.parametrize(
    ("kind", "vector"),
    [
        ("float", [0.5, -0.25, 0, 1] * 2),
        ("int8", [64, -32, 0, 127] * 2),
        ("uint8", [192, 96, 128, 255] * 2),
        ("ubinary", [0b10011001]),
        ("binary", [0b10011001 - 128]),
    ],
)
def test_vectors_come_as_the_type_that_is_asked_for(
    modules: dict[str, ModuleType], kind: str, vector: list[float]
) -> None:
    settings = {**SETTINGS, "matryoshka": "any", "dimension": 16, "normalized": False}
    asked = {"embedding_type": kind, "dimensions": 8}
    rows = [np.array([0.5, -0.25, 0, 1] * 4), np.zeros(16)]
    found = modules["text_tasks"].prepare(settings, {"text": ["a", "b"]}, asked)
    made = found.answer(rows, counted(1, 1))["embeddings"]
    assert made.dtype == np.float32 and made[0].tolist() == vector
    assert typed(rows[0][:8].tolist(), kind) == tuple(vector)
    assert typed(rows[1][:8].tolist(), kind) == tuple(made[1].tolist())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": []}, "no text: send at least one"),
        ({"query": ["a"], "passage": ["b", "c"]}, "different numbers of texts"),
    ],
)
def test_rows_must_be_there_and_match(
    modules: dict[str, ModuleType], columns: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(modules["text_rows"].Refused, match=message):
        modules["text_tasks"].prepare(SETTINGS, columns, {})


def test_prompts_go_before_texts(modules: dict[str, ModuleType]) -> None:
    def items(**asked: str) -> list[str]:
        made: list[str] = modules["text_tasks"].prepare(SETTINGS, {"text": ["a"]}, asked).items
        return made

    assert items() == ["a"]
    assert items(input_type="query") == ["query: a"]
    assert items(input_type="passage") == items(prompt_name="document") == ["text: a"]


def counted(*sizes: int) -> list[SimpleNamespace]:
    """Tokens of which only the number matters."""
    return [SimpleNamespace(ids=[0] * size) for size in sizes]


def test_a_reranker_answers_best_first(modules: dict[str, ModuleType]) -> None:
    settings = {**SETTINGS, "head": "score", "activation": "sigmoid"}
    columns = {"query": ["q"] * 3, "passage": ["a", "b", "c"]}
    work = modules["text_tasks"].prepare(settings, columns, {})
    assert work.items == [("q", "a"), ("q", "b"), ("q", "c")]
    answer = work.answer([np.array([-1.0]), np.array([2.0]), np.array([0.0])], counted(5, 6, 7))
    assert answer["index"].tolist() == [[1], [2], [0]]
    assert answer["logit"].tolist() == [[2], [0], [-1]]
    assert answer["score"].ravel() == pytest.approx([0.8808, 0.5, 0.2689], abs=1e-4)
    assert answer["token_count"].tolist() == [[5], [6], [7]]


@pytest.mark.parametrize("raw", [False, True])
def test_a_classifier_names_its_best_label(modules: dict[str, ModuleType], raw: bool) -> None:
    settings = {**SETTINGS, "head": "labels", "activation": "softmax", "labels": ["no", "yes"]}
    work = modules["text_tasks"].prepare(settings, {"text": ["a"]}, {"raw_scores": raw})
    answer = work.answer([np.array([0.0, 1.0])], counted(3))
    assert answer["label"].tolist() == [[b"yes"]]
    wanted = [0, 1] if raw else [0.2689, 0.7311]
    assert answer["scores"].ravel() == pytest.approx(wanted, abs=1e-4)


# ---------------------------------------------------------------------------------- tokenizing


def test_what_tokenizer_json_cuts_and_pads_is_undone(
    modules: dict[str, ModuleType], checkpoint: Path
) -> None:
    texts = modules["text_rows"].Texts(checkpoint, SETTINGS)
    (short, long) = texts.encode(["ab", "a" * 90], "END")
    assert len(short.ids) == 4
    assert len(long.ids) == 40
    assert texts.encode(["AB"], "END")[0].ids == short.ids
    with pytest.raises(modules["text_rows"].Refused, match="text 1 has 92 tokens and the model"):
        texts.encode(["ab", "a" * 90], "NONE")
    (cut,) = texts.encode(["a" * 60 + "z" * 38], "START")
    assert len(set(cut.ids)) == 3


# ------------------------------------------------------------------------------ what is caught


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pooling swapped": ({"pooling": "cls"}, {}),
    "normalization dropped": ({"unit": False}, {}),
    "Dense dropped": ({"dense": False}, {}),
    "prompt missing": ({}, {"prompts": {}}),
    "padding side wrong": ({}, {"padding_side": "left"}),
    "tokenizer's truncation left in": ({}, {"max_tokens": 16}),
    "lower case forgotten": ({}, {"lower": False}),
}


@pytest.fixture(scope="module")
def reference(
    modules: dict[str, ModuleType], checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Any]:
    """Every text alone, by the right graph and the right settings."""
    folder = tmp_path_factory.mktemp("right")
    write_graph(folder)
    served = modules["compare"].Served(checkpoint, folder, SETTINGS)
    return [served.rows([text], "query")[0] for text in TEXTS]


def differences(
    modules: dict[str, ModuleType],
    checkpoint: Path,
    folder: Path,
    reference: list[Any],
    settings: dict[str, Any],
) -> list[str]:
    compare = modules["compare"]
    rows = compare.Served(checkpoint, folder, {**SETTINGS, **settings}).rows(TEXTS, "query")
    found = compare.compared("query", TEXTS, reference, {"in a batch": rows}, LIMITS)
    problems: list[str] = found.problems
    return problems


def test_what_is_right_passes(
    modules: dict[str, ModuleType], checkpoint: Path, tmp_path: Path, reference: list[Any]
) -> None:
    write_graph(tmp_path)
    assert differences(modules, checkpoint, tmp_path, reference, {}) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(
    modules: dict[str, ModuleType],
    checkpoint: Path,
    tmp_path: Path,
    reference: list[Any],
    fault: str,
) -> None:
    graph, settings = FAULTS[fault]
    write_graph(tmp_path, **graph)
    (worst, *_) = differences(modules, checkpoint, tmp_path, reference, settings)
    assert "in a batch as query: off by" in worst


def test_an_activation_applied_twice_is_caught(modules: dict[str, ModuleType]) -> None:
    logits = [np.array([0.3]), np.array([-2.0])]
    twice = [1 / (1 + np.exp(-row)) for row in logits]
    limits = {"max_abs": 1e-4}
    found = modules["compare"].compared("", ["a", "b"], logits, {"alone": twice}, limits)
    assert found.problems[0].startswith("'b' alone: off by 2.1")


def test_another_width_is_caught(modules: dict[str, ModuleType]) -> None:
    rows = {"alone": [np.zeros(3)]}
    found = modules["compare"].compared("", ["a"], [np.zeros(4)], rows, LIMITS)
    assert found.problems == ["3 numbers are served and the reference has 4"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([[0.1, 0.9], [0.8, 0.2]], ""),
        ([[0.4, 0.6], [0.6, 0.4]], ""),
        ([[0.9, 0.1], [0.8, 0.2]], "'a' alone: off by"),
    ],
)
def test_int8_keeps_the_best_label_of_a_token(
    modules: dict[str, ModuleType], row: list[list[float]], message: str
) -> None:
    wanted = np.array([[0.1, 0.9], [0.8, 0.2]])
    found = modules["compare"].compared(
        "", ["a"], [wanted], {"alone": [np.array(row)]}, {"best": 0.9, "order": 0.95}
    )
    assert "".join(found.problems).startswith(message) if message else found.problems == []


def test_int8_keeps_the_order_of_scores(modules: dict[str, ModuleType]) -> None:
    wanted = [np.array([score]) for score in (0.1, 0.5, 0.9)]
    other = [np.array([score]) for score in (0.2, 0.1, 0.9)]
    limits = {"best": 0.9, "order": 0.95}
    found = modules["compare"].compared("", ["a", "b", "c"], wanted, {"alone": other}, limits)
    assert found.problems == ["the order of scores agrees by 0.333 (Kendall's tau)"]
    same = modules["compare"].compared("", ["a", "b", "c"], wanted, {"alone": wanted}, limits)
    assert same.problems == []
    assert same.worst["order"] == 1
