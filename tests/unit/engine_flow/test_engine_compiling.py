"""``convert --backend trtllm-engine`` that compiles: natively, in the image, and what stops it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from support.checkpoints import llama_config, llama_shapes, make_described
from support.engine_conversions import L4, config_of, refused, run
from support.fake_hub import COMMIT, Hub, fake_hub
from support.trtllm_tools import builds, calls, write_build, write_image, write_nvidia_smi
from support.waiting import runs
from trtbuild import lockfile
from trtbuild.errors import BuildError, UsageError
from trtbuild_engine_flow import executor

# An engine that is compiled


def test_compiled_natively(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_build(tools)
    repo = tmp_path / "repo"
    result = run(llama, repo, engine={"max_batch_size": 4, "tensor_parallel_size": 2})
    assert result.artifacts == {"engine": "made"}
    (call,) = builds(tools)
    assert "--max_batch_size" in call
    assert call[call.index("--max_batch_size") + 1] == "4"
    assert call[call.index("--use_paged_context_fmha") + 1] == "enable"
    (engine,) = (tmp_path / "engines/llm").glob("*/manifest.json")
    manifest = json.loads(engine.read_text())
    assert (manifest["sm"], manifest["gpu"]) == (89, "NVIDIA L4")
    assert manifest["versions"]["driver"] == "580.65.06"
    assert engine.parent.name == manifest["key"][:16]
    assert engine.parent.with_name(f"{engine.parent.name}.log").is_file()
    written = sorted(path.name for path in (repo / "llm_tensorrt_llm/1").iterdir())
    assert written == ["config.json", "manifest.json", "rank0.engine", "rank1.engine"]
    assert config_of(repo).max_batch_size == 4
    # the TensorRT-LLM checkpoint was in between, and is gone
    assert sorted(path.suffix for path in engine.parent.parent.iterdir()) == ["", ".log"]


@pytest.mark.slow
def test_a_rerun_compiles_nothing_and_a_changed_setting_does(
    llama: Path, tmp_path: Path, tools: Path
) -> None:
    write_build(tools)
    run(llama, tmp_path / "repo")
    assert run(llama, tmp_path / "repo").status == "unchanged"
    # what Triton alone is told changes no engine
    run(llama, tmp_path / "repo", engine={"kv_cache_free_gpu_mem_fraction": 0.5})
    assert len(builds(tools)) == 1
    run(llama, tmp_path / "repo", engine={"max_batch_size": 2})
    assert len(builds(tools)) == 2
    write_nvidia_smi(tools, "NVIDIA H100 80GB HBM3, 81559, 9.0")
    run(llama, tmp_path / "repo", engine={"max_batch_size": 2})
    assert len(builds(tools)) == 3, "another GPU needs another engine"


def test_what_was_left_for_later_is_built_later(llama: Path, tmp_path: Path, tools: Path) -> None:
    repo = tmp_path / "repo"
    run(llama, repo, build=False, engine={"max_batch_size": 4})
    predicted = json.loads((repo / "llm_tensorrt_llm/1/config.json").read_text())
    write_build(tools)
    assert run(llama, repo, engine={"max_batch_size": 4}).status == "written"
    built = json.loads((repo / "llm_tensorrt_llm/1/config.json").read_text())
    assert "predicted" not in built
    # the prediction was right, as far as the tool wrote the same things
    assert built["pretrained_config"] == predicted["pretrained_config"]
    for key, value in built["build_config"].items():
        if key != "plugin_config":
            assert predicted["build_config"][key] == value, key
    assert "llm_tensorrt_llm/1/rank0.engine" in lockfile.read(repo).models["llm"].files


def test_a_damaged_artifact_is_built_again(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_build(tools)
    run(llama, tmp_path / "repo")
    (rank,) = (tmp_path / "engines").rglob("rank0.engine")
    os.truncate(rank, 1)
    run(llama, tmp_path / "repo", force=True)
    assert len(builds(tools)) == 2


@pytest.mark.parametrize("tool", ["docker", "podman"])
def test_compiled_in_the_image(llama: Path, tmp_path: Path, tools: Path, tool: str) -> None:
    write_image(tools, tool)
    run(llama, tmp_path / "repo")
    assert len(builds(tools / "inside")) == 1
    runs = [call for call in calls(tools) if call[0] == "run"]
    assert len(runs) == 1, "our own converter needs no container"
    assert "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3" in runs[0]
    assert ("--gpus" in runs[0]) == (tool == "docker")
    assert ("--user" in runs[0]) == (tool == "docker")
    assert calls(tools)[-1][:2] == ["rm", "-f"], "no container is left behind"
    assert (tmp_path / "repo/llm_tensorrt_llm/1/rank0.engine").is_file()


@pytest.mark.slow
def test_a_family_of_the_image_goes_to_its_own_converter(tmp_path: Path, tools: Path) -> None:
    write_image(tools)
    config = {
        **llama_config(), "architectures": ["OPTForCausalLM"], "model_type": "opt",
    }  # fmt: skip
    source = make_described(tmp_path / "opt", config, llama_shapes(config))
    result = run(source, tmp_path / "repo", engine={"max_seq_len": 64})
    assert result.artifacts == {"engine": "made"}
    runs = [call for call in calls(tools) if call[0] == "run"]
    assert len(runs) == 2
    words = runs[0]
    assert words[words.index("--family") + 1] == "opt"
    assert any(word.endswith(":/build/hf/config.json:ro") for word in words)


def test_a_dry_run_prints_the_exact_command_and_runs_nothing(
    llama: Path, tmp_path: Path, tools: Path
) -> None:
    write_image(tools)
    planned = run(llama, tmp_path / "repo", dry_run=True)
    assert not (tmp_path / "repo").exists()
    assert not (tools / "calls.jsonl").exists()
    run(llama, tmp_path / "repo")
    first, command = planned.commands
    assert first.startswith("trtbuild checkpoint ")
    assert f"--out {tmp_path}/engines/llm/" in first
    assert "--dtype float16 --tp 1 --pp 1 --triton 26.07" in first
    ran = next(call for call in calls(tools) if call[0] == "run")
    told = command.split()
    assert told[0] == "docker"
    options = told.index("--")
    assert told[options:] == ran[ran.index("--") :]
    assert told[told.index("--name") + 1] == ran[ran.index("--name") + 1], "the same key"


@pytest.mark.parametrize("native", [True, False])
def test_the_tools_exit_code_is_obeyed(
    llama: Path, tmp_path: Path, tools: Path, native: bool
) -> None:
    if not native:
        write_image(tools)
    write_build(tools if native else tools / "inside", exits=3)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert error.exit_code == 5
    assert "trtllm-build failed with exit code 3" in error.what
    assert any("TensorRT found no kernel" in line for line in error.details)
    assert "TensorRT found no kernel" in Path(error.where).read_text()


def test_tools_of_another_release_are_stopped_at_once(
    llama: Path, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site" / "tensorrt_llm-1.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: 1.1.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))
    write_build(tools, sleeps=60)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "the tools are of TensorRT-LLM 1.1.0, and the server has 1.2.1" in error.what
    assert "--triton 26.02" in error.fix
    write_build(tools, version="1.1.0")
    assert run(llama, tmp_path / "repo", triton="26.02").artifacts == {"engine": "made"}
    (manifest,) = (tmp_path / "engines").rglob("manifest.json")
    assert json.loads(manifest.read_text())["versions"]["tensorrt_llm"] == "1.1.0"


def test_killed_for_memory(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_build(tools, signal=int(signal.SIGKILL))
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "killed because memory ran out" in error.what
    assert "--set workers=1" in error.fix


def test_a_container_killed_for_memory(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_image(tools, oom=True)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "killed because memory ran out (exit code 137)" in error.what


def test_tools_that_end_well_without_an_engine(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_build(tools, no_config=True)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "left no whole engine" in error.what
    write_build(tools, ranks=2)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "rank1.engine too many" in error.what


def test_a_failed_build_leaves_the_older_model_as_it_was(
    llama: Path, tmp_path: Path, tools: Path
) -> None:
    write_build(tools)
    run(llama, tmp_path / "repo")
    before = (tmp_path / "repo/llm_tensorrt_llm/config.pbtxt").read_bytes()
    write_build(tools, fills_disk=True)
    with pytest.raises(BuildError):
        run(llama, tmp_path / "repo", engine={"max_batch_size": 2})
    assert (tmp_path / "repo/llm_tensorrt_llm/config.pbtxt").read_bytes() == before
    assert len(list((tmp_path / "engines").rglob("rank0.engine"))) == 1
    assert not [path for path in (tmp_path / "engines/llm").iterdir() if ".trtbuild-" in path.name]


def test_nothing_to_compile_with(llama: Path, tmp_path: Path, tools: Path) -> None:
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "neither docker nor podman is installed" in error.what
    assert "--no-build" in error.fix
    write_image(tools, answers=False)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "no response from docker" in error.what


def test_no_gpu(llama: Path, tmp_path: Path, tools: Path) -> None:
    write_build(tools)
    (tools / "nvidia-smi").unlink()
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "nvidia-smi shows no GPU" in error.what


def test_too_little_memory_is_said_before_anything_starts(
    llama: Path, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(tools)
    monkeypatch.setattr("trtbuild.process.available_memory", lambda: 1 << 30)
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "of host memory are needed and 1.0 GiB are available" in error.what
    assert builds(tools) == []
    assert run(llama, tmp_path / "repo", force=True).artifacts == {"engine": "made"}


def test_a_taken_name_is_told_before_an_hour_of_compiling(
    llama: Path, tmp_path: Path, tools: Path
) -> None:
    write_build(tools)
    (tmp_path / "repo/llm_tensorrt_llm").mkdir(parents=True)
    with pytest.raises(UsageError, match="already exists"):
        run(llama, tmp_path / "repo")
    assert builds(tools) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_build_and_leaves_nothing(
    llama: Path, tmp_path: Path, tools: Path, number: signal.Signals, code: int
) -> None:
    write_build(tools, signals_trtbuild=number)
    command = [sys.executable, "-m", "trtbuild", "convert", str(llama)]
    command += ["--backend", "trtllm-engine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    tool = int((tools / "pid").read_text())
    assert not runs(tool)
    assert not (tmp_path / "model_repository").exists()
    assert [path.suffix for path in (tmp_path / "engines/llama").iterdir()] == [".log"]


# From the hub


@pytest.fixture
def hub(tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_hub(org__tiny=llama) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_no_weight_is_fetched_for_an_engine_that_is_left_for_later(
    hub: Hub, tmp_path: Path
) -> None:
    run("org/tiny", tmp_path / "repo", build=False)  # type: ignore[arg-type]
    folder = tmp_path / "repo/llm_preprocessing/1/tokenizer"
    assert (folder / "tokenizer.json").is_file()
    assert all(asked for asked in hub.gets("model.safetensors")), "headers only, by range"


def test_a_hub_checkpoint_is_compiled_and_known_by_its_commit(
    hub: Hub, tmp_path: Path, tools: Path
) -> None:
    write_build(tools)
    source: Any = "org/tiny"
    run(source, tmp_path / "repo")
    (manifest,) = (tmp_path / "engines").rglob("manifest.json")
    assert json.loads(manifest.read_text())["source"] == f"org/tiny@{COMMIT[:12]} (hub)"
    assert run(source, tmp_path / "repo").status == "unchanged"
    assert len(builds(tools)) == 1


# What a build takes


def test_an_estimate_grows_with_the_ranks_that_are_built_at_once() -> None:
    one = executor.estimate(16 << 30, world=4, workers=1)
    four = executor.estimate(16 << 30, world=4, workers=4)
    assert four.host == 4 * one.host
    assert (one.gpu, one.disk) == (four.gpu, four.disk)
    assert one.gpu > 4 << 30
    assert executor.estimate(16 << 30, world=1, workers=8).host > one.host


def test_a_gpu_or_a_disk_that_is_too_small(
    llama: Path, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(tools)
    write_nvidia_smi(tools, "NVIDIA L4, 1024, 8.9")
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "of one GPU are needed and it has 1.0" in error.what
    write_nvidia_smi(tools, L4)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    error = refused(BuildError, llama, tmp_path / "repo")
    assert "not enough space on the disk" in error.what
    assert builds(tools) == []
