"""What postprocessing is given to make text of, in the repository that we write ourselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.checkpoints import make_llama
from trtbuild import check
from trtbuild.errors import RepositoryError
from trtbuild.pipeline import serve
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe
from trtbuild.server import LaunchOptions

ONE, FOUR = (f"instance_group {{\n  count: {count}\n  kind: KIND_CPU\n}}" for count in (1, 4))

EXCLUDED = """key: "exclude_input_in_output"
  value {
    string_value: "true"
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    source = make_llama(tmp_path / "llama")
    recipe = ModelRecipe(name="llm", source=str(source), backend="trtllm-engine", build=False)
    convert(recipe, repository=tmp_path / "repo")
    return tmp_path / "repo"


def edit(repo: Path, model: str, old: str, new: str) -> None:
    file = repo / model / "config.pbtxt"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def found(repo: Path, gpus: int | None = None, rule: str = "TRT741") -> list[tuple[str, str]]:
    findings = check.validate(repo, gpus=gpus).findings
    return [(f.severity, f.model) for f in findings if f.rule == rule]


def test_as_written_nothing_is_torn(repo: Path) -> None:
    assert found(repo) == found(repo, gpus=4) == []


def test_four_instances_of_ours_are_an_error_of_theirs_a_warning(repo: Path) -> None:
    edit(repo, "llm_postprocessing", ONE, FOUR)
    assert found(repo) == [("error", "llm_postprocessing")]
    (repo / "llm_postprocessing/1/llm_streams.py").unlink()
    assert found(repo) == [("warning", "llm_postprocessing")]


def test_one_on_each_gpu_is_as_many_as_there_are(repo: Path) -> None:
    edit(repo, "llm_postprocessing", "KIND_CPU", "KIND_GPU")
    assert found(repo) == found(repo, gpus=1) == []
    assert found(repo, gpus=2) == [("error", "llm_postprocessing")]


def test_an_engine_that_does_not_stream_has_whole_texts(repo: Path) -> None:
    edit(repo, "llm_postprocessing", ONE, FOUR)
    edit(repo, "llm_tensorrt_llm", "decoupled: true", "decoupled: false")
    assert found(repo) == []


def test_a_missing_engine_is_fixed_by_building_it(repo: Path) -> None:
    """Its ensemble does not load either; that one's fix would help nobody."""
    with pytest.raises(RepositoryError) as error:
        serve.prepare(repo, mode="embedded", options=LaunchOptions())
    assert {detail[-8:] for detail in error.value.details} == {"(TRT373)", "(TRT732)"}
    assert error.value.fix == "build it: trtbuild convert SOURCE --backend trtllm-engine"


@pytest.mark.slow
@pytest.mark.parametrize("said", ["false", "yes", ""])
def test_a_prompt_that_is_not_left_out_is_an_error_for_ours_only(repo: Path, said: str) -> None:
    assert found(repo, rule="TRT742") == []
    edit(repo, "llm_tensorrt_llm", EXCLUDED, EXCLUDED.replace("true", said))
    assert found(repo, rule="TRT742") == [("error", "llm_tensorrt_llm")]
    (repo / "llm_postprocessing/1/llm_streams.py").unlink()
    assert found(repo, rule="TRT742") == []


def test_preprocessing_may_have_many(repo: Path) -> None:
    edit(repo, "llm_preprocessing", ONE, FOUR)
    assert found(repo) == []
