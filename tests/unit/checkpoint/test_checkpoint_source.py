"""What people type as SOURCE."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild.checkpoint.source import default_name, parse_source
from trtbuild.errors import ExitCode, UsageError
from trtbuild.recipe import check_model_name


@pytest.mark.parametrize(
    ("text", "kind", "name", "revision"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "hub", "Qwen2.5-0.5B-Instruct", ""),
        ("org/name@refs/pr/3", "hub", "name", "refs/pr/3"),
        ("org/name@" + "a" * 40, "hub", "name", "a" * 40),
        ("sample:smollm2", "sample", "smollm2", ""),
    ],
)
def test_sources_are_told_apart(text: str, kind: str, name: str, revision: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.revision) == (kind, revision)
    assert default_name(source) == name
    assert check_model_name(default_name(source)) == name


def test_existing_paths_win(tmp_path: Path) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "x.GGUF").write_bytes(b"GGUF")
    assert parse_source("org/name").kind == "local"
    assert parse_source("./x.GGUF").kind == "gguf"
    assert parse_source(".").text == tmp_path.name  # a name, no path of this machine


@pytest.mark.parametrize("odd", ["a b", "-x", "..", "ä" * 5, "x" * 300, "quo'te\"s", "a..b"])
def test_default_names_are_always_valid(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / odd if len(odd) < 250 else tmp_path / odd[:250]
    folder.mkdir(exist_ok=True)
    name = default_name(parse_source(str(folder)))
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the source is empty"),
        ("   ", "the source is empty"),
        ("a\0b", "the source is empty"),
        ("no-such-thing", "no such source: 'no-such-thing'"),
        ("./no/such/folder", "no such source"),
        ("/no/such/folder", "no such source"),
        ("missing.gguf", "no such source"),
        ("a/b/c", "no such source"),
        ("../../no/such", "no such source"),
        ("org/..", "no such source"),
        ("org/na me", "no such source"),
        ("x" * 5000, "no such source"),
        ("sample:nobody", "no such sample: 'sample:nobody'"),
        ("org/name@", "cannot be a revision"),
        ("org/name@../x", "cannot be a revision"),
        ("org/name@a b", "cannot be a revision"),
    ],
)
def test_what_is_no_source_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert said in caught.value.what
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.fix
    assert len(caught.value.what) < 200


def test_a_file_that_is_neither(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"neither a directory nor a \.gguf file"):
        parse_source(str(tmp_path / "model.bin"))
