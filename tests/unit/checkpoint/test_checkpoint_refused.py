"""What ``trtbuild checkpoint`` cannot convert is refused before a byte is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import trtllm_sources as tiny
from support.checkpointing import refused
from support.checkpoints import make_llama
from trtbuild.errors import ExitCode, UnsupportedError, UsageError
from trtbuild_engine_flow.engines.checkpoint import release_of


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tp": 3}, "4 attention heads cannot be shared evenly by 3 ranks: use --tp 2"),
        ({"pp": 3}, "2 layers cannot be shared evenly by 3 stages: use --pp 2"),
        ({"tp": 8}, "4 attention heads cannot be shared evenly by 8 ranks: use --tp 4"),
    ],
)
def test_heads_and_layers_that_do_not_divide(
    tmp_path: Path, options: dict[str, int], said: str
) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UnsupportedError, **options)
    assert said in error.details
    assert error.exit_code == ExitCode.UNSUPPORTED


def test_key_value_heads_that_neither_share_nor_repeat(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny", hidden=96, heads=12, kv_heads=4)
    error = refused(tmp_path, source, UnsupportedError, tp=6)
    assert any("4 key-value heads" in reason for reason in error.details)


def test_all_reasons_at_once(tmp_path: Path) -> None:
    source = make_llama(
        tmp_path / "tiny",
        rope_scaling={"rope_type": "yarn", "factor": 4.0},
        quantization_config={"quant_method": "awq", "bits": 4},
    )
    error = refused(tmp_path, source, UnsupportedError, tp=3, pp=3)
    text = "\n".join(error.details)
    assert "quantized (awq)" in text and "--backend vllm" in text
    assert "'yarn'" in text
    assert "heads" in text and "layers" in text


def test_an_unknown_family_says_what_to_do(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny", architectures=["OlmoForCausalLM"], model_type="olmo")
    error = refused(tmp_path, source, UnsupportedError)
    assert "OlmoForCausalLM" in error.details[0]
    assert "convert_checkpoint.py" in error.details[0]


@pytest.mark.parametrize(
    ("source", "split", "said"),
    [
        (tiny.phi3(), {"tp": 2}, "--tp 1"),
        (tiny.phi3(), {"pp": 2, "release": "0.16.0"}, "--pp 1"),
        (tiny.gemma2(), {"pp": 2}, "--pp 1"),
        (tiny.gpt_neox(), {"pp": 2}, "--pp 1"),
    ],
)
def test_what_the_original_converter_cannot_split(
    tmp_path: Path, source: Any, split: dict[str, Any], said: str
) -> None:
    tiny.write_source(tmp_path / "tiny", source)
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError, **split)
    assert said in error.details[0]


def test_falcons_without_golden_rules_are_refused(tmp_path: Path) -> None:
    config, shapes = tiny.falcon(new=False)
    tiny.write_source(tmp_path / "tiny", (config | {"alibi": True, "parallel_attn": False}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    assert len(error.details) == 2


def test_a_long_rope_that_makes_no_sense(tmp_path: Path) -> None:
    config, shapes = tiny.phi3()
    scaling = {"type": "su", "short_factor": [1.0], "long_factor": "many"}
    tiny.write_source(tmp_path / "tiny", (config | {"rope_scaling": scaling}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    text = "\n".join(error.details)
    assert "short_factor is not a list of 4 numbers" in text
    assert "long_factor is not a list" in text
    assert "original_max_position_embeddings is not given" in text
    assert "fewer than 128,000 positions" in text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("mlp_bias", True, "MLP has biases"),
        ("mlp_only_layers", [0], "only some of its layers"),
        ("decoder_sparse_step", 2, "only some of its layers"),
    ],
)
def test_what_the_rows_do_not_say(tmp_path: Path, key: str, value: Any, said: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny", **{key: value}), UnsupportedError)
    assert said in error.details[0]


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        (tiny.gpt_neox(), "use_parallel_residual", False),
        (tiny.gpt_neox(), "attention_bias", False),
        (tiny.gpt_neox(), "layer_norm_eps", 1e-6),
        (tiny.gpt_neox(), "intermediate_size", 48),
        (tiny.gpt_neox(), "rope_scaling", {"type": "linear", "factor": 2.0}),
        (tiny.gpt2(), "scale_attn_weights", False),
        (tiny.gpt2(), "scale_attn_by_inverse_layer_idx", True),
        (tiny.gpt2(), "add_cross_attention", True),
        (tiny.falcon(new=False), "activation", "relu"),
        (tiny.falcon(new=True), "rope_theta", 500042.0),
        (tiny.falcon(new=False), "rope_scaling", {"type": "linear", "factor": 2.0}),
        (tiny.gemma2(), "rope_theta", 1000000.0),
        (tiny.gemma2(), "rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
        (tiny.gemma2(), "attention_bias", True),
        (tiny.llama(), "partial_rotary_factor", 0.5),
        (tiny.gemma2(), "tie_word_embeddings", False),
    ],
)
def test_what_tensorrt_llm_computes_otherwise(
    tmp_path: Path, source: Any, key: str, value: Any
) -> None:
    config, shapes = source
    tiny.write_source(tmp_path / "tiny", (config | {key: value}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    (reason,) = error.details
    assert key.replace("rope_scaling", "rope scaling") in reason
    assert "always computes with" in reason


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"type": "linear", "factor": "x"}, "rope_scaling.factor is 'x'"),
        ({"type": "linear", "factor": 0}, "rope_scaling.factor is 0"),
        ({"type": "linear", "factor": True}, "rope_scaling.factor is True"),
        ({"type": "linear", "factor": float("inf")}, "rope_scaling.factor is inf"),
        ({"rope_type": "llama3", "high_freq_factor": None}, "high_freq_factor is None"),
        (
            {"rope_type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4},
            "low_freq_factor 4 is not below its high_freq_factor 4",
        ),
    ],
)
def test_a_rope_scaling_without_usable_numbers(
    tmp_path: Path, scaling: dict[str, Any], said: str
) -> None:
    tiny.write_source(tmp_path / "tiny", tiny.llama(rope_scaling=scaling))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    assert said in error.details[0]


@pytest.mark.parametrize(
    ("source", "tensor", "found"),
    [
        (tiny.gpt2(), "wte.weight", (72, 32)),
        (tiny.gpt2(), "wpe.weight", (8, 32)),
        (tiny.gpt2(), "h.0.mlp.c_fc.weight", (32, 64)),
        (tiny.gpt2(), "h.1.ln_1.bias", (31,)),
        (tiny.falcon(new=True), "transformer.word_embeddings.weight", (65, 32)),
        (tiny.falcon(new=True), "transformer.h.0.mlp.dense_4h_to_h.weight", (32, 64)),
        (tiny.gpt_neox(), "gpt_neox.layers.1.attention.dense.weight", (64, 32)),
        (tiny.gpt_neox(), "embed_out.weight", (64, 16)),
        (tiny.phi3(), "model.layers.0.mlp.gate_up_proj.weight", (64, 32)),
        (tiny.phi3(), "model.norm.weight", (32, 1)),
        (tiny.qwen2_moe(), "model.layers.0.mlp.gate.weight", (3, 16)),
        (tiny.qwen2_moe(), "model.layers.1.mlp.experts.2.down_proj.weight", (16, 24)),
    ],
)
def test_tensors_of_another_size_than_the_configuration_says(
    tmp_path: Path, source: Any, tensor: str, found: tuple[int, ...]
) -> None:
    config, shapes = source
    tiny.write_source(tmp_path / "tiny", (config, shapes | {tensor: found}))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    said = "\n".join((error.what, *error.details))
    assert f"{tensor}' is {list(found)}, but config.json implies" in said


@pytest.mark.parametrize(
    ("source", "lost"),
    [
        (tiny.qwen2_moe(), ["model.layers.1.self_attn.k_proj.bias"]),
        (
            tiny.qwen2_moe(),
            [f"model.layers.{n}.self_attn.{x}_proj.bias" for n in (0, 1) for x in "qkv"],
        ),
        (tiny.gpt2(), ["h.0.mlp.c_fc.bias"]),
        (tiny.gpt_neox(), ["gpt_neox.final_layer_norm.bias"]),
        (tiny.falcon(new=True), ["transformer.h.1.ln_mlp.bias"]),
    ],
)
def test_a_lost_bias_is_missed(tmp_path: Path, source: Any, lost: list[str]) -> None:
    config, shapes = source
    kept = {name: shape for name, shape in shapes.items() if name not in lost}
    tiny.write_source(tmp_path / "tiny", (config, kept))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    said = "\n".join((error.what, *error.details))
    for name in lost:
        assert f"{name}' is missing" in said


def test_a_lost_head_is_missed(tmp_path: Path) -> None:
    config, shapes = tiny.falcon(new=False)
    tiny.write_source(tmp_path / "tiny", (config | {"tie_word_embeddings": False}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    assert error.what == "tensor 'lm_head.weight' is missing"


@pytest.mark.parametrize(
    ("method", "fix"), [("awq", "with --backend vllm"), ("fp8", "--backend trtllm or --backend")]
)
def test_quantized_weights_are_sent_where_they_run(tmp_path: Path, method: str, fix: str) -> None:
    source = make_llama(tmp_path / "tiny", quantization_config={"quant_method": method, "bits": 4})
    (reason,) = refused(tmp_path, source, UnsupportedError).details
    assert fix in reason


@pytest.mark.parametrize("dtype", ["int8", "fp16", "float64"])
def test_an_unknown_dtype(tmp_path: Path, dtype: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError, dtype=dtype)
    assert dtype in error.what
    assert "float16" in error.fix


@pytest.mark.parametrize("option", ["tp", "pp"])
def test_no_ranks(tmp_path: Path, option: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError, **{option: 0})
    assert f"--{option} 0" in error.what


def test_a_triton_without_engines() -> None:
    with pytest.raises(UnsupportedError, match="compiles engines") as caught:
        release_of("26.08")
    assert "26.07" in caught.value.fix
    assert release_of("26.07") == "1.2.1"
    assert release_of("24.11") == "0.15.0"
