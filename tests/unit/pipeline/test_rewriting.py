"""Small files of a checkpoint that are changed when they are placed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import make_llama, write_json
from trtbuild import lockfile
from trtbuild.errors import UnsupportedError
from trtbuild.pipeline.convert import ConvertResult, convert
from trtbuild.recipe import ModelRecipe

AUTO_MAP = {"AutoConfig": "configuration_x.C", "AutoModelForCausalLM": "modeling_x.M"}


def placed(tmp_path: Path, folder: Path, triton: str = "26.07", **recipe: Any) -> Path:
    converted(tmp_path, folder, triton, **recipe)
    return tmp_path / "repo" / "m" / "1" / "weights"


def converted(tmp_path: Path, folder: Path, triton: str, **recipe: Any) -> ConvertResult:
    model = ModelRecipe(**{"source": str(folder), "name": "m", "backend": "vllm"} | recipe)
    return convert(model, repository=tmp_path / "repo", triton=triton)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def coded(tmp_path: Path, tokenizer_class: str = "PreTrainedTokenizerFast") -> Path:
    """A Llama that brings code for everything."""
    folder = make_llama(tmp_path / "tiny", auto_map=AUTO_MAP)
    settings = read(folder / "tokenizer_config.json")
    auto = {"auto_map": {"AutoTokenizer": ["tokenization_x.T", None]}}
    changed = settings | auto | {"tokenizer_class": tokenizer_class}
    write_json(folder / "tokenizer_config.json", changed)
    for name in ("modeling_x.py", "configuration_x.py", "tokenization_x.py"):
        (folder / name).write_text("raise SystemExit\n")
    return folder


@pytest.mark.parametrize("trust", [False, True])
def test_code_that_is_not_needed_stays_behind(tmp_path: Path, trust: bool) -> None:
    weights = placed(tmp_path, coded(tmp_path), trust_remote_code=trust)
    assert not list(weights.glob("*.py"))
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in read(weights / name)
    assert read(weights / "config.json")["hidden_size"] == 64
    assert "trust_remote_code" not in read(weights.parent / "model.json")


def test_code_that_is_needed_and_allowed_comes_along(tmp_path: Path) -> None:
    folder = coded(tmp_path, "OwnTokenizer")
    with pytest.raises(UnsupportedError) as caught:
        placed(tmp_path, folder)
    assert "code for its tokenizer" in " ".join(caught.value.details)
    weights = placed(tmp_path, folder, trust_remote_code=True)
    assert len(list(weights.glob("*.py"))) == 3
    assert read(weights / "tokenizer_config.json") == read(folder / "tokenizer_config.json")
    assert read(weights.parent / "model.json")["trust_remote_code"] is True


def five(tmp_path: Path) -> Path:
    """A Llama as transformers 5 saves one."""
    folder = make_llama(tmp_path / "tiny")
    config = read(folder / "config.json")
    del config["rope_theta"], config["torch_dtype"]
    rope = {"rope_theta": 500000.0, "rope_type": "default"}
    write_json(folder / "config.json", config | {"rope_parameters": rope, "dtype": "float32"})
    settings = read(folder / "tokenizer_config.json")
    write_json(
        folder / "tokenizer_config.json", settings | {"tokenizer_class": "TokenizersBackend"}
    )
    return folder


@pytest.mark.parametrize(
    ("triton", "backend"), [("25.10", "vllm"), ("26.06", "vllm"), ("26.07", "trtllm")]
)
def test_transformers_4_is_given_its_own_spelling(
    tmp_path: Path, triton: str, backend: str
) -> None:
    folder = five(tmp_path)
    result = converted(tmp_path, folder, triton, backend=backend)
    weights = tmp_path / "repo" / "m" / "1" / "weights"
    config = read(weights / "config.json")
    assert config["rope_theta"] == 500000.0
    assert config["rope_parameters"] == read(folder / "config.json")["rope_parameters"]
    assert config["torch_dtype"] == "float32"
    tokenizer = read(weights / "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert any("rope_parameters" in line for line in result.warnings)
    again = converted(tmp_path, folder, triton, backend=backend)
    assert again.status == "unchanged"


def test_transformers_5_is_given_the_file_as_it_is(tmp_path: Path) -> None:
    folder = five(tmp_path)
    weights = placed(tmp_path, folder)
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        assert (weights / name).read_bytes() == (folder / name).read_bytes()


def test_the_lock_has_the_digests_of_what_was_written(tmp_path: Path) -> None:
    import hashlib

    weights = placed(tmp_path, five(tmp_path), "25.10")
    locked = lockfile.read(tmp_path / "repo").models["m"].files
    for name in ("config.json", "tokenizer_config.json"):
        found = hashlib.sha256((weights / name).read_bytes()).hexdigest()
        assert locked[f"m/1/weights/{name}"].sha256 == found


def test_old_releases_read_merges_as_texts(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    document = read(folder / "tokenizer.json")
    vocabulary = document["model"]["vocab"]
    first, second, last = list(vocabulary)[-3:]
    vocabulary[first + second] = vocabulary.pop(last)
    document["model"]["merges"] = [[first, second]]
    write_json(folder / "tokenizer.json", document)
    weights = placed(tmp_path, folder, "24.08")
    assert read(weights / "tokenizer.json")["model"]["merges"] == [f"{first} {second}"]
    newer = placed(tmp_path / "newer", folder, "25.10")
    assert read(newer / "tokenizer.json")["model"]["merges"] == [[first, second]]
