"""Rehearsal: which checkpoints, what the server is started with, what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.checkpoints import make_llama
from support.models import write_python_model, write_vllm_model
from trtbuild import lockfile, pbtxt, server
from trtbuild.cli.server_view import rehearsal_as_dict
from trtbuild.errors import ServerError, UsageError
from trtbuild.modelspec import SourceRef
from trtbuild.pipeline.rehearse import find_checkpoints, parse_checkpoints
from trtbuild.pipeline.serve import prepare
from trtbuild.progress import SILENT
from trtbuild.server import Contents, LaunchOptions, Rehearsal, embedded, rehearsal
from trtbuild.server.mode import ServerJob


def write_engine_model(repo: Path, name: str, owner: str, source: SourceRef | None) -> Path:
    """A model of the tensorrtllm backend, and the lock entry of the conversion that made it."""
    folder = repo / name
    (folder / "1").mkdir(parents=True)
    config = pbtxt.model_config(name=name, backend="tensorrtllm")
    (folder / "config.pbtxt").write_text(pbtxt.render(config))
    if source:
        locked = lockfile.LockedModel(source, "trtllm-engine", "26.07", "image", "key", (name,))
        lockfile.write(repo, lockfile.read(repo).with_model(owner, locked))
    return repo


def write_llmapi_model(repo: Path, name: str, model: str) -> Path:
    """A Python model with the LLM API's arguments beside it."""
    write_python_model(repo, name)
    (repo / name / "1" / "model.yaml").write_text(f"model: {model}\n")
    return repo


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "checkpoint")


def test_what_runs_tensorrt_llm_is_known(tmp_path: Path) -> None:
    repo = write_llmapi_model(tmp_path, "api", "/models/api/1/weights")
    write_engine_model(repo, "big_tensorrt_llm", "big", None)
    write_vllm_model(repo, "plain", "/models/plain/1/weights")
    contents = server.read_contents(repo)
    assert contents.trtllm == {"api": "llmapi", "big_tensorrt_llm": "tensorrtllm"}
    assert not contents.needs_hub


def test_weights_on_the_hub_are_seen_in_model_yaml(tmp_path: Path) -> None:
    assert server.read_contents(write_llmapi_model(tmp_path, "api", "org/model")).needs_hub


@pytest.mark.parametrize(
    "text", ["[" * 1000, f"a: {'9' * 5000}", "a: ["], ids=["deep", "long", "cut"]
)
def test_arguments_that_cannot_be_read_are_a_problem_of_their_model(
    tmp_path: Path, text: str
) -> None:
    repo = write_llmapi_model(tmp_path, "api", "org/model")
    (repo / "api/1/model.yaml").write_text(text)
    contents = server.read_contents(repo)
    assert not contents.needs_hub
    (model,) = server.lay_out(contents).models
    assert model.problem.startswith("model.yaml: ")


def test_an_engine_takes_the_checkpoint_that_is_given(tmp_path: Path, checkpoint: Path) -> None:
    source = SourceRef("local", "tiny")
    repo = write_engine_model(tmp_path / "repo", "big_tensorrt_llm", "big", source)
    contents = server.read_contents(repo)
    for name in ("big", "big_tensorrt_llm"):
        found = find_checkpoints(contents, {name: str(checkpoint)})
        files = found.checkpoints["big_tensorrt_llm"]
        assert files["config.json"] == checkpoint / "config.json"
        assert found.weight_bytes > 0


def test_quantised_weights_want_the_checkpoint_they_were_made_from(
    tmp_path: Path, checkpoint: Path
) -> None:
    repo = write_llmapi_model(tmp_path / "repo", "api", "/models/api/1/weights")
    declared = {"quant_method": "modelopt", "quant_algo": "FP8"}
    make_llama(repo / "api/1/weights", quantization_config=declared)
    contents = server.read_contents(repo)
    with pytest.raises(UsageError, match=r"quantized \(modelopt\), which a CPU cannot") as error:
        find_checkpoints(contents, {})
    assert "--checkpoint api=SOURCE" in (error.value.fix or "")
    given = find_checkpoints(contents, {"api": str(checkpoint)})
    assert given.checkpoints["api"]["config.json"] == checkpoint / "config.json"
    with pytest.raises(UsageError, match="are quantized"):
        find_checkpoints(contents, {"api": str(repo / "api/1/weights")})


