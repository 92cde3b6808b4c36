"""LoRA adapters, judged by configuration and headers. The verdicts are what vLLM 0.32.0 did with
such adapters of SmolLM2-135M: ``add_lora`` of each, then one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.adapters import make_lora
from support.checkpoints import make_llama
from trtbuild import check
from trtbuild.errors import UnsupportedError
from trtbuild.pipeline.convert import convert
from trtbuild.pipeline.planning import Sizing, plan_model
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import (
    BaseModules,
    architecture_fault,
    config_faults,
    lora_embeddings,
    weight_faults,
)

NEW = "0.32.0"
RIGHT = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
LAYER = "model.layers.{}.self_attn.q_proj"
BASE = BaseModules.of(
    {
        **{f"{LAYER.format(n)}.weight": (64, 48) for n in range(2)},
        "model.embed_tokens.weight": (100, 48),
        "model.norm.weight": (48,),
    }
)


def judged(release: str = NEW, settings: Any = None, **config: Any) -> list[Any]:
    return list(config_faults({**RIGHT, **config}, release, settings or {}))


@pytest.mark.parametrize(
    ("config", "server"),
    [
        ({"use_dora": True}, "vLLM does not yet support DoRA."),
        ({"bias": "all"}, "Adapter bias "),
        ({"modules_to_save": ["lm_head"]}, "vLLM only supports modules_to_save being "),
        ({"r": 64}, "LoRA rank 64 is greater than max_lora_rank 16."),
        ({"rank_pattern": {"q_proj": 32}}, "LoRA rank 32 is greater than max_lora_rank 16."),
        ({"lora_bias": True}, "vLLM does not support LoRA bias (lora_bias)."),
        ({"init_lora_weights": "pissa"}, "vLLM does not support init_lora_weights="),
        ({"alora_invocation_tokens": [1]}, "vLLM does not support Activated LoRA (aLoRA)."),
        ({"layer_replication": [[0, 2]]}, "vLLM does not support layer_replication."),
        ({"lora_alpha": None}, "Missing required configuration fields"),
    ],
)
def test_what_the_engine_refuses(config: dict[str, Any], server: str) -> None:
    (fault,) = judged(**config)
    assert (fault.server, fault.loads) == (server, False)


@pytest.mark.parametrize("rank", [0, -1, "8", True, 1.5])
def test_a_rank_is_a_positive_whole_number(rank: Any) -> None:
    (fault,) = judged(r=rank)
    assert fault.kind == "config"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"modules_to_save": None},
        {"modules_to_save": []},
        {"modules_to_save": ["classifier"]},
        {"init_lora_weights": True},
        {"init_lora_weights": "gaussian"},
        {"use_rslora": True},
        {"target_modules": []},
        {"r": 16},
    ],
)
def test_what_the_engine_takes(config: dict[str, Any]) -> None:
    assert judged(**config) == []


def test_older_releases_leave_out_what_they_do_not_read() -> None:
    (fault,) = judged("0.24.0", init_lora_weights="pissa")
    assert fault.loads and not fault.server
    (fault,) = judged("0.5.5", use_rslora=True)
    assert fault.loads
    assert judged("0.11.0", {"enable_lora_bias": True}, bias="all") == []
    assert judged("0.24.0", modules_to_save=["classifier"])[0].server
    assert judged("0.24.0", {"max_lora_rank": 64}, r=64) == []


def shapes(module: str, a: tuple[int, int] = (8, 48), b: tuple[int, int] = (64, 8)) -> Any:
    name = f"base_model.model.{module}"
    return {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}


def half(part: str) -> Any:
    found = shapes(LAYER.format(0))
    return {name: shape for name, shape in found.items() if f"lora_{part}" in name}


def fitted(tensors: Any, rank: int = 8, embeddings: Any = None) -> Any:
    return next(weight_faults(tensors, BASE, rank, embeddings), None)


@pytest.mark.parametrize(
    "tensors",
    [
        shapes(LAYER.format(0)),
        {name.removeprefix("base_model.model."): s for name, s in shapes(LAYER.format(1)).items()},
        shapes("model.layers.0.mlp.experts.3.w1"),
        shapes("model.embed_tokens", (8, 48), (100, 8)),
        {
            "base_model.model.model.embed_tokens.lora_embedding_A": (8, 100),
            "base_model.model.model.embed_tokens.lora_embedding_B": (48, 8),
        },
        {**shapes(LAYER.format(0)), "base_model.model.lm_head.base_layer.weight": (100, 48)},
    ],
)
def test_weights_that_fit(tensors: Any) -> None:
    assert fitted(tensors) is None


@pytest.mark.parametrize(
    ("tensors", "said", "server", "loads"),
    [
        (shapes(LAYER.format(0), (8, 40)), "a weight of [64, 40]", "", True),
        (shapes(LAYER.format(0), (8, 64), (64, 8)), "[64, 64]", "match the size of tensor", False),
        (shapes(LAYER.format(0), (4, 48)), "at rank 8", "", True),
        (shapes(LAYER.format(7)), "which the base model does not have", "", True),
        (shapes("transformer.h.0.self_attn.q_proj"), "does not have", "", True),
        (shapes("model.layers.0.self_attn.query"), "query", "expected target modules in", False),
        (shapes("model.norm"), "model.norm", "expected target modules in", False),
        (
            {"base_model.model.lm_head.weight": (1, 1)},
            "is not a LoRA weight",
            "unsupported LoRA",
            False,
        ),
        ({}, "no LoRA weights at all", "", True),
        (half("A"), "has no lora_B", "", False),
        (half("B"), "has no lora_A", "", True),
    ],
)
def test_weights_that_do_not_fit(tensors: Any, said: str, server: str, loads: bool) -> None:
    fault = fitted(tensors)
    assert said in fault.what
    assert server in fault.server and fault.loads is loads


@pytest.mark.parametrize("prefix", ["model", "model.language_model", "language_model.model"])
def test_a_language_model_may_have_moved(prefix: str) -> None:
    """vLLM maps the names of transformers' releases for models that see."""
    base = BaseModules.of(
        {
            "model.language_model.layers.0.self_attn.q_proj.weight": (64, 48),
            "model.visual.blocks.0.attn.qkv.weight": (96, 32),
        }
    )
    tensors = shapes(f"{prefix}.layers.0.self_attn.q_proj")
    assert list(weight_faults(tensors, base, 8, None)) == []
    tensors = shapes(f"{prefix}.layers.9.self_attn.q_proj")
    assert next(weight_faults(tensors, base, 8, None)).loads


