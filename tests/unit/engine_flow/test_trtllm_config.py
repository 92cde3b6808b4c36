"""A checkpoint by release: what the release's classes take, by the names that they look for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import trtllm_sources as tiny
from support.specs import llama_8b
from support.trtllm_classes import faults
from trtbuild import toolchain
from trtbuild.errors import UnsupportedError
from trtbuild_engine_flow.converter import FAMILIES, miscomputed, predict_config
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint

RELEASES = sorted({row.trtllm for row in toolchain.releases() if row.engine_flow})
# The fields of Mapping and QuantConfig that every release of 0.10 … 1.2 has.
MAPPING = {"world_size", "gpus_per_node", "cp_size", "tp_size", "pp_size"}
MAPPING |= {"moe_tp_size", "moe_ep_size"}
QUANTIZATION = {"quant_algo", "kv_cache_quant_algo", "group_size", "smoothquant_val", "clamp_val"}
QUANTIZATION |= {"has_zero_point", "pre_quant_scale", "exclude_modules"}


def made(release: str, architecture: str = "LlamaForCausalLM", **config: Any) -> dict[str, Any]:
    spec = llama_8b(architecture=architecture)
    return predict_config(spec, config, dtype="float16", tp=2, pp=2, release=release)


@pytest.mark.parametrize("release", RELEASES)
def test_strict_parts_have_only_what_the_release_knows(release: str) -> None:
    config = made(release)
    assert config["mapping"].keys() <= MAPPING
    assert config["quantization"].keys() <= QUANTIZATION | (
        {"use_meta_recipe"} if era(release) >= (1, 0) else set()
    )
    assert config["mapping"]["world_size"] == 4
    assert ("share_embedding_table" in config) == (era(release) < (0, 15))
    assert ("runtime_defaults" in config) == (era(release) >= (1, 0))


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
@pytest.mark.parametrize("release", ["0.10.0", "0.14.0", "0.21.0", "1.2.1"])
def test_every_family_has_what_every_engine_needs(architecture: str, release: str) -> None:
    config = made(release, architecture)
    needed = {"architecture", "dtype", "hidden_size", "num_hidden_layers", "num_attention_heads"}
    assert needed | {"vocab_size", "position_embedding_type", "mapping"} <= config.keys()
    assert config["dtype"] == "float16"


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 8192
SOURCES: dict[str, Callable[[], Any]] = {
    "llama": tiny.llama,
    "llama tied": lambda: tiny.llama(tie_word_embeddings=True),
    "llama3 rope": lambda: tiny.llama(rope_scaling=LLAMA3),
    "linear rope": lambda: tiny.llama(rope_scaling={"rope_type": "linear", "factor": 2.0}),
    "mixtral": tiny.mixtral,
    "qwen2": tiny.qwen2,
    "qwen2_moe": tiny.qwen2_moe,
    "gpt2": tiny.gpt2,
    "gemma2": tiny.gemma2,
    "phi3": tiny.phi3,
    "falcon": lambda: tiny.falcon(new=False),
    "falcon-new": lambda: tiny.falcon(new=True),
    "gpt_neox": tiny.gpt_neox,
}
# The first TensorRT-LLM for which each is written; the others are for all.
SINCE = {"mixtral": "0.11", "qwen2": "0.11", "gpt2": "0.11", "phi3": "0.11", "qwen2_moe": "0.12"}
SINCE |= {"llama3 rope": "0.12", "gemma2": "0.13"}


def era(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_written_loads_in_the_classes_of_the_release(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    tiny.write_source(source, SOURCES[name]())
    out = tmp_path / "out"
    for release in RELEASES:
        if era(release) < era(SINCE.get(name, "0.10")):
            with pytest.raises(UnsupportedError) as caught:
                make_checkpoint(str(source), out, release=release, dry_run=True)
            assert f"with TensorRT-LLM {SINCE[name]} or newer" in caught.value.details[0]
            continue
        made = make_checkpoint(str(source), out, release=release, dry_run=True)
        tensors = [target.name for target in made.layout.ranks[0].targets]
        assert faults(dict(made.layout.config), tensors, era(release)) == [], release


def test_a_release_without_the_network_is_refused_whoever_converts() -> None:
    gemma = llama_8b(architecture="Gemma2ForCausalLM")
    (reason,) = miscomputed(gemma, {}, "0.12.0")
    assert reason.startswith("TensorRT-LLM 0.12.0 cannot compute gemma2")
    assert miscomputed(gemma, {}, "0.13.0") == ()
    (reason,) = miscomputed(llama_8b(), {"rope_scaling": LLAMA3}, "0.11.0")
    assert "llama with llama3 rope" in reason


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("MixtralForCausalLM", {"rotary_base": 1e6, "norm_epsilon": 1e-5}),
        ("LlamaForCausalLM", {"rotary_base": 1e4, "norm_epsilon": 1e-6}),
        ("MistralForCausalLM", {"max_position_embeddings": 131072}),
        ("Gemma2ForCausalLM", {"attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 256}),
        ("GPT2LMHeadModel", {"max_position_embeddings": 1024, "hidden_act": "gelu_new"}),
    ],
)
def test_what_config_leaves_out_is_as_in_transformers(
    architecture: str, expected: dict[str, Any]
) -> None:
    config = made("1.2.1", architecture)
    assert {key: config[key] for key in expected} == expected


def test_what_config_says_wins_wherever_it_says_it() -> None:
    kept = {"rope_theta": 5e5, "rope_type": "default"}
    assert made("1.2.1", "MixtralForCausalLM", rope_parameters=kept)["rotary_base"] == 5e5
    gemma = made("1.2.1", "Gemma2ForCausalLM", final_logit_softcapping=None)
    assert gemma["final_logit_softcapping"] is None
