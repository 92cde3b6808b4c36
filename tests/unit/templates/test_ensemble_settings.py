"""Words as the engine takes them, settings of config.pbtxt, and what is copied where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import ensemble
from support.tokenizers_made import byte_level, sentencepiece, suffix_bpe, unigram, word_piece
from trtbuild_engine_flow.resources import template_dir

words = ensemble.module("llm_words")
settings = ensemble.module("llm_settings")
LlmTokenizer = ensemble.module("llm_tokenizer").LlmTokenizer


def folder(path: Path, made: Any) -> Path:
    """A tokenizer's directory."""
    path.mkdir()
    (path / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    return path


@pytest.mark.parametrize("make", [byte_level, sentencepiece, unigram])
@pytest.mark.parametrize("word", ["Paris", " is", "\n\n", "the", "日本", "🙂", "Don't you", "é"])
def test_stop_sequences_spell_the_word_wherever_they_stand(
    make: Any, word: str, tmp_path: Path
) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", make()))
    anchor = tokenizer.raw.encode("a", add_special_tokens=False).ids
    for found in words.stop_sequences(tokenizer, [word]):
        assert word in tokenizer.raw.decode([*anchor, *found], skip_special_tokens=False)


@pytest.mark.parametrize(
    ("make", "word"), [(unigram, "STOP"), (unigram, "ﬁ"), (word_piece, "###"), (suffix_bpe, "🙂")]
)
def test_a_word_of_unknown_characters_ends_no_text_with_others(
    make: Any, word: str, tmp_path: Path
) -> None:
    """Its tokens are those of any unknown character; it is found in the text alone."""
    tokenizer = LlmTokenizer(folder(tmp_path / "t", make()))
    assert words.stop_sequences(tokenizer, [word]) == []
    assert words.bad_sequences(tokenizer, [word]) == []


def test_words_in_context_are_found_by_their_tokens(tmp_path: Path) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", byte_level()))
    text = "The capital of France is Paris."
    ids = tokenizer.raw.encode(text).ids
    for word in ("Paris", " Paris", "France"):
        hits = [
            found
            for found in words.bad_sequences(tokenizer, [word])
            if any(tuple(ids[at : at + len(found)]) == found for at in range(len(ids)))
        ]
        assert hits, word


def test_word_lists_are_as_the_engine_reads_them() -> None:
    table = words.engine_list([[(5, 6), (7,)], []])
    assert table.tolist() == [[[5, 6, 7], [2, 3, -1]], [[0, 0, 0], [-1, -1, -1]]]
    assert table.dtype == np.int32


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "tokenizer_dir is missing"),
        ({"tokenizer_dir": "nowhere"}, "'nowhere' is not a directory"),
        ({"tokenizer_dir": "/models/other/1/tokenizer"}, "is not a directory"),
    ],
)
def test_a_wrong_tokenizer_folder_is_named(
    tmp_path: Path, parameters: dict[str, str], message: str
) -> None:
    config = {"parameters": {k: {"string_value": v} for k, v in parameters.items()}}
    with pytest.raises(settings.SettingsError, match=message):
        settings.tokenizer_dir(config, tmp_path / "m" / "1")


def test_the_tokenizer_is_found_where_containers_mount_it(tmp_path: Path) -> None:
    place = tmp_path / "llm_preprocessing" / "1" / "tokenizer"
    place.mkdir(parents=True)
    given = {"tokenizer_dir": {"string_value": "/models/llm_preprocessing/1/tokenizer"}}
    version = tmp_path / "llm_postprocessing" / "1"
    assert settings.tokenizer_dir({"parameters": given}, version) == place


@pytest.mark.parametrize(
    ("read_one", "value", "message"),
    [
        (lambda config: settings.flag(config, "x", True), "maybe", "must be true or false"),
        (lambda config: settings.number(config, "x"), "-1", "must be a number above 0"),
        (lambda config: settings.number(config, "x"), "0,9", "must be a number above 0"),
    ],
)
def test_parameters_are_typed(read_one: Any, value: str, message: str) -> None:
    with pytest.raises(settings.SettingsError, match=message):
        read_one({"parameters": {"x": {"string_value": value}}})


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(settings.SettingsError, match=r"tokenizer\.json: not a tokenizer"):
        LlmTokenizer(tmp_path)


def test_what_runs_inside_triton_imports_nothing_of_ours() -> None:
    import ast

    places = [template_dir("ensemble"), template_dir("rehearsal", "tensorrtllm")]
    files = [file for place in places for file in place.rglob("*.py")]
    assert len(files) > 12
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert "trtbuild" not in roots, path
            if roots & {"vllm", "torch", "transformers"}:
                assert node.col_offset > 0, f"{path}:{node.lineno} imports it at its top"


def test_every_module_is_listed_for_the_models_that_import_it() -> None:
    import ast
    import tomllib

    root = template_dir("ensemble")
    table = tomllib.loads((root / "tensors.toml").read_text(encoding="utf-8"))
    shared = {path.stem: path for at in ensemble.DIRECTORIES for path in at.glob("llm_*.py")}
    for part in ("preprocessing", "postprocessing", "bls"):
        listed = {Path(file).stem for file in table[part]["files"]} - {"model"}
        needed: set[str] = set()
        todo = [root / part / "model.py"]
        while todo:
            for node in ast.walk(ast.parse(todo.pop().read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in shared.keys() & set(names) - needed:
                    needed.add(name)
                    todo.append(shared[name])
        assert listed == needed, part
