"""A pair in the template of a language model, and tokens that a reference appends."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from support.onnx_encoders import SETTINGS
from support.tiny_encoders import make_embedder
from trtbuild.resources import template_dir

TEMPLATE = "Q {query} D {document} ?!"


@pytest.fixture(scope="module")
def rows() -> Iterator[ModuleType]:
    folder = str(template_dir("text", "model"))
    sys.path.insert(0, folder)
    yield importlib.import_module("text_rows")
    sys.path.remove(folder)
    for name in ("text_rows", "text_template"):
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("checkpoint") / "tiny")


def words(texts: Any, encoding: Any) -> str:
    """The characters of a tokenizer that has one token for each."""
    named = (texts._tokenizer.id_to_token(one) for one in encoding.ids)
    return "".join(name.removeprefix("##") for name in named if not name.startswith("["))


@pytest.mark.parametrize(
    ("truncate", "left"),
    [("END", "qabcdefdabcdefghijklmnopqrstu?!"), ("START", "qabcdefdjklmnopqrstuvwxyz0123?!")],
)
def test_only_the_document_of_a_pair_is_cut(
    rows: ModuleType, checkpoint: Path, truncate: str, left: str
) -> None:
    texts = rows.Texts(checkpoint, {**SETTINGS, "pair_template": TEMPLATE, "max_tokens": 33})
    pair = ("abc def", "abcdefghijklmnopqrstuvwxyz0123")
    (one,) = texts.encode([pair], truncate)
    assert len(one.ids) == 33
    assert len(one.ids) == len(one.type_ids) == len(one.special_tokens_mask)
    assert words(texts, one) == left
    (short,) = texts.encode([("a", "b {query}")], truncate)
    assert words(texts, short) == "qadb{query}?!"


def test_a_query_that_leaves_no_room_is_refused(rows: ModuleType, checkpoint: Path) -> None:
    texts = rows.Texts(checkpoint, {**SETTINGS, "pair_template": TEMPLATE, "max_tokens": 20})
    with pytest.raises(rows.Refused, match="text 1: its query alone leaves the document no room"):
        texts.encode([("a", "b"), ("q" * 40, "b")], "END")
    with pytest.raises(rows.Refused, match="text 0 has 27 tokens and the model takes 20"):
        texts.encode([("a", "b" * 20)], "NONE")


def test_an_appended_token_has_its_place_in_a_cut_text(rows: ModuleType, checkpoint: Path) -> None:
    texts = rows.Texts(checkpoint, {**SETTINGS, "append": [4]})
    short, long = texts.encode(["ab", "a" * 90], "END")
    assert (short.ids[-2:], long.ids[-2:], len(long.ids)) == ([3, 4], [3, 4], 40)
    assert short.special_tokens_mask[-1] == 1
    with pytest.raises(rows.Refused, match="text 0 has 92 tokens and the model takes 39"):
        texts.encode(["a" * 90], "NONE")


@pytest.mark.parametrize(
    ("mode", "value"),
    [("mean_sqrt_len_tokens", 4 / np.sqrt(2)), ("weightedmean", (1 + 2 * 3) / 3), ("max", 3)],
)
def test_states_of_tokens_are_pooled(rows: ModuleType, mode: str, value: float) -> None:
    states = np.array([[[1.0], [3.0], [9.0]]], np.float32)
    found = rows.pooled(states, np.array([[1, 1, 0]]), [mode, "cls"])
    np.testing.assert_allclose(found, [[value, 1]], rtol=1e-6)
