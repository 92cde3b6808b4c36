"""The engine flow's builder: the models it writes, what it takes from where, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.engine_flow import LOCAL, entries, refuse
from support.lanes import rounds
from support.specs import llama_8b, mamba_like
from support.tables import check_rows
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import ModelEntry
from trtbuild.recipe import ModelRecipe
from trtbuild_engine_flow import parameters as tables
from trtbuild_engine_flow.builder import builder

RELEASES = [row.triton for row in toolchain.releases() if row.engine_flow]


def configs(**asked: Any) -> dict[str, Any]:
    return {
        name.removeprefix("llm").lstrip("_"): pbtxt.parse(text(entry))
        for name, entry in entries(**asked).items()
    }


def text(entry: ModelEntry) -> str:
    return next(f.content for f in entry.files if f.path == "config.pbtxt").decode()


def parameters(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def build(spec: ModelSpec = LOCAL, triton: str = "26.07", **engine: Any) -> list[str]:
    recipe = ModelRecipe(source="x", name="llm", engine=engine)
    return list(builder.engine_build(Case(spec, recipe, toolchain.load(triton))).options)


def option(words: list[str], name: str) -> str:
    return words[words.index(f"--{name}") + 1]


# The models


def test_names_are_prefixed_and_references_rewritten() -> None:
    found = entries(name="qwen")
    assert list(found) == [
        "qwen", "qwen_preprocessing", "qwen_tensorrt_llm", "qwen_postprocessing",
    ]  # fmt: skip
    steps = pbtxt.parse(text(found["qwen"])).ensemble_scheduling.step
    assert {step.model_name for step in steps} == set(found) - {"qwen"}


def test_every_model_has_a_version() -> None:
    found = entries()
    assert any(file.path.startswith("1/") for file in found["llm"].files), "Triton wants a version"


def test_a_bls_is_written_on_request_only_and_warns() -> None:
    assert "llm_bls" not in entries()
    found = entries(bls=True, max_batch_size=12)["llm_bls"]
    config = pbtxt.parse(text(found))
    assert "can hang under load" not in text(found)
    assert "can hang under load" in text(entries(triton="26.06", bls=True)["llm_bls"])
    assert config.instance_group[0].count == 12, "one request holds one instance"
    many = entries(bls=True, max_batch_size=256)["llm_bls"]
    assert pbtxt.parse(text(many)).instance_group[0].count == 16, "each takes 64 MiB"
    assert parameters(config)["tensorrt_llm_model_name"] == "llm_tensorrt_llm"
    assert [t.name for t in config.input] == [t.name for t in configs()[""].input]


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        {},
        {"lora_plugin": "auto", "max_lora_rank": 32},
        {"speculative_decoding_mode": "draft_tokens_external", "max_draft_len": 5},
        {"max_prompt_embedding_table_size": 64, "decoupled": False},
    ],
    ids=["plain", "lora", "draft", "prompt"],
)
def test_an_ensemble_is_wired_without_a_loose_end(engine: dict[str, Any]) -> None:
    check_rows(RELEASES, lambda triton: check_wiring(configs(triton=triton, **engine)))


def check_wiring(made: dict[str, Any]) -> None:
    ensemble = made.pop("")
    types = {tensor.name: tensor.data_type for tensor in ensemble.input}
    consumed: set[str] = set()
    for step in ensemble.ensemble_scheduling.step:
        member = made[step.model_name.removeprefix("llm_")]
        inputs = {tensor.name: tensor for tensor in member.input}
        outputs = {tensor.name: tensor for tensor in member.output}
        for name, source in step.input_map.items():
            consumed.add(source)
            if source in types:
                assert inputs[name].data_type == types[source], (name, source)
        for name, target in step.output_map.items():
            assert types.setdefault(target, outputs[name].data_type) == outputs[name].data_type
        required = {name for name, tensor in inputs.items() if not tensor.optional}
        assert required <= set(step.input_map), step.model_name
    assert {tensor.name for tensor in ensemble.input} <= consumed
    for tensor in ensemble.output:
        assert types[tensor.name] == tensor.data_type
    assert consumed <= set(types), "every source is made somewhere"


def test_renamed_tensors_have_the_name_of_their_release() -> None:
    old, new = configs(triton="24.12")["tensorrt_llm"], configs()["tensorrt_llm"]
    assert {"min_length", "random_seed"} <= {tensor.name for tensor in old.input}
    assert {"min_tokens", "seed"} <= {tensor.name for tensor in new.input}
    (step,) = [
        s for s in configs(triton="24.12")[""].ensemble_scheduling.step
        if s.model_name == "llm_tensorrt_llm"
    ]  # fmt: skip
    assert step.input_map["random_seed"] == "random_seed"
    assert "seed" not in step.input_map


def test_optional_tensors_come_with_what_they_are_for() -> None:
    def names(**engine: Any) -> set[str]:
        return {tensor.name for tensor in configs(**engine)["tensorrt_llm"].input}

    assert "lora_weights" not in names()
    assert "lora_weights" in names(lora_plugin="auto")
    assert "guided_decoding_guide" in names(guided_decoding_backend="xgrammar")
    assert "encoder_input_features" in names(encoder_model_path="/models/encoder")


def test_types_of_logits_and_prompts_are_the_engines() -> None:
    def kinds(**engine: Any) -> dict[str, str]:
        config = configs(**engine)["tensorrt_llm"]
        return {t.name: pbtxt.data_type_name(t.data_type) for t in [*config.input, *config.output]}

    assert kinds()["context_logits"] == "TYPE_FP32"
    assert kinds(logits_dtype="float16")["generation_logits"] == "TYPE_FP16"
    assert kinds(logits_type="TYPE_BF16")["context_logits"] == "TYPE_BF16"
    assert kinds(lora_plugin="auto")["lora_weights"] == "TYPE_BF16"


# Parameters


def test_the_keys_that_the_cxx_looks_up_are_there() -> None:
    found = parameters(configs()["tensorrt_llm"])
    for key, row in tables.triton_parameters().items():
        if row.required and "tensorrt_llm" in row.models:
            assert key in found, key
    assert "guided_decoding_backend" not in parameters(configs(triton="25.04")["tensorrt_llm"])


def test_a_parameter_is_written_by_the_name_that_its_release_reads() -> None:
    old = parameters(configs(triton="24.08", multi_block_mode=False)["tensorrt_llm"])
    assert (old["multiBlockMode"], "multi_block_mode" in old) == ("false", False)
    new = parameters(configs(triton="24.11", multi_block_mode=False)["tensorrt_llm"])
    assert (new["multi_block_mode"], "multiBlockMode" in new) == ("false", False)
    assert "multi_block_mode needs TensorRT-LLM 0.12.0" in refuse(
        triton="24.07", multi_block_mode=True
    )


def test_our_defaults() -> None:
    found = parameters(configs()["tensorrt_llm"])
    assert found["exclude_input_in_output"] == "true", "the C++ would echo the prompt"
    assert found["gpt_model_path"] == "/models/llm_tensorrt_llm/1"
    assert found["gpt_model_type"] == "inflight_fused_batching"
    assert found["enable_kv_cache_reuse"] == "true"
    assert found["enable_chunked_context"] == "true"
    assert configs()["tensorrt_llm"].model_transaction_policy.decoupled
    assert "gpu_device_ids" not in found


def test_no_paged_attention_in_float32() -> None:
    words = build(dtype="float32")
    assert option(words, "use_paged_context_fmha") == "disable"
    found = parameters(configs(dtype="float32")["tensorrt_llm"])
    assert found["enable_kv_cache_reuse"] == "false"
    assert "enable_kv_cache_reuse needs" in refuse(dtype="float32", enable_kv_cache_reuse=True)


def test_settings_go_where_they_belong_in_the_form_the_cxx_reads() -> None:
    made = configs(
        kv_cache_free_gpu_mem_fraction=0.85,
        normalize_log_probs=False,
        max_attention_window_size=[4096, 1024],
        add_special_tokens=False,
        skip_special_tokens=False,
        max_queue_size=7,
        preprocessing_instance_count=3,
        triton_max_batch_size=4,
        decoupled=False,
    )
    engine = made["tensorrt_llm"]
    found = parameters(engine)
    assert found["kv_cache_free_gpu_mem_fraction"] == "0.85"
    assert found["normalize_log_probs"] == "false"
    assert found["max_attention_window_size"] == "4096,1024"
    assert not engine.model_transaction_policy.decoupled
    assert engine.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert parameters(made["preprocessing"])["add_special_tokens"] == "false"
    assert parameters(made["postprocessing"])["skip_special_tokens"] == "false"
    assert made["preprocessing"].instance_group[0].count == 3
    assert {config.max_batch_size for config in made.values()} == {4}


@pytest.mark.parametrize(
    ("given", "printed"), [(0, "0"), ([3], "3"), ([[0], [1]], "0;1"), ("0;1", "0;1")]
)
def test_gpus_as_people_write_them(given: Any, printed: str) -> None:
    config = configs(gpu_device_ids=given)["tensorrt_llm"]
    assert parameters(config)["gpu_device_ids"] == printed


def test_a_model_without_attention_takes_its_prompts_whole() -> None:
    """The runtime refuses chunked context for it, and does not start."""
    spec = mamba_like(source=LOCAL.source, architecture="MambaForCausalLM", num_attention_heads=0)
    config = pbtxt.parse(text(entries(spec)["llm_tensorrt_llm"]))
    assert parameters(config)["enable_chunked_context"] == "false"
    assert option(build(spec), "use_paged_context_fmha") == "disable"
    assert option(build(context_fmha=False), "use_paged_context_fmha") == "disable"


@pytest.mark.parametrize(
    ("engine", "count"),
    [
        ({}, 1),
        ({"gpu_device_ids": "0"}, 1),
        ({"gpu_device_ids": "0;1"}, 2),
        ({"tensor_parallel_size": 2, "gpu_device_ids": [[0, 1], [2, 3], [4, 5]]}, 3),
        ({"participant_ids": "1;2"}, 2),
    ],
)
def test_each_set_of_gpus_has_an_instance(engine: dict[str, Any], count: int) -> None:
    """The C++ gives the sets to the instances in turn; with one instance the others idle."""
    (group,) = configs(**engine)["tensorrt_llm"].instance_group
    assert (group.count, group.kind) == (count, group.KIND_CPU)


def test_guided_decoding_knows_the_tokenizer() -> None:
    asked = {"guided_decoding_backend": "xgrammar"}
    found = parameters(configs(**asked)["tensorrt_llm"])
    assert found["tokenizer_dir"] == "/models/llm_preprocessing/1/tokenizer"
    info = "/models/llm_preprocessing/1/xgrammar/tokenizer_info.json"
    assert found["xgrammar_tokenizer_info_path"] == info
    own = {**asked, "xgrammar_tokenizer_info_path": "/models/info.json"}
    found = parameters(configs(**own)["tensorrt_llm"])
    assert found["xgrammar_tokenizer_info_path"] == "/models/info.json"
    assert parameters(configs()["tensorrt_llm"])["tokenizer_dir"] == ""


@pytest.mark.parametrize("profile", ["latency", "balanced", "throughput"])
def test_a_profile_gives_its_reasons_in_the_file(profile: str) -> None:
    found = text(entries(profile=profile)["llm_tensorrt_llm"])
    assert f"# Chosen by the profile '{profile}':" in found
    assert "#   batch_scheduler_policy = " in found
    assert "#   max_batch_size = " in found
    config = pbtxt.parse(found)
    policy = parameters(config)["batch_scheduler_policy"]
    assert policy == ("max_utilization" if profile == "throughput" else "guaranteed_no_evict")


def test_a_setting_of_the_recipe_is_not_the_profiles() -> None:
    found = text(entries(batch_scheduler_policy="max_utilization")["llm_tensorrt_llm"])
    assert "#   batch_scheduler_policy" not in found
    assert "#   kv_cache_free_gpu_mem_fraction" in found


# What the engine is built with


def test_defaults_of_the_build() -> None:
    words = build()
    assert option(words, "max_seq_len") == "8192", "not the 131,072 of the checkpoint, unasked"
    assert option(words, "max_input_len") == "8192"
    assert option(words, "use_paged_context_fmha") == "enable"
    assert option(words, "kv_cache_type") == "paged"
    assert "--kv_cache_type" not in build(triton="24.06")
    assert option(words, "gemm_plugin") == "bfloat16"
    assert option(build(max_seq_len=20_000), "max_input_len") == "20000"
    assert option(build(max_input_len=20_000), "max_seq_len") == "20000"
    assert option(build(tensor_parallel_size=4), "workers") == "4"


def test_prompts_that_cannot_be_taken_in_pieces_fit_into_one_step() -> None:
    assert option(build(profile="latency"), "max_num_tokens") == "2048"
    assert option(build(profile="latency", dtype="float32"), "max_num_tokens") == "8192"
    given = build(profile="latency", dtype="float32", max_num_tokens=100)
    assert option(given, "max_num_tokens") == "100"


def test_a_long_prompt_has_room_where_no_context_is_known() -> None:
    spec = llama_8b(source=LOCAL.source, context_length=0)
    words = build(spec, max_input_len=20_000)
    assert option(words, "max_seq_len") == "20000"
    assert option(build(spec), "max_seq_len") == "8192"


def test_the_oldest_release_tells_prompt_and_answer_apart() -> None:
    words = build(triton="24.06")
    assert "--max_seq_len" not in words
    assert (option(words, "max_input_len"), option(words, "max_output_len")) == ("4096", "4096")
    words = build(triton="24.06", max_input_len=1000)
    assert option(words, "max_output_len") == "7192"
    recipe = ModelRecipe(source="x", name="llm")
    assert builder.engine_expected(Case(LOCAL, recipe, toolchain.load("24.06"))).max_seq_len == 8192


def test_options_in_the_form_of_the_command_line() -> None:
    words = build(
        weight_streaming=True, gather_context_logits=False, multiple_profiles=True,
        lora_target_modules=["attn_q", "attn_v"], lora_plugin="auto",
    )  # fmt: skip
    assert "--weight_streaming" in words
    assert "--gather_context_logits" not in words
    assert option(words, "multiple_profiles") == "enable"
    at = words.index("--lora_target_modules")
    assert words[at + 1 : at + 3] == ["attn_q", "attn_v"]


@pytest.mark.parametrize(
    ("dtype", "asked", "built"),
    [
        ("bfloat16", "auto", "bfloat16"),
        ("float32", "auto", "float16"),
        ("float16", "auto", "float16"),
        ("bfloat16", "float16", "float16"),
    ],
)
def test_the_type_it_computes_in(dtype: str, asked: str, built: str) -> None:
    spec = llama_8b(source=LOCAL.source, dtype=dtype)
    recipe = ModelRecipe(source="x", name="llm", engine={"dtype": asked})
    assert builder.engine_build(Case(spec, recipe, toolchain.load("26.07"))).dtype == built


_NAMES = sorted({*tables.build_options(), *tables.triton_parameters(), "dtype", "profile"})


_VALUES = st.one_of(
    st.integers(-2, 9), st.booleans(), st.floats(0, 1), st.text(max_size=4), st.none(),
    st.lists(st.integers(0, 3), max_size=2), st.lists(st.lists(st.integers(0, 3)), max_size=2),
    st.sampled_from(["auto", "float16", "disable", "max_utilization", "0,1;2,3", "{0}"]),
)  # fmt: skip


@pytest.mark.long
@settings(max_examples=rounds(50, 2000), deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=4), st.sampled_from(RELEASES))
def test_whatever_is_set_is_written_or_refused(engine: dict[str, Any], triton: str) -> None:
    try:
        made = entries(triton=triton, **engine)
    except RecipeError as error:
        assert error.what
        assert error.fix
        return
    for entry in made.values():
        config = pbtxt.parse(text(entry))
        for name, value in parameters(config).items():
            row = tables.triton_parameters().get(name)
            assert row is None or row.text_problem(value) == "", (name, value)


def test_steps_say_what_will_be_done() -> None:
    def titles(**recipe: Any) -> str:
        model = ModelRecipe(source="x", name="llm", **recipe)
        return " | ".join(step.title for step in builder.steps(Case(LOCAL, model, tools)))

    tools = toolchain.load("26.07")
    assert "bfloat16 TensorRT-LLM checkpoint (tp2 pp1: 2 ranks)" in titles(
        engine={"tensor_parallel_size": 2}
    )
    assert "Compile the engine on a GPU with trtllm-build of TensorRT-LLM 1.2.1" in titles()
    assert "Leave for later" in titles(build=False)
    assert "Take the engine that is there" in titles(engine_dir="x")