def test_a_folder_that_the_lock_does_not_keep_has_to_be_named(tmp_path: Path) -> None:
    repo = write_engine_model(tmp_path, "big_tensorrt_llm", "big", SourceRef("local", "tiny"))
    with pytest.raises(UsageError, match="'tiny', whose directory is not kept") as error:
        find_checkpoints(server.read_contents(repo), {})
    assert "--checkpoint big_tensorrt_llm=DIRECTORY" in error.value.fix
    assert error.value.exit_code == 2


def test_a_name_that_runs_no_tensorrt_llm(tmp_path: Path) -> None:
    repo = write_engine_model(tmp_path, "big_tensorrt_llm", "big", SourceRef("local", "tiny"))
    with pytest.raises(UsageError, match="'bog'") as error:
        find_checkpoints(server.read_contents(repo), {"bog": "x"})
    assert "big, big_tensorrt_llm" in error.value.fix


def test_nothing_to_rehearse(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path, "echo")
    with pytest.raises(UsageError, match="nothing to rehearse"):
        find_checkpoints(server.read_contents(repo), {})


def test_a_rehearsal_is_embedded(tmp_path: Path) -> None:
    repo = write_llmapi_model(tmp_path, "api", "/models/api/1/weights")
    options = LaunchOptions()
    with pytest.raises(UsageError, match="not in mode 'docker'"):
        prepare(repo, mode="docker", options=options, validate=False, rehearse=True)
    with pytest.raises(UsageError, match="--checkpoint needs --rehearse"):
        prepare(repo, options=options, validate=False, checkpoints={"api": "x"})


@pytest.mark.parametrize("text", ["name", "=x", "name="])
def test_checkpoints_are_pairs(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=SOURCE"):
        parse_checkpoints([text])


def test_the_file_for_the_stand_ins(tmp_path: Path, checkpoint: Path) -> None:
    files = {path.name: path for path in checkpoint.iterdir()}
    wanted = Rehearsal({"m": files}, {"max_model_len": 64})
    path = rehearsal.write(wanted, tmp_path / "made")
    document = json.loads(path.read_text())
    assert document["engine"] == {"dtype": "float32", "enforce_eager": True, "max_model_len": 64}
    folder = Path(document["models"]["m"]["checkpoint"])
    assert (folder / "config.json").read_bytes() == (checkpoint / "config.json").read_bytes()


def job(contents: Contents, tmp_path: Path, options: LaunchOptions) -> ServerJob:
    return ServerJob("abc123", contents, options, tmp_path / "server", SILENT, dry_run=True)


def test_without_a_rehearsal_the_embedded_server_refuses(tmp_path: Path) -> None:
    repo = write_llmapi_model(tmp_path, "api", "/models/api/1/weights")
    with pytest.raises(ServerError, match="no TensorRT-LLM, which api needs") as error:
        embedded.command(job(server.read_contents(repo), tmp_path, LaunchOptions()))
    assert "--rehearse" in error.value.fix


def test_the_server_is_told_where_the_checkpoints_are(tmp_path: Path) -> None:
    repo = write_llmapi_model(tmp_path / "repo", "api", "/models/api/1/weights")
    options = LaunchOptions(rehearsal=Rehearsal())
    command = embedded.command(job(server.read_contents(repo), tmp_path, options))
    assert command.env["TRTBUILD_REHEARSAL"].endswith("server/rehearsal/rehearsal.json")
    assert "VLLM_CPU_KVCACHE_SPACE" in command.env
    assert any("/rehearsal" in word for word in command.argv if "backend-directory" in word)
    links = tmp_path / "server" / "rehearsal" / "repository"
    assert f"--model-repository={links}" in command.argv


def test_it_says_what_was_rehearsed_and_what_not(tmp_path: Path) -> None:
    repo = write_llmapi_model(tmp_path, "api", "/models/api/1/weights")
    serving = prepare(repo, options=LaunchOptions(), validate=False, rehearse=True)
    said = rehearsal_as_dict(serving)
    assert any("api" in line for line in said["rehearsed"])
    assert any("no TensorRT kernel ran" in line for line in said["not_rehearsed"])
    assert not any("engine file" in line for line in said["not_rehearsed"])
