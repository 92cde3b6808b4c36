"""Git LFS pointers and broken links where a checkpoint's files should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.checkpoints import make_llama
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.cli.app import app
from trtbuild.errors import ExitCode, TrtbuildError, UnsupportedError

INDEX = "model.safetensors.index.json"


def pointer(path: Path, size: int = 1) -> None:
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{'4d7a' * 16}\nsize {4_000_000 * size}\n"
    )


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def refusal(source: Path) -> TrtbuildError:
    with pytest.raises(TrtbuildError) as caught:
        open_checkpoint(str(source))
    assert caught.value.exit_code in {ExitCode.UNSUPPORTED, ExitCode.USAGE}
    return caught.value


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"]
)
def test_a_pointer_is_named_as_one(tmp_path: Path, name: str) -> None:
    folder = make_llama(tmp_path / "tiny")
    pointer(folder / name)
    error = refusal(folder)
    assert error.what == f"{name} is a Git LFS pointer, not the real content"
    assert "git lfs pull" in error.fix
    assert str(folder) in error.fix


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_web_page_is_named_as_one(tmp_path: Path, name: str) -> None:
    folder = make_llama(tmp_path / "tiny")
    (folder / name).write_text("\n<!DOCTYPE html>\n<html><title>404</title></html>\n" + " " * 2000)
    error = refusal(folder)
    assert error.what == f"{name} is a web page, not the file itself"
    assert "/resolve/" in error.fix


def test_all_pointers_are_named_at_once(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=True)
    for path in folder.iterdir():
        pointer(path)
    error = refusal(folder)
    assert "and " in error.what
    assert "more are Git LFS pointers" in error.what


def test_a_tokenizer_of_another_format_is_judged_too(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", tokenizer=False)
    pointer(folder / "tokenizer.model")
    assert "tokenizer.model is a Git LFS pointer" in refusal(folder).what


def test_files_that_nobody_takes_may_be_pointers(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=True)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "logo.png", "model.gguf"):
        pointer(folder / name)
    assert inspect(open_checkpoint(str(folder))).parameters > 0


def test_a_pickle_that_is_the_only_weight(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    pointer(folder / "pytorch_model.bin")
    assert "pytorch_model.bin is a Git LFS pointer" in refusal(folder).what


def test_a_gguf_pointer(tmp_path: Path) -> None:
    pointer(tmp_path / "tiny.gguf")
    error = refusal(tmp_path / "tiny.gguf")
    assert error.what == "tiny.gguf is a Git LFS pointer, not the real content"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_broken_link_is_named_with_its_target(tmp_path: Path, name: str) -> None:
    folder = make_llama(tmp_path / "tiny")
    link(folder / name, "../../blobs/4d7a")
    error = refusal(folder)
    assert error.what == f"{name} is a broken link ({name} points to ../../blobs/4d7a)"
    assert "cp -rL" in error.fix


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    link(folder / "model.safetensors", "model-2.safetensors")
    link(folder / "model-2.safetensors", "model.safetensors")
    (folder / "self").symlink_to("self")
    (folder / "parent").symlink_to("..")
    assert "are broken links" in refusal(folder).what


def test_a_link_to_a_real_file_is_followed(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    link(folder / "model.safetensors", "../blob")
    assert inspect(open_checkpoint(str(folder))).parameters > 0


def test_a_shard_that_is_a_broken_link(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=True)
    shard = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))[1]
    link(folder / shard, "../blobs/x")
    assert f"{shard} is a broken link" in refusal(folder).what


def test_a_broken_link_to_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").symlink_to("gone.gguf")
    assert refusal(tmp_path / "tiny.gguf").what.startswith("tiny.gguf is a broken link")


@pytest.mark.parametrize("command", [("inspect",), ("plan", "--gpu", "h100"), ("convert",)])
def test_every_command_refuses(tmp_path: Path, command: tuple[str, ...]) -> None:
    folder = make_llama(tmp_path / "tiny")
    pointer(folder / "model.safetensors")
    name, *options = command
    options += ["--repo", str(tmp_path / "repo")] if name == "convert" else []
    result = CliRunner().invoke(app, [name, str(folder), *options])
    assert result.exit_code == ExitCode.UNSUPPORTED or isinstance(
        result.exception, UnsupportedError
    )
    assert not (tmp_path / "repo").exists()


def test_an_adapter_of_pointers(tmp_path: Path) -> None:
    from trtbuild.checkpoint import local_adapters

    (tmp_path / "fr").mkdir()
    (tmp_path / "fr" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    pointer(tmp_path / "fr" / "adapter_model.safetensors")
    with pytest.raises(UnsupportedError, match="is a Git LFS pointer") as said:
        local_adapters({"fr": str(tmp_path / "fr")})
    assert "git lfs pull" in said.value.fix


@pytest.mark.parametrize(
    ("architecture", "what", "fix"),
    [
        ("LlamaForCausalLMEagle3", "drafts tokens for another model", "speculative_config"),
        ("Eagle2ChatModel", "unknown architecture 'Eagle2ChatModel'", "docs/reference/sources.md"),
        ("MedusaModel", "drafts tokens for another model", "speculative_config"),
        ("LlamaForCasualLM", "unknown architecture 'LlamaForCasualLM'", "LlamaForCausalLM"),
        ("VitsModel", "unknown architecture 'VitsModel'", "docs/reference/sources.md"),
    ],
)
def test_what_is_no_model_of_its_own(
    tmp_path: Path, architecture: str, what: str, fix: str
) -> None:
    folder = make_llama(tmp_path / "tiny", architectures=[architecture])
    with pytest.raises(UnsupportedError) as caught:
        inspect(open_checkpoint(str(folder)))
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_pipeline_that_makes_images(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "diffusers" in refusal(tmp_path).fix
