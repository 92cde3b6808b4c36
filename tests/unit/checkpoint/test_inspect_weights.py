"""Counts of parameters as checkpoints store them: packed, tied, of experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import llama_config, llama_shapes, make_described, write_json
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.modelspec import ModelSpec, Quantization, declared_quantization
from trtbuild.toolchain import trtllm_route


def described(tmp_path: Path, config: dict[str, Any], **more: Any) -> ModelSpec:
    shapes = more.pop("shapes", {"model.embed_tokens.weight": (8, 4)})
    folder = make_described(tmp_path / "m", llama_config() | config, shapes, **more)
    return inspect(open_checkpoint(str(folder)))


def packed(names: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, Any]:
    return {"shapes": {k: v[0] for k, v in names.items()},
            "dtype": {k: v[1] for k, v in names.items()}}  # fmt: skip


LINEAR = "model.layers.0.mlp.up_proj."


@pytest.mark.parametrize(
    ("quantization", "tensors"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128},
         {f"{LINEAR}qweight": ((32, 512), "I32"), f"{LINEAR}qzeros": ((2, 64), "I32"),
          f"{LINEAR}scales": ((2, 512), "F16"), f"{LINEAR}g_idx": ((256,), "I32")}),
        ({"quant_method": "gptq", "bits": 8},
         {f"{LINEAR}qweight": ((64, 512), "I32"), f"{LINEAR}scales": ((2, 512), "F16")}),
        ({"quant_method": "awq", "bits": 4},
         {f"{LINEAR}qweight": ((256, 64), "I32"), f"{LINEAR}qzeros": ((2, 64), "I32"),
          f"{LINEAR}scales": ((2, 512), "F16")}),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized",
          "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}},
         {f"{LINEAR}weight_packed": ((512, 32), "I32"), f"{LINEAR}weight_scale": ((512, 2), "BF16"),
          f"{LINEAR}weight_shape": ((2,), "I64")}),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]},
         {f"{LINEAR}weight": ((512, 256), "F8_E4M3"),
          f"{LINEAR}weight_scale_inv": ((4, 2), "F32")}),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True},
         {f"{LINEAR}weight": ((65536, 1), "U8"), f"{LINEAR}weight.absmax": ((2048,), "U8"),
          f"{LINEAR}weight.quant_map": ((16,), "F32"),
          f"{LINEAR}weight.quant_state.bitsandbytes__nf4": ((80,), "U8")}),
        ({"quant_method": "mxfp4"},
         {"model.layers.0.mlp.experts.gate_up_proj_blocks": ((1, 512, 8, 16), "U8"),
          "model.layers.0.mlp.experts.gate_up_proj_scales": ((1, 512, 8), "U8")}),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"},
         {f"{LINEAR}weight": ((512, 128), "U8"), f"{LINEAR}weight_scale": ((512, 16), "F8_E4M3"),
          f"{LINEAR}weight_scale_2": ((1,), "F32"), f"{LINEAR}input_scale": ((1,), "F32")}),
    ],
)  # fmt: skip
def test_packed_weights_count_what_they_hold(
    tmp_path: Path, quantization: dict[str, Any], tensors: dict[str, Any]
) -> None:
    spec = described(tmp_path, {"quantization_config": quantization}, **packed(tensors))
    assert spec.parameters == 512 * 256
    assert spec.quantization is not None
    assert spec.quantization.method == quantization["quant_method"]


def test_modelopt_keeps_its_own_file(tmp_path: Path) -> None:
    folder = make_described(tmp_path / "m", llama_config(), {"x.weight": (2, 2)})
    write_json(folder / "hf_quant_config.json", {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
    })  # fmt: skip
    method = inspect(open_checkpoint(str(folder))).quantization
    assert method is not None
    assert method.method == "modelopt"
    assert method.detail == {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}


def test_modelopts_first_exports_have_theirs_inside() -> None:
    inner = {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
    found = declared_quantization({"producer": {"name": "modelopt"}, "quantization": inner})
    assert found == Quantization("modelopt", inner)


SCHEME = {"num_bits": 8, "type": "float", "dynamic": False}


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_scheme": SCHEME}, "FP8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4",
          "kv_cache_scheme": SCHEME | {"num_bits": 4}}, "NVFP4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8",
          "kv_cache_scheme": SCHEME | {"dynamic": True}}, None),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": SCHEME}, "FP8"),
        ({"quant_method": "compressed-tensors",
          "kv_cache_scheme": {"num_bits": 4, "type": "int"}}, "INT4"),
        ({"quant_method": "compressed-tensors",
          "kv_cache_scheme": SCHEME | {"num_bits": 4}}, "FP4"),
        ({"quant_method": "compressed_tensors", "kv_cache_scheme": SCHEME}, "FP8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, None),
        ({"quant_method": "fp8", "kv_cache_scheme": SCHEME}, None),
    ],
)  # fmt: skip
def test_the_scheme_of_the_cache_is_a_type(declared: dict[str, Any], kind: str | None) -> None:
    found = declared_quantization(declared)
    assert found and found.detail.get("kv_cache_quant_algo") == kind


def test_of_several_groups_the_integers_speak() -> None:
    """An engine that loads 8-bit floats and no integers does not load a mixture of both."""

    def groups(*schemes: tuple[int, str]) -> dict[str, Any]:
        named = {
            f"group_{at}": {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind}}
            for at, (bits, kind) in enumerate(schemes)
        }
        return {"quant_method": "compressed-tensors", "config_groups": named}

    mixed = declared_quantization(groups((8, "float"), (4, "int")))
    assert mixed and mixed.detail == {"bits": 4, "type": "int", "schemes": 2}
    assert trtllm_route(mixed.method, mixed.detail).refused
    floats = declared_quantization(groups((8, "float"), (4, "float")))
    assert floats and floats.detail == {"bits": 8, "type": "float", "schemes": 2}
    assert trtllm_route(floats.method, floats.detail).refused
    same = declared_quantization(groups((8, "float"), (8, "float")))
    assert same and same.detail == {"bits": 8, "type": "float"}
    assert not trtllm_route(same.method, same.detail).refused


@pytest.mark.parametrize("groups", [[], {}, None, {"group_0": None}, {"group_0": {"weights": 4}}])
def test_groups_that_say_nothing(groups: Any) -> None:
    declared = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert declared_quantization(declared) == Quantization("compressed-tensors", {})


def test_experts_active_for_one_token(tmp_path: Path) -> None:
    shapes = {
        "model.embed_tokens.weight": (100, 10),
        **{f"model.layers.0.mlp.experts.{n}.up_proj.weight": (10, 10) for n in range(8)},
        "model.layers.0.mlp.shared_expert.up_proj.weight": (10, 10),
        "model.layers.1.mlp.experts.gate_up_proj": (8, 10, 10),
        "model.layers.2.mtp.weight": (50, 10),  # beyond the last layer: drafts only
    }
    config = {"num_experts": 8, "num_experts_per_tok": 2, "num_nextn_predict_layers": 1}
    spec = described(tmp_path, config, shapes=shapes)
    assert spec.num_experts == 8
    assert spec.parameters == 1000 + 800 + 100 + 800 + 500
    assert spec.active_parameters == 1000 + 100 + (800 + 800) // 4


def test_stacked_experts_and_layers_for_prediction(tmp_path: Path) -> None:
    """Granite stacks a layer's experts under a name of its own; Qwen3-Next names ``mtp``."""
    experts = "model.layers.0.block_sparse_moe"
    shapes = {
        "model.embed_tokens.weight": (100, 10),
        f"{experts}.input_linear.weight": (8, 20, 10),
        f"{experts}.output_linear.weight": (8, 10, 10),
        f"{experts}.router.layer.weight": (8, 10),
        "model.layers.0.mamba.conv1d.weight": (8, 1, 4),
        "mtp.layers.0.mlp.experts.gate_up_proj": (8, 10, 10),
        "model.mtp_layers.0.self_attn.q_proj.weight": (10, 10),
    }
    config = {"num_local_experts": 8, "num_experts_per_tok": 2}
    spec = described(tmp_path, config, shapes=shapes)
    assert spec.parameters == 1000 + 1600 + 800 + 80 + 32 + 800 + 100
    assert spec.active_parameters == 1000 + (1600 + 800) // 4 + 80 + 32


