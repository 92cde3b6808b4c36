"""The tables of the engine flow: every row is sound, every value is printed as the C++ reads it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from packaging.version import Version

from support.paths import ROOT
from trtbuild import toolchain
from trtbuild.check.examples import ENGINE_KEYS
from trtbuild_engine_flow import parameters
from trtbuild_engine_flow.parameters import Setting, build_options, triton_parameters

SCRIPT = ROOT / "scripts" / "write_engine_settings.py"
PARAMETERS = triton_parameters()
TYPES = {"int", "float", "bool", "str", "ints", "sets", "tree", "flag", "switch", "list"}
SOUND: dict[str, Any] = {
    "int": 3, "float": 0.5, "bool": True, "str": "x", "ints": [4096, 1024],
    "sets": [[0, 1], [2, 3]], "tree": [[0], [0, 1]], "flag": True, "switch": False,
    "list": ["attn_q", "attn_v"],
}  # fmt: skip
# Of NVIDIA's five models, as their documentation lists them.
DOCUMENTED = """
    tokenizer_dir add_special_tokens multimodal_model_path max_num_images hf_model_path
    skip_special_tokens accumulate_tokens tensorrt_llm_model_name tensorrt_llm_draft_model_name
    multimodal_encoders_name decoupled max_queue_delay_microseconds max_queue_size
    gpt_model_type gpt_model_path encoder_model_path max_beam_width max_tokens_in_paged_kv_cache
    max_attention_window_size sink_token_length batch_scheduler_policy
    kv_cache_free_gpu_mem_fraction cross_kv_cache_fraction kv_cache_host_memory_bytes
    kv_cache_onboard_blocks exclude_input_in_output cancellation_check_period_ms
    stats_check_period_ms iter_stats_max_iterations request_stats_max_iterations
    enable_kv_cache_reuse normalize_log_probs enable_chunked_context gpu_device_ids
    participant_ids num_nodes lora_cache_optimal_adapter_size lora_cache_max_adapter_size
    lora_cache_gpu_memory_fraction lora_cache_host_memory_bytes lora_prefetch_dir decoding_mode
    lookahead_window_size lookahead_ngram_size lookahead_verification_set_size medusa_choices
    eagle_choices gpu_weights_percent enable_context_fmha_fp32_acc multi_block_mode
    cuda_graph_mode cuda_graph_cache_size speculative_decoding_fast_logits
    xgrammar_tokenizer_info_path guided_decoding_backend recv_poll_period_ms
    FORCE_CPU_ONLY_INPUT_TENSORS executor_worker_path
