"""The release tables are whole, ordered and agree with one another."""

from __future__ import annotations

import pytest

from trtbuild import toolchain
from trtbuild.errors import UsageError

RELEASES = toolchain.releases()


def test_every_month_since_2406_is_there_newest_first() -> None:
    listed = [row.triton for row in RELEASES]
    months = [f"{y}.{m:02d}" for y in range(99, 23, -1) for m in range(12, 0, -1)]
    assert listed == [month for month in months if "24.06" <= month <= listed[0]]


@pytest.mark.parametrize(
    ("release", "server"), [("24.10", "2.51.0"), ("25.08", "2.60.0"), ("26.07", "2.71.0")]
)
def test_known_server_versions(release: str, server: str) -> None:
    assert toolchain.load(release).server_version == server


def test_server_versions_only_rise() -> None:
    versions = [tuple(map(int, row.server_version.split("."))) for row in reversed(RELEASES)]
    assert versions == sorted(set(versions))


def test_a_release_without_tensorrt_llm_says_so_by_emptiness() -> None:
    row = toolchain.load("26.08")
    assert row.vllm == "0.27.1"
    assert (row.trtllm, row.trtllm_image, row.engine_flow) == ("", "", False)


@pytest.mark.parametrize("row", RELEASES, ids=lambda row: row.triton)
def test_every_release_has_its_vllm_table_and_image(row: toolchain.Toolchain) -> None:
    release = toolchain.vllm_release(row.vllm)
    assert row.vllm_image.endswith(f":{row.triton}-vllm-python-py3")
    assert {"model", "max_model_len", "tensor_parallel_size"} <= release.arguments.keys()
    assert "LlamaForCausalLM" in release.architectures["generate"]
    assert {"awq", "gptq", "fp8"} <= release.quantization
    assert row.vllm_cuda


def test_an_unknown_release_lists_the_known() -> None:
    with pytest.raises(UsageError) as caught:
        toolchain.load("22.01")
    assert caught.value.exit_code == 2
    assert "26.07" in caught.value.fix
    assert "24.06" in caught.value.fix


def test_an_unknown_vllm_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"9\.9\.9") as caught:
        toolchain.engine_arguments("9.9.9")
    assert "0.24.0" in caught.value.fix


def test_a_version_that_was_not_published_says_what_was_read() -> None:
    assert toolchain.vllm_release("0.9.0rc1").extracted_from == "0.9.0"
    assert toolchain.vllm_release("0.24.0").extracted_from == "0.24.0"


def test_defaults_follow_the_release() -> None:
    assert toolchain.vllm_release("0.19.0").default("gpu_memory_utilization") == 0.9
    assert toolchain.vllm_release("0.32.0").default("gpu_memory_utilization") == 0.92
    assert toolchain.vllm_release("0.32.0").default("no_such") is None


def test_arguments_come_and_go() -> None:
    assert "swap_space" in toolchain.engine_arguments("0.17.1")
    assert "swap_space" not in toolchain.engine_arguments("0.19.0")
    assert "runner" not in toolchain.engine_arguments("0.9.2")
    assert "runner" in toolchain.engine_arguments("0.10.2")


def test_types_nulls_and_choices_are_read() -> None:
    arguments = toolchain.engine_arguments("0.32.0")
    assert arguments["max_model_len"].types == ("int",)
    assert arguments["max_model_len"].nullable
    assert arguments["hf_token"].types == ("bool", "str")
    assert "bfloat16" in arguments["dtype"].choices
    assert arguments["max_lora_rank"].choices == (1, 8, 16, 32, 64, 128, 256, 320, 512)
    assert arguments["compilation_config"].types == ("dict",)
    assert not arguments["model"].nullable
