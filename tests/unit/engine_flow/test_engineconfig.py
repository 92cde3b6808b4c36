"""Reading an engine's config.json, of any release and in any state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild.errors import RepositoryError
from trtbuild_engine_flow import engineconfig
from trtbuild_engine_flow.engineconfig import (
    EngineConfig,
    conflicts,
    lacking_ranks,
    lookahead_conflict,
)


def document(**build: Any) -> dict[str, Any]:
    return {
        "version": "0.17.0",
        "pretrained_config": {
            "architecture": "LlamaForCausalLM",
            "dtype": "bfloat16",
            "logits_dtype": "float32",
            "vocab_size": 128_256,
            "num_hidden_layers": 32,
            "mapping": {"world_size": 4, "tp_size": 2, "pp_size": 2},
            "quantization": {"quant_algo": "FP8"},
        },
        "build_config": {
            "max_batch_size": 64,
            "max_input_len": 1024,
            "max_seq_len": 2048,
            "max_num_tokens": 8192,
            "max_beam_width": 4,
            "kv_cache_type": "PAGED",
            "gather_context_logits": True,
            "weight_streaming": True,
            "plugin_config": {"use_paged_context_fmha": True, "lora_plugin": "auto"},
            **build,
        },
    }


def test_what_an_engine_was_built_for() -> None:
    found = engineconfig.of_document(document())
    assert (found.version, found.dtype, found.quantization) == ("0.17.0", "bfloat16", "FP8")
    assert (found.tp, found.pp, found.cp, found.world) == (2, 2, 1, 4)
    assert (found.max_batch_size, found.max_seq_len, found.max_beam_width) == (64, 2048, 4)
    assert found.paged_kv_cache
    assert found.paged_context_fmha
    assert found.lora
    assert found.weight_streaming
    assert found.gather_context_logits
    assert not found.gather_generation_logits
    assert found.speculative == ""


@pytest.mark.parametrize(
    ("build", "paged"),
    [
        ({"kv_cache_type": "KVCacheType.PAGED"}, True),
        ({"kv_cache_type": "CONTINUOUS"}, False),
        ({"kv_cache_type": None, "plugin_config": {"paged_kv_cache": False}}, False),
        ({"kv_cache_type": None, "plugin_config": {"paged_kv_cache": True}}, True),
    ],
)
def test_the_kv_cache_of_older_and_newer_releases(build: dict[str, Any], paged: bool) -> None:
    assert engineconfig.of_document(document(**build)).paged_kv_cache is paged


@pytest.mark.parametrize(
    ("mode", "said"),
    [(1, ""), (4, "medusa"), (32, "eagle"), ("NONE", ""), ("LOOKAHEAD_DECODING", "lookahead_dec")],
)
def test_speculative_decoding_by_number_or_name(mode: Any, said: str) -> None:
    found = engineconfig.of_document(document(speculative_decoding_mode=mode)).speculative
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_context_parallel_ranks_count() -> None:
    raw = document()
    raw["pretrained_config"]["mapping"] = {"world_size": 8, "tp_size": 2, "pp_size": 2}
    found = engineconfig.of_document(raw)
    assert (found.cp, found.world) == (2, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it is not a JSON object"),
        (b'{"version": "1"}', "it has no pretrained_config and no build_config"),
        (b"[" * 100_000, "it is not JSON"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RepositoryError) as caught:
        engineconfig.read(tmp_path)
    assert said in caught.value.what
    assert caught.value.exit_code == 6
    assert "trtllm-build" in caught.value.fix


@pytest.mark.parametrize("size", ["tp_size", "pp_size", "cp_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_an_engine_for_no_gpu_is_none(size: str, value: int) -> None:
    raw = document()
    raw["pretrained_config"]["mapping"] = {"world_size": 1, size: value}
    with pytest.raises(ValueError, match=f"its {size} is {value}"):
        engineconfig.of_document(raw)


def test_digits_of_another_script_are_no_number() -> None:
    engine = engineconfig.of_document(document())
    assert not conflicts(engine, {"max_beam_width": "²"})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(document()["build_config"])), _JSON))
def test_values_of_any_type_are_as_good_as_absent(build: dict[str, Any]) -> None:
    found = engineconfig.of_document(document(**build))
    assert isinstance(found.max_batch_size, int)
    assert isinstance(found.paged_kv_cache, bool)
    assert isinstance(found.speculative, str)


def test_ranks_by_name() -> None:
    names = ["rank0.engine", "rank10.engine", "rank01.engine", "rank2.engine.bak", "config.json"]
    assert engineconfig.ranks(names) == (0, 10)
    engine = EngineConfig("1", tp=2)
    assert lacking_ranks(engine, ["rank0.engine", "rank1.engine"]) == ""
    said = lacking_ranks(engine, ["rank0.engine", "rank5.engine"])
    assert "tp2" in said
    assert "rank1.engine missing; rank5.engine too many" in said


def test_lookahead_takes_all_three_or_none() -> None:
    sizes = {"lookahead_window_size": "4", "lookahead_ngram_size": "3"}
    found = lookahead_conflict(sizes)
    assert found is not None
    assert "without lookahead_verification_set_size" in found.text
    assert lookahead_conflict({**sizes, "lookahead_verification_set_size": "4"}) is None
    assert lookahead_conflict({}) is None


def test_a_fitting_engine_has_no_conflict() -> None:
    engine = engineconfig.of_document(document())
    parameters = {
        "gpt_model_type": "inflight_fused_batching", "enable_kv_cache_reuse": "true",
        "max_beam_width": "4", "gpu_device_ids": "0,1,2,3", "gpu_weights_percent": "0.5",
        "lora_prefetch_dir": "/loras", "decoding_mode": "beam_search",
    }  # fmt: skip
    assert (
        conflicts(
            engine, parameters, max_batch_size=64, release="0.17.0", vocab_size=128_255
        )  # 128,256 is that, padded for two ranks
        == ()
    )


def test_what_the_runtime_of_an_engine_checks_at_its_start() -> None:
    engine = engineconfig.of_document(document(plugin_config={"use_paged_context_fmha": True}))
    plain = engineconfig.of_document(document(plugin_config={}))
    blocks = {"kv_cache_onboard_blocks": "false"}
    assert [one.key for one in conflicts(engine, blocks)] == ["kv_cache_onboard_blocks"]
    assert "kv_cache_onboard_blocks" not in [one.key for one in conflicts(plain, blocks)]
    drafted = engineconfig.of_document(
        document(
            speculative_decoding_mode=2, plugin_config={"use_paged_context_fmha": True}
        )
    )  # fmt: skip
    assert conflicts(drafted, {"enable_kv_cache_reuse": "true"}) == conflicts(drafted, {})
    keys = [one.key for one in conflicts(drafted, {"enable_kv_cache_reuse": "false"})]
    assert "enable_kv_cache_reuse" in keys
    cross = {"cross_kv_cache_fraction": "0.5"}
    assert "cross_kv_cache_fraction" in [one.key for one in conflicts(engine, cross)]
    both = {**cross, "encoder_model_path": "/models/encoder"}
    assert "cross_kv_cache_fraction" not in [one.key for one in conflicts(engine, both)]


def test_sets_of_gpus_are_as_many_as_instances() -> None:
    engine = EngineConfig("1.2.1", tp=1)
    given = {"gpu_device_ids": "0;1"}
    (found,) = conflicts(engine, given, instances=1)
    assert "has 2 sets of GPUs and the model 1 instance: each" in found.text
    assert "count: 2" in found.fix
    assert found.starts, "with the first set alone"
    (short,) = conflicts(engine, given, instances=3)
    assert not short.starts
    assert not conflicts(engine, given, instances=2)
    assert not conflicts(engine, given)
    assert not conflicts(engine, {"gpu_device_ids": "0"}, instances=2), "two on one GPU may be"


@pytest.mark.parametrize("lacks", ["guided_decoding_backend", "xgrammar_tokenizer_info_path"])
def test_guided_decoding_takes_both_parameters(lacks: str) -> None:
    given = {"guided_decoding_backend": "xgrammar", "xgrammar_tokenizer_info_path": "/x"}
    assert not conflicts(EngineConfig("1"), given)
    (found,) = conflicts(EngineConfig("1"), {**given, lacks: ""})
    assert f"without {lacks}" in found.text
    assert found.starts


def test_every_conflict_names_its_mend() -> None:
    engine = engineconfig.of_document(document(plugin_config={}, weight_streaming=False))
    parameters = {
        "enable_kv_cache_reuse": "true", "enable_chunked_context": "1", "max_beam_width": "5",
        "gpu_device_ids": "0", "gpu_weights_percent": "0.5", "decoding_mode": "redrafter",
        "medusa_choices": "{0}", "lora_prefetch_dir": "/x", "max_tokens_in_paged_kv_cache": "9",
        "lookahead_ngram_size": "3",
    }  # fmt: skip
    found = conflicts(engine, parameters, max_batch_size=65, release="1.2.1", vocab_size=5)
    keys = [conflict.key for conflict in found]
    assert set(parameters) <= {*keys, "lookahead_ngram_size"}
    assert {"max_batch_size", ""} <= set(keys)
    for conflict in found:
        assert conflict.text
        assert conflict.fix