""".split()  # noqa: SIM905 - a table of names reads better


def test_every_documented_parameter_is_there() -> None:
    assert set(DOCUMENTED) <= set(PARAMETERS)


@pytest.mark.parametrize("table", [PARAMETERS, build_options()], ids=["triton", "build"])
def test_rows_are_sound(table: dict[str, Setting]) -> None:
    for name, row in table.items():
        assert row.name == name
        assert row.type in TYPES
        for release in filter(None, (row.since, row.until)):
            assert Version(release)
        value = row.choices[0] if row.choices else SOUND[row.type]
        assert row.problem([value] if row.type == "list" else value) == "", name
        assert set(row.choices_since or {}) <= set(row.choices)
        assert row.models or table is not PARAMETERS


@pytest.mark.parametrize("row", PARAMETERS.values(), ids=lambda row: row.name)
def test_what_is_printed_is_read_as_it_was_meant(row: Setting) -> None:
    value = row.choices[0] if row.choices else SOUND[row.type]
    text = row.printed(value)
    assert row.text_problem(text) == ""
    if row.type == "bool":
        assert text in {"true", "false"}
    if row.type == "float":
        assert float(text) == value
        assert "," not in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("batch_scheduler_policy", "MAX_UTILIZATION", "letters count: write max_utilization"),
        ("decoding_mode", "Top_K", "letters count: write top_k"),
        ("gpt_model_type", "inflight", "is not one of inflight_fused_batching"),
        ("kv_cache_free_gpu_mem_fraction", "0,9", "with a point and not a comma"),
        ("kv_cache_free_gpu_mem_fraction", 0, "is not above 0"),
        ("kv_cache_free_gpu_mem_fraction", 1.5, "is more than 1"),
        ("kv_cache_free_gpu_mem_fraction", float("nan"), "is not a number"),
        ("enable_kv_cache_reuse", "yes", "is not true or false"),
        ("enable_kv_cache_reuse", 1, "is not true or false"),
        ("max_beam_width", 0, "is not at least 1"),
        ("max_beam_width", True, "is not a whole number"),
        ("max_attention_window_size", [1024, 0], "is not at least 1"),
        ("max_attention_window_size", [], "is not a whole number or a list of them"),
        ("max_queue_size", 2**31, "is more than the server can hold: 2147483647 at most"),
        ("kv_cache_host_memory_bytes", 2**63, "is more than the server can hold"),
        ("gpu_device_ids", "0 1", "is not a list of lists"),
        ("gpu_device_ids", [[0], []], "is not a list of lists"),
        ("medusa_choices", "0,1", "is not a list of lists"),
    ],
)
def test_values_that_the_cxx_would_misread(name: str, value: Any, said: str) -> None:
    assert said in PARAMETERS[name].problem(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("enable_chunked_context", "yes", "is read as its default"),
        ("enable_chunked_context", "True", ""),
        ("kv_cache_free_gpu_mem_fraction", "0,9", "is not a number"),
        ("kv_cache_free_gpu_mem_fraction", ".9", ""),
        ("max_beam_width", "1.5", "is not a whole number"),
        ("max_attention_window_size", "1024, 4096", ""),
        ("max_attention_window_size", "1024;4096", "is not a whole number"),
        ("batch_scheduler_policy", "Guaranteed_No_Evict", "letters count"),
        ("batch_scheduler_policy", "", ""),
        ("batch_scheduler_policy", "${batch_scheduler_policy}", ""),
    ],
)
def test_texts_of_other_peoples_files(name: str, text: str, said: str) -> None:
    problem = PARAMETERS[name].text_problem(text)
    assert said in problem
    assert bool(said) == bool(problem)


def test_forms_of_lists() -> None:
    devices = PARAMETERS["gpu_device_ids"]
    assert devices.printed([[0, 1], [2, 3]]) == "0,1;2,3"
    assert devices.printed([0, 1]) == "0,1"
    assert devices.printed("0,1;2,3") == "0,1;2,3"
    assert PARAMETERS["medusa_choices"].printed([[0], [0, 1]]) == "{0},{0,1}"
    assert PARAMETERS["max_attention_window_size"].printed(4096) == "4096"
    assert PARAMETERS["kv_cache_free_gpu_mem_fraction"].printed(1) == "1.0"


def test_releases_know_what_they_read() -> None:
    guided = PARAMETERS["guided_decoding_backend"]
    assert not guided.known_to("0.18.2")
    assert guided.known_to("0.19.0")
    assert not build_options()["paged_kv_cache"].known_to("1.0.0")


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("gemm_plugin", "nvfp4", "0.16.0", "0.17.0"),
        ("log_level", "trace", "0.17.0.post1", "0.18.0"),
        ("speculative_decoding_mode", "eagle", "0.14.0", "0.15.0"),
        ("lora_target_modules", ["attn_q", "mlp_gate_up"], "0.21.0", "1.0.0"),
    ],
)
def test_a_choice_has_a_first_release(name: str, value: Any, old: str, new: str) -> None:
    row = build_options()[name]
    assert row.choice_since(value, old) == new
    assert row.choice_since(value, new) == ""
    assert row.choice_since(row.choices[0], "0.10.0") == ""
    assert set(row.choices) - set(row.choices_of(old)) == set(row.choices_since or {})


def test_words_of_a_list_are_choices_too() -> None:
    said = build_options()["lora_target_modules"].problem(["attn_q", "q_proj"])
    assert said.startswith("lora_target_modules=q_proj is not one of attn_qkv, attn_q")


def test_dora_came_with_0_17() -> None:
    assert not build_options()["dora_plugin"].known_to("0.16.0")


def test_engines_are_compiled_up_to_one_release() -> None:
    last = Version(parameters.LAST_WITH_ENGINES)
    for row in toolchain.releases():
        newer = bool(row.trtllm) and Version(row.trtllm) > last
        assert row.engine_flow == (bool(row.trtllm) and not newer), row.triton


def test_the_page_of_settings_is_what_the_tables_say() -> None:
    spec = importlib.util.spec_from_file_location("write_engine_settings", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = script.PAGE.read_text(encoding="utf-8")
    assert written == script.page(), "python scripts/write_engine_settings.py"


def test_sizes_and_times_are_64_bits() -> None:
    assert PARAMETERS["kv_cache_host_memory_bytes"].problem(2**40) == ""
    assert PARAMETERS["max_queue_delay_microseconds"].problem(2**40) == ""


def test_the_parameters_of_the_backend_say_who_reads_them() -> None:
    for name, row in PARAMETERS.items():
        assert row.source or row.in_config, name
        assert bool(row.former) == bool(row.former_since), name
    required = [n for n, row in PARAMETERS.items() if row.required and "tensorrt_llm" in row.models]
    assert sorted(ENGINE_KEYS) == sorted(required)


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("multi_block_mode", "0.12.0"),
        ("enable_context_fmha_fp32_acc", "0.12.0"),
        ("speculative_decoding_fast_logits", "0.15.0"),
        ("recv_poll_period_ms", "0.13.0"),
        ("encoder_model_path", "0.11.0"),
        ("tokenizer_dir", "0.19.0"),
        ("num_nodes", "0.19.0"),
    ],
)
def test_the_first_release_that_reads_a_parameter(name: str, since: str) -> None:
    known = [
        row.trtllm
        for row in toolchain.releases()
        if row.engine_flow and PARAMETERS[name].known_to(row.trtllm, "tensorrt_llm")
    ]
    assert min(known, key=Version) == since
    assert "1.2.1" in known


@pytest.mark.parametrize(
    ("release", "key"), [("0.12.0", "multiBlockMode"), ("0.14.0", "multiBlockMode"),
                         ("0.15.0", "multi_block_mode"), ("1.2.1", "multi_block_mode")],
)  # fmt: skip
def test_a_parameter_goes_by_the_name_of_its_release(release: str, key: str) -> None:
    assert PARAMETERS["multi_block_mode"].key(release) == key
