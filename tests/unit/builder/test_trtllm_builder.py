"""The trtllm builder: reasons, arguments, what is written; routing of quantised checkpoints."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from support.specs import llama_8b, with_code
from trtbuild import hardware, pbtxt, planner, toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError, UnsupportedError, UsageError
from trtbuild.modelspec import Quantization, SourceRef, Task
from trtbuild.recipe import ModelRecipe, parse_settings
from trtbuild.resources import template_dir
from trtbuild.toolchain import trtllm_release, trtllm_route, trtllm_versions
from trtbuild_builders.trtllm import builder

TOOLS = toolchain.load("26.07")
SPEC = llama_8b(source=SourceRef("local", "llama"))


def recipe(**changes: Any) -> ModelRecipe:
    return ModelRecipe(**{"source": "x", "name": "llama", **changes})


def files(**changes: Any) -> dict[str, bytes]:
    (entry,) = builder.models(Case(SPEC, recipe(**changes), TOOLS))
    return {file.path: file.content for file in entry.files}


def settings(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files(**changes)["1/model.yaml"])
    return found


def problems(**engine: Any) -> str:
    with pytest.raises(RecipeError) as error:
        files(engine=engine)
    assert error.value.exit_code == 3
    return "\n".join([error.value.what, *error.value.details])


# --- what is written --------------------------------------------------------------------------


def test_model_yaml_has_ours_and_the_users_arguments() -> None:
    found = settings(engine={"max_seq_len": 4096, "kv_cache_config": {"dtype": "fp8"}})
    triton = found.pop("triton_config")
    assert found == {
        "model": "/models/llama/1/weights",
        "backend": "pytorch",
        "return_perf_metrics": True,
        "max_seq_len": 4096,
        "kv_cache_config": {"dtype": "fp8"},
    }
    assert triton == {"max_batch_size": 0, "decoupled": True, "cancellation_check_period_ms": 100}


def test_config_says_everything_that_auto_complete_would() -> None:
    text = files()["config.pbtxt"].decode()
    config = pbtxt.parse(text)
    assert config.model_transaction_policy.decoupled
    assert "max_batch_size: 0" in text
    table = tomllib.loads(template_dir("trtllm", "tensors.toml").read_text())
    assert [t.name for t in config.input] == [row["name"] for row in table["input"]]
    assert all(tensor.optional for tensor in config.input)
    assert [t.name for t in config.output] == [row["name"] for row in table["output"]]


def test_the_model_brings_its_code_byte_for_byte() -> None:
    found = files()
    for path in template_dir("trtllm", "model").glob("*.py"):
        assert found[f"1/{path.name}"] == path.read_bytes()


def test_several_instances_have_their_gpus_written() -> None:
    engine = {
        "tensor_parallel_size": 2,
        "triton_config": {"instances": 2, "gpu_device_ids": "0,1;2,3", "decoupled": False},
    }
    found = files(engine=engine)
    config = pbtxt.parse(found["config.pbtxt"].decode())
    assert config.instance_group[0].count == 2
    assert config.parameters["gpu_device_ids"].string_value == "0,1;2,3"
    assert not config.model_transaction_policy.decoupled
    assert yaml.safe_load(found["1/model.yaml"])["triton_config"]["decoupled"] is False


def test_adapters_are_named_and_their_rank_is_known() -> None:
    found = settings(adapters={"fr": "x", "de": "y"}, engine={"max_lora_rank": 128})
    assert found["enable_lora"] is True
    assert found["lora_config"] == {
        "lora_dir": ["/models/llama/1/adapters/fr", "/models/llama/1/adapters/de"],
        "max_loras": 2,
        "max_cpu_loras": 2,
        "max_lora_rank": 128,
    }
    assert found["triton_config"]["adapters"]["de"] == "/models/llama/1/adapters/de"
    (entry,) = builder.models(Case(SPEC, recipe(adapters={"fr": "x"}), TOOLS))
    assert [place.path for place in entry.weights] == ["1/weights", "1/adapters/fr"]


def test_weights_may_stay_on_the_hub() -> None:
    (entry,) = builder.models(Case(llama_8b(), recipe(weights="hub"), TOOLS))
    found = yaml.safe_load({f.path: f.content for f in entry.files}["1/model.yaml"])
    assert found["model"] == llama_8b().source.text
    assert found["revision"] == llama_8b().source.commit
    assert entry.weights == ()


def test_values_cannot_break_out_of_their_yaml() -> None:
    hostile = "a: b\n- {x}\u2028'\"#\ttab"
    assert settings(engine={"reasoning_parser": hostile})["reasoning_parser"] == hostile


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "part"),
    [
        ({"max_seq_length": 5}, "'max_seq_length': did you mean 'max_seq_len'"),
        ({"max_seq_len": "many"}, "'max_seq_len' must be a whole number or null"),
        ({"max_seq_len": 10**6}, "more than the checkpoint's context of"),
        ({"max_seq_len": 64, "max_input_len": 64}, "leaves no token"),
        ({"kv_cache_config": {"free_memory": 1}}, "'kv_cache_config.free_memory'"),
        ({"kv_cache_config": {"free_gpu_memory_fraction": 1.5}}, "a number from 0 to 1"),
        (
            {"scheduler_config": {"capacity_scheduler_policy": "max_utilization"}},
            'one of "MAX_UTILIZATION"',
        ),
        (
            {"scheduler_config": {"dynamic_batch_config": {"enable": True}}},
            "'scheduler_config.dynamic_batch_config.enable'",
        ),
        ({"speculative_config": {"decoding_type": "Egle"}}, "not 'Egle'"),
        (
            {"speculative_config": {"decoding_type": "NGram", "max_matching": 3}},
            "did you mean 'speculative_config.max_matching_ngram_size'",
        ),
        ({"tensor_parallel_size": 3}, "does not divide the 32 attention heads"),
        ({"pipeline_parallel_size": 99}, "not between 1 and the 32 layers"),
        ({"moe_expert_parallel_size": 2}, "need a model with experts"),
        ({"backend": "tensorrt"}, "'backend' is pytorch here"),
        ({"model": "x"}, "'model' comes from the source"),
        ({"enable_lora": True}, "'enable_lora' needs adapters"),
        ({"triton_config": {"decopled": True}}, "did you mean 'triton_config.decoupled'"),
        ({"triton_config": 3}, "'triton_config' must be an object"),
        ({"triton_config": {"multimodal": True}}, "needs TensorRT-LLM 1.3"),
        ({"triton_config": {"instances": 2}}, "such as 0;1"),
        ({"triton_config": {"gpu_device_ids": "0,1"}}, "1 group(s) of 1 GPUs"),
        ({"triton_config": {"gpu_device_ids": "0,a"}}, "not different GPU indexes"),
    ],
)
def test_wrong_arguments_are_refused_with_a_mend(engine: dict[str, Any], part: str) -> None:
    assert part in problems(**engine)


def test_all_mistakes_are_told_at_once() -> None:
    said = problems(max_batch="x", kv_cache_config={"dtipe": 1}, triton_config={"count": 2})
    for name in ("'max_batch'", "'kv_cache_config.dtipe'", "'triton_config.count'"):
        assert name in said


def test_groups_and_kinds_that_fit_pass() -> None:
    engine = {
        "cuda_graph_config": {"max_batch_size": 64, "enable_padding": True},
        "speculative_config": {
            "decoding_type": "Eagle",
            "max_draft_len": 3,
            "speculative_model_dir": "org/eagle",
        },
        "moe_config": {"backend": "CUTLASS"},
        "guided_decoding_backend": "llguidance",
        "enable_chunked_prefill": True,
    }
    assert settings(engine=engine)["speculative_config"]["max_draft_len"] == 3


def test_every_release_with_a_table_has_the_arguments_that_matter() -> None:
    known = {row.trtllm for row in toolchain.releases()}
    assert set(trtllm_versions()) <= known
    for version in trtllm_versions():
        release = trtllm_release(version)
        assert {"model", "tensor_parallel_size", "max_seq_len"} <= set(release.arguments)
        assert set(release.groups) >= {"kv_cache_config", "cuda_graph_config", "speculative_config"}
        for path in release.groups:
            owner, _, name = path.rpartition(".")
            held = release.groups[owner].variants[""] if owner else release.arguments
            assert "dict" in held[name].types
    with pytest.raises(UsageError, match="no table"):
        trtllm_release("0.1.0")


def test_a_table_of_another_release_says_so() -> None:
    with pytest.raises(RecipeError) as error:
        builder.models(Case(SPEC, recipe(engine={"x": 1}), toolchain.load("26.01")))
    assert "TensorRT-LLM 1.1.0 (Triton 26.01, as of main after 1.0.0" in error.value.where


# --- reasons ----------------------------------------------------------------------------------


def reasons(spec: Any = SPEC, triton: str = "26.07", **changes: Any) -> str:
    return "\n".join(
        builder.reasons_unsupported(Case(spec, recipe(**changes), toolchain.load(triton)))
    )


def test_nothing_speaks_against_a_llama() -> None:
    assert reasons() == ""


@pytest.mark.parametrize(
    ("spec", "triton", "part"),
    [
        (SPEC, "26.08", "has no TensorRT-LLM image: use --triton 26.07"),
        (SPEC, "24.10", "not one whose arguments are known here: use --triton 26.07"),
        (
            llama_8b(task=Task.EMBED),
            "26.07",
            "is for embed: use another builder (trtbuild builders",
        ),
        (llama_8b(architecture="MambaForCausalLM"), "26.07", "does not list the architecture"),
        (with_code(), "26.07", "--trust-remote-code"),
    ],
)
def test_reasons(spec: Any, triton: str, part: str) -> None:
    assert part in reasons(spec, triton)


def test_weights_that_cannot_stay_on_the_hub() -> None:
    assert "use --weights copy" in reasons(weights="hub")


# --- quantization -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "detail", "algorithm", "sm"),
    [
        ("modelopt", {"quant_algo": "FP8"}, "FP8", 89),
        ("modelopt", {"quant_algo": "NVFP4"}, "NVFP4", 100),
        ("fp8", {}, "FP8", 89),
        ("fp8", {"weight_block_size": "128x128"}, "FP8_BLOCK_SCALES", 90),
        ("mxfp4", {}, "W4A16_MXFP4", 90),
        ("compressed-tensors", {"type": "float", "bits": 8}, "FP8", 89),
        ("compressed-tensors", {"format": "nvfp4-pack-quantized"}, "NVFP4", 100),
    ],
)
def test_what_is_taken(method: str, detail: dict[str, Any], algorithm: str, sm: int) -> None:
    route = trtllm_route(method, detail)
    assert (route.algorithm, min(route.sm), route.refused) == (algorithm, sm, "")
    assert reasons(llama_8b(source=SPEC.source, quantization=Quantization(method, detail))) == ""


@pytest.mark.parametrize(
    ("method", "detail", "part"),
    [
        ("awq", {"bits": 4}, "AWQ of AutoAWQ is not implemented"),
        ("gptq", {"bits": 4}, "GPTQ is not implemented"),
        ("bitsandbytes", {}, "bitsandbytes is not implemented"),
        ("gguf", {}, "GGUF is not a format"),
        ("compressed-tensors", {"type": "int", "bits": 4}, "with 4-bit integers raises"),
        ("compressed-tensors", {"type": "float", "bits": 8, "schemes": 2}, "2 number formats"),
        (
            "compressed-tensors",
            {"type": "float", "bits": 8, "strategy": "tensor"},
            "one scale for a whole weight raises",
        ),
        ("fp8", {"weight_block_size": "1x32"}, "in blocks of 1x32 is not what its kernels take"),
        ("modelopt", {"quant_algo": "INT8_SQ"}, "ModelOpt's INT8_SQ is none"),
        ("hqq", {}, "hqq is not a quantization that it is known to load"),
    ],
)
def test_what_is_refused(method: str, detail: dict[str, Any], part: str) -> None:
    spec = llama_8b(source=SPEC.source, quantization=Quantization(method, detail))
    said = reasons(spec)
    assert part in said
    assert "use --backend vllm" in said


@pytest.mark.parametrize(
    ("quantization", "chosen"),
    [
        (None, "vllm"),
        (Quantization("fp8"), "trtllm"),
        (Quantization("modelopt", {"quant_algo": "NVFP4"}), "trtllm"),
        (Quantization("compressed-tensors", {"type": "float", "bits": 8}), "vllm"),
        (Quantization("awq", {"bits": 4}), "vllm"),
        (Quantization("gptq", {"bits": 4}), "vllm"),
    ],
)
def test_auto_follows_the_table(quantization: Quantization | None, chosen: str) -> None:
    spec = llama_8b(source=SPEC.source, quantization=quantization)
    found, why, rejected = planner.choose_builder(Case(spec, recipe(), TOOLS))
    assert found.name == chosen
    assert "the first of" in why or "the only builder that supports" in why
    assert chosen not in {rejection.builder for rejection in rejected}


def test_auto_never_takes_a_gpu_that_cannot() -> None:
    spec = llama_8b(source=SPEC.source, quantization=Quantization("fp8"))
    assert planner.make_plan(spec, recipe(), TOOLS, gpu="h100").builder == "trtllm"
    assert planner.make_plan(spec, recipe(), TOOLS, gpu="a100-80").builder == "vllm"


def test_a_gpu_without_the_kernels_is_refused() -> None:
    spec = llama_8b(source=SPEC.source, quantization=Quantization("nvfp4"))
    with pytest.raises(UnsupportedError) as caught:
        planner.make_plan(spec, recipe(backend="trtllm"), TOOLS, gpu="h100")
    assert "TensorRT-LLM runs NVFP4 on" in caught.value.details[0]
    plan = planner.make_plan(spec, recipe(backend="trtllm"), TOOLS, gpu="b200")
    assert not any("NVFP4" in warning for warning in plan.warnings)


def test_the_plan_speaks_the_names_of_llm() -> None:
    engine = {"max_seq_len": 8192, "kv_cache_config": {"dtype": "fp8"}}
    plan = planner.make_plan(SPEC, recipe(backend="trtllm", engine=engine), TOOLS, gpu="l4")
    assert plan.memory is not None
    settings = {name for one in plan.memory.alternatives for name in one.settings}
    assert {"max_batch_size", "tensor_parallel_size"} <= settings
    shown = " ".join(row.note for row in plan.memory.rows)
    assert "max_model_len" not in shown
    for one in plan.memory.alternatives:
        given = parse_settings(f"{name}={value}" for name, value in one.settings.items())
        files(engine=given)  # what is suggested is accepted
        assert "AWQ" not in one.text
    half = next(row.bytes for row in plan.memory.rows if row.item == "KV cache")
    whole = planner.make_plan(
        SPEC, recipe(backend="trtllm", engine={"max_seq_len": 8192}), TOOLS, gpu="l4"
    )
    assert whole.memory is not None
    assert half * 2 == next(row.bytes for row in whole.memory.rows if row.item == "KV cache")


def test_a_gpu_that_is_too_old_is_refused() -> None:
    assert hardware.gpu("t4").sm == 75
    with pytest.raises(UnsupportedError) as caught:
        planner.make_plan(SPEC, recipe(backend="trtllm"), TOOLS, gpu="t4")
    assert "needs compute capability 8.0" in caught.value.details[0]
