"""``plan``, ``builders``, ``schema`` and ``toolchains`` as people run them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.checkpoints import make_headers_only, make_llama
from support.command_line import trtbuild


def out(*args: str, cwd: Path | None = None) -> Any:
    done = trtbuild(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("plan") / "tiny-llama")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_headers_only(tmp_path_factory.mktemp("plan") / "llama-70b")


def test_a_plan_for_people(tiny: Path) -> None:
    done = trtbuild("plan", str(tiny), "--gpu", "l4", "--set", "max_model_len=256")
    assert done.returncode == 0, done.stderr
    for said in (
        "tiny-llama  LlamaForCausalLM, generate",
        "builder",
        "vllm",
        "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3",
        "max_model_len",
        "KV cache",
        "fits: up to",
        "float32",
    ):
        assert said in done.stdout


def test_a_plan_for_programs(tiny: Path) -> None:
    plan = out("plan", str(tiny), "--gpu", "l4", "--concurrency", "4", "--length", "128", "--json")
    assert (plan["model"], plan["builder"], plan["status"]) == ("tiny-llama", "vllm", "ready")
    assert plan["memory"]["fits"] is True
    assert (plan["memory"]["concurrency"], plan["memory"]["length"]) == (4, 128)
    assert str(tiny.parent) not in json.dumps(plan), "a plan can be shown to others"


def test_what_does_not_fit_names_flags_that_would(large: Path) -> None:
    done = trtbuild("plan", str(large), "--gpu", "h100", "--gpus", "8")
    assert "does not fit" in done.stdout
    assert "--set tensor_parallel_size=4" in done.stdout
    again = trtbuild(
        "plan", str(large), "--gpu", "h100", "--gpus", "8", "--set", "tensor_parallel_size=4"
    )
    assert "\nfits: up to" in again.stdout


def test_without_a_gpu_the_counts_of_each_kind_are_shown(large: Path) -> None:
    shown = trtbuild("plan", str(large)).stdout
    assert "4 x h100" in shown
    assert "the smallest known GPU that holds it" in shown


def test_a_70b_checkpoint_is_planned_from_its_headers(large: Path) -> None:
    plan = out("plan", str(large), "--gpu", "h200", "--json")
    assert (plan["builder"], plan["memory"]["fits"]) == ("vllm", False)


def test_a_recipe_is_planned_model_by_model(tiny: Path) -> None:
    recipe = tiny.parent / "trtbuild.yaml"
    recipe.write_text(
        "triton: 25.10\nmodels:\n"
        "  - {source: ./tiny-llama, name: a, engine: {max_model_len: 128}}\n"
        "  - {source: ./tiny-llama, name: b}\n"
    )
    plans = out("plan", "-f", str(recipe), "--json")
    assert [(plan["model"], plan["triton"]) for plan in plans] == [("a", "25.10"), ("b", "25.10")]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "no SOURCE is given"),
        (("{tiny}", "--gpu", "h1000"), 2, "did you mean 'h100'"),
        (("{tiny}", "--triton", "22.01"), 2, "unknown Triton release '22.01'"),
        (("{tiny}", "--backend", "vlm"), 2, "did you mean 'vllm'"),
        (("{tiny}", "--gpu", "l4", "--gpus", "0"), 2, "--gpus must be at least 1, got 0"),
        (("{tiny}", "--name", "a/b"), 2, "cannot be a model name"),
        (("{tiny}", "-f", "trtbuild.yaml"), 2, "SOURCE cannot be combined with"),
        (("-f", "x.yaml", "--name", "a", "--set", "a=1"), 2, "--name, --set cannot be combined"),
        (("/no/such/folder",), 2, "/no/such/folder"),
        (("{tiny}", "--set", "max_model_length=1"), 3, "did you mean 'max_model_len'"),
        (("{tiny}", "--set", "max_model_len=abc"), 3, "must be a whole number"),
        (("{tiny}", "--set", "max_model_len"), 3, "not of the form key=value"),
        (("{tiny}", "--set", "max_model_len=100000"), 3, "context of 512 tokens"),
        (("-f", "none.yaml"), 3, "does not exist"),
        (("{tiny}", "--weights", "hub"), 4, "the source is local"),
    ],
)
def test_mistakes(tiny: Path, args: tuple[str, ...], code: int, said: str) -> None:
    done = trtbuild("plan", *(arg.format(tiny=tiny) for arg in args))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_mistakes_for_programs(tiny: Path) -> None:
    done = trtbuild("plan", str(tiny), "--set", "a=1", "--set", "b=2", "--json")
    assert done.returncode == 3
    error = json.loads(done.stdout)
    assert error["exit_code"] == 3
    assert len(error["details"]) == 2


def test_gpu_auto_asks_nvidia_smi(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '0, NVIDIA L4, 23034, 8.9\\n1, NVIDIA L4, 23034, 8.9\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    memory = out("plan", str(tiny), "--gpu", "auto", "--json")["memory"]
    assert (memory["gpu"], memory["gpus"]) == ("l4", 2)
    fake.write_text("#!/bin/sh\nexit 1\n")
    done = trtbuild("plan", str(tiny), "--gpu", "auto")
    assert done.returncode == 2
    assert "nvidia-smi lists no known GPU" in done.stderr


def test_builders_are_listed() -> None:
    rows = {row["name"]: row for row in out("builders", "--json")}
    assert rows["vllm"]["usable"] is True
    assert rows["vllm"]["reasons"] == []
    assert rows["vllm"]["distribution"].startswith("trtbuild ")
    assert "vllm" in trtbuild("builders").stdout


def test_builders_against_a_source(tiny: Path) -> None:
    rows = out("builders", str(tiny), "--json")
    assert {"trtllm", "vllm"} <= {row["name"] for row in rows if row["usable"]}
    assert f"can deploy {tiny}" in trtbuild("builders", str(tiny)).stdout.replace("\n", "")


def test_builders_of_an_unknown_release() -> None:
    done = trtbuild("builders", "--triton", "22.01")
    assert done.returncode == 2


def test_a_builder_that_fails_to_load_is_listed_with_its_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trtbuild.builders.v1]\nbroken = no_such_module:x\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = next(row for row in out("builders", "--json") if row["name"] == "broken")
    assert row["usable"] is False
    assert row["distribution"] == "broken-plugin 1.0"
    assert "no_such_module" in row["reasons"][0]


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(out("schema"))


def test_toolchains_are_listed() -> None:
    rows = out("toolchains", "--json")
    assert (rows[0]["triton"], rows[0]["vllm"]) == ("26.10", "0.31.0")
    assert rows[0]["unconfirmed"] == ["server_version", "vllm", "vllm_image", "vllm_cuda"]
    assert rows[2]["unconfirmed"] == []
    assert len(rows) == 29
    assert "26.07" in trtbuild("toolchains").stdout
    (one,) = out("toolchains", "26.07", "--json")
    assert one["vllm"] == "0.24.0"


def test_engine_arguments_are_listed() -> None:
    rows = {row["name"]: row for row in out("toolchains", "26.07", "--arguments", "--json")}
    assert rows["max_model_len"]["types"] == ["int"]
    assert "max_model_len" in trtbuild("toolchains", "26.07", "--arguments").stdout
    said = trtbuild("toolchains", "26.07", "--arguments").stdout
    assert re.search(r"max_num_seqs +int \| null ≥ 1", said)
    assert re.search(r"gpu_memory_utilization +float ≤ 1 > 0", said)
    assert trtbuild("toolchains", "--arguments").returncode == 2


def test_one_release_is_shown_whole() -> None:
    said = trtbuild("toolchains", "26.07").stdout
    for part in ("26.07-trtllm-python-py3", "26.07-vllm-python-py3", "3.12", "13.1.0", "compiled"):
        assert part in said
    said = trtbuild("toolchains", "26.08").stdout
    assert "not compiled" in said
    assert " ?" not in said
    said = trtbuild("toolchains", "26.10").stdout
    assert "vLLM            0.31.0 ?" in said
    assert "?  not confirmed by NVIDIA's documentation yet" in said


def test_arguments_of_tensorrt_llm_too() -> None:
    def rows(release: str, backend: str) -> dict[str, Any]:
        listed = out("toolchains", release, "--arguments", "--backend", backend, "--json")
        return {row["name"]: row for row in listed}

    llm = rows("26.07", "trtllm")
    assert llm["kv_cache_config.free_gpu_memory_fraction"]["types"] == ["float"]
    assert llm["tensor_parallel_size"]["types"] == ["int"]
    assert "=" in llm["speculative_config.max_draft_len"]["when"]
    engines = rows("26.07", "trtllm-engine")
    assert engines["batch_scheduler_policy"]["choices"][0] == "guaranteed_no_evict"
    assert not {"gpt_model_path", "accumulate_tokens", "paged_kv_cache"} & engines.keys()
    assert "paged_kv_cache" in rows("24.06", "trtllm-engine")
    shown = trtbuild("toolchains", "26.07", "--arguments", "--backend", "trtllm").stdout
    assert "kv_cache_config.enable_block_reuse" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("26.08", "--backend", "trtllm"), "Triton 26.08 has no TensorRT-LLM image"),
        (("26.08", "--backend", "trtllm-engine"), "Triton 26.08 compiles no engines"),
        (("25.08", "--backend", "trtllm"), "no table for the LLM API of TensorRT-LLM '0.21.0'"),
        (("26.07", "--backend", "absent"), "the builder 'absent' has no list of arguments"),
    ],
)
def test_arguments_that_are_not_listed(words: tuple[str, ...], said: str) -> None:
    found = trtbuild("toolchains", "--arguments", *words)
    assert found.returncode == 2
    assert said in found.stderr
    assert "fix:" in found.stderr


@pytest.mark.parametrize("command", ["plan", "builders", "schema", "toolchains"])
def test_help_has_examples(command: str) -> None:
    assert "Examples" in trtbuild(command, "--help").stdout