def test_shapes_of_a_quantised_base_are_not_compared() -> None:
    base = BaseModules.of(
        {f"{LAYER.format(0)}.qweight": (6, 64), f"{LAYER.format(0)}.scales": (1, 64)}
    )
    assert list(weight_faults(shapes(LAYER.format(0)), base, 8, None)) == []


def test_architectures_by_release() -> None:
    assert architecture_fault("Qwen2MoeForCausalLM", "0.9.2")
    assert architecture_fault("Qwen2MoeForCausalLM", "0.10.1.1") is None
    assert architecture_fault("GPT2LMHeadModel", NEW)
    assert architecture_fault("NeverHeardOf", NEW) is None
    assert lora_embeddings("LlamaForCausalLM", NEW) == {"embed_tokens", "lm_head"}
    assert lora_embeddings("Qwen2ForCausalLM", NEW) == set()
    fault = fitted(shapes("model.embed_tokens", (8, 48), (100, 8)), 8, frozenset())
    assert "no adapter in this architecture" in fault.what


def adapter(folder: Path, **config: Any) -> str:
    make_lora(folder, 1)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return str(folder)


def test_plan_and_convert_refuse_an_adapter_that_would_end_the_engine(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    sources = {"dora": adapter(tmp_path / "d", use_dora=True), "good": adapter(tmp_path / "g")}
    recipe = ModelRecipe(name="tiny", source=str(source), backend="vllm", adapters=sources)
    for attempt in (
        lambda: plan_model(recipe, triton="26.07", target=Sizing()),
        lambda: convert(recipe, repository=tmp_path / "r", triton="26.07"),
    ):
        with pytest.raises(UnsupportedError) as caught:
            attempt()
        assert caught.value.what == "the adapter 'dora' cannot be used: it is a DoRA adapter"
        assert caught.value.details == ()
        assert "merge the adapter" in caught.value.fix
    assert not (tmp_path / "r").exists()


def test_validate_finds_it_in_a_repository_of_others(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    good = adapter(tmp_path / "g")
    recipe = ModelRecipe(name="tiny", source=str(source), backend="vllm", adapters={"a": good})
    convert(recipe, repository=tmp_path / "r", triton="26.07")
    placed = tmp_path / "r" / "tiny" / "1" / "adapters" / "a" / "adapter_config.json"
    rules = {finding.rule for finding in check.validate(tmp_path / "r").findings}
    assert not rules & {"TRT721", "TRT722", "TRT723", "TRT724"}
    text = json.loads(placed.read_text())
    placed.unlink()
    placed.write_text(json.dumps({**text, "use_dora": True, "r": 32}))
    found = [f for f in check.validate(tmp_path / "r").findings if f.rule.startswith("TRT72")]
    assert {finding.rule for finding in found} == {"TRT721", "TRT722", "TRT723"}
    assert {finding.file for finding in found} == {"tiny/1/multi_lora.json"}