def test_experts_that_compute_nothing_take_their_share(tmp_path: Path) -> None:
    """LongCat chooses 12 of 512 experts and 256 that pass their input on."""
    shapes = {"model.layers.0.mlp.experts.0.up_proj.weight": (600, 10)}
    config = {"n_routed_experts": 4, "num_experts_per_tok": 2, "zero_expert_num": 2}
    assert described(tmp_path, config, shapes=shapes).active_parameters == 6000 * 2 // 6


def test_tied_twin_and_buffers_count_once(tmp_path: Path) -> None:
    shapes = {
        "model.embed_tokens.weight": (100, 10),
        "lm_head.weight": (100, 10),
        "model.layers.0.self_attn.rotary_emb.inv_freq": (5,),
        "h.0.attn.bias": (1, 1, 32, 32),
    }
    spec = described(tmp_path, {"tie_word_embeddings": True}, shapes=shapes)
    assert spec.parameters == 1000
    assert spec.weight_bytes == 2 * (2000 + 5 + 1024)


def test_llama_8b_exactly(tmp_path: Path) -> None:
    config = llama_config(layers=32, hidden=4096, heads=32, kv_heads=8, vocab=128256,
                          intermediate=14336, dtype="bfloat16")  # fmt: skip
    folder = make_described(tmp_path / "m", config, llama_shapes(config))
    spec = inspect(open_checkpoint(str(folder)))
    assert spec.parameters == 8_030_261_248
    assert spec.active_parameters == spec.parameters
    assert spec.weight_bytes == 16_060_522_496
