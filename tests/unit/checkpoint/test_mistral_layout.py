"""Checkpoints in Mistral's own layout: params.json, consolidated weights, tekken.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import make_llama, write_json, write_sparse
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.checkpoint.mistral import config_of
from trtbuild.errors import UnsupportedError
from trtbuild.modelspec import Task
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe

PARAMS: dict[str, Any] = {
    "dim": 64, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "hidden_dim": 128,
    "vocab_size": 512, "norm_eps": 1e-5, "rope_theta": 1e6, "max_position_embeddings": 2048,
    "tied_embeddings": False,
}  # fmt: skip


def folder(tmp_path: Path, **more: Any) -> Path:
    made = tmp_path / "tiny"
    made.mkdir()
    write_json(made / "params.json", PARAMS | more)
    (made / "tekken.json").write_text('{"config": {}, "vocab": []}')
    write_sparse(made / "consolidated.safetensors", {"tok_embeddings.weight": (512, 64)}, "BF16")
    return made


def test_it_is_described(tmp_path: Path) -> None:
    spec = inspect(open_checkpoint(str(folder(tmp_path))))
    assert (spec.architecture, spec.task, spec.layout) == (
        "MistralForCausalLM",
        Task.GENERATE,
        "mistral",
    )
    assert (spec.num_layers, spec.hidden_size, spec.head_size) == (4, 64, 16)
    assert (spec.num_attention_heads, spec.num_kv_heads) == (4, 2)
    assert (spec.context_length, spec.vocab_size) == (2048, 512)
    assert spec.tokenizer.kind == "tekken"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}},
         {"architectures": ["MixtralForCausalLM"], "num_local_experts": 8,
          "num_experts_per_tok": 2}),
        ({"moe": {"num_experts": 128, "num_experts_per_tok": 4, "num_shared_experts": 1,
                  "expert_hidden_dim": 32}, "qk_nope_head_dim": 8},
         {"architectures": ["MistralLarge3ForCausalLM"], "n_routed_experts": 128,
          "moe_intermediate_size": 32, "n_shared_experts": 1}),
        ({"sliding_window": [32, None]},
         {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"] * 2}),
        ({"yarn": {"factor": 16, "original_max_position_embeddings": 128, "beta": 32}},
         {"rope_parameters": {"rope_type": "yarn", "factor": 16, "rope_theta": 1e6, "beta_fast": 32,
                              "original_max_position_embeddings": 128}}),
        ({"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}},
         {"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}}),
        ({"model_type": "mamba"}, {"architectures": ["Mamba2ForCausalLM"]}),
    ],
)  # fmt: skip
def test_what_its_keys_mean(more: dict[str, Any], said: dict[str, Any]) -> None:
    config = config_of(PARAMS | more)
    assert {key: config.get(key) for key in said} == said


def test_one_that_sees_and_one_that_hears(tmp_path: Path) -> None:
    vision = config_of(PARAMS | {"vision_encoder": {"hidden_size": 8}})
    assert vision["architectures"] == ["PixtralForConditionalGeneration"]
    assert vision["text_config"]["hidden_size"] == 64
    hears = {"multimodal": {"whisper_model_args": {"encoder_args": {}}}}
    with pytest.raises(UnsupportedError, match="no audio input"):
        inspect(open_checkpoint(str(folder(tmp_path, **hears))))


@pytest.mark.parametrize("more", [{}, {"vision_encoder": {"hidden_size": 64}}])
def test_no_class_gives_it_a_window(tmp_path: Path, more: dict[str, Any]) -> None:
    """Of a config.json without one, Mistral's class makes 4,096."""
    spec = inspect(open_checkpoint(str(folder(tmp_path, **more))))
    assert [group.kind for group in spec.kv_cache.groups] == ["full"]


def test_vllm_is_told_the_layout(tmp_path: Path) -> None:
    recipe = ModelRecipe(source=str(folder(tmp_path)), name="m")
    result = convert(recipe, repository=tmp_path / "repo")
    assert result.builder == "vllm"
    model = tmp_path / "repo" / "m" / "1"
    assert sorted(p.name for p in (model / "weights").iterdir()) == [
        "consolidated.safetensors",
        "params.json",
        "tekken.json",
    ]
    assert json.loads((model / "model.json").read_text()) == {
        "model": "/models/m/1/weights",
        "config_format": "mistral",
        "load_format": "mistral",
        "tokenizer_mode": "mistral",
    }


@pytest.mark.parametrize(("triton", "backend"), [("24.10", "vllm"), ("26.07", "trtllm")])
def test_who_does_not_read_it(tmp_path: Path, triton: str, backend: str) -> None:
    recipe = ModelRecipe(source=str(folder(tmp_path)), name="m", backend=backend)
    with pytest.raises(UnsupportedError) as caught:
        convert(recipe, repository=tmp_path / "repo", triton=triton)
    assert "params.json" in " ".join(caught.value.details)


def test_beside_the_usual_layout_it_stays_behind(tmp_path: Path) -> None:
    both = make_llama(tmp_path / "tiny")
    write_json(both / "params.json", PARAMS)
    write_sparse(both / "consolidated.safetensors", {"x.weight": (2, 2)}, "BF16")
    names = {file.name for file in open_checkpoint(str(both)).files}
    assert not names & {"params.json", "consolidated.safetensors"}
