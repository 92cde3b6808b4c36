"""``model.json`` and ``multi_lora.json``: engine arguments, checked before they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from packaging.version import Version

from trtbuild.modelspec import ModelSpec
from trtbuild.plan import RepoFile
from trtbuild.recipe import (
    ModelRecipe,
    argument_problems,
    engine_support,
    merge_settings,
    raise_problems,
)
from trtbuild.toolchain import Toolchain, VllmRelease, vision_family, vllm_release
from trtbuild_builders.vllm.pooler import POOLED, kept_dtype, pooling_arguments

# Where the repository is mounted in a container; other servers map it (see the runtime).
MOUNT = "/models"
# Since this vLLM a limit may name every kind of input that the model has, to turn it off.
_OTHER_MEDIA_SINCE = "0.10.1"


def engine_settings(spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> dict[str, Any]:
    """Return the contents of ``model.json``: our settings, overridden by the user's.

    Raises:
        RecipeError: An unknown argument, a wrong type, or a value invalid for this checkpoint;
            all of them at once.
    """
    release = vllm_release(toolchain.vllm)
    where = f"engine arguments of vLLM {release.version} (Triton {toolchain.triton})"
    wrong = {
        name for name, value in recipe.engine.items() if argument_problems({name: value}, release)
    }
    sound = {name: value for name, value in recipe.engine.items() if name not in wrong}
    raise_problems(
        [
            *argument_problems(recipe.engine, release),
            *_reserved(recipe),
            *_against_spec(spec, sound),
        ],
        where,
        "correct --set or the recipe's 'engine:'",
    )
    return merge_settings(_ours(spec, recipe, toolchain, release), recipe.engine)


def model_file(spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> RepoFile:
    """Return ``1/model.json``."""
    settings = engine_settings(spec, recipe, toolchain)
    return RepoFile("1/model.json", _json(settings))


def adapter_files(recipe: ModelRecipe) -> tuple[RepoFile, ...]:
    """Return ``1/multi_lora.json`` if there are adapters."""
    if not recipe.adapters:
        return ()
    paths = {name: f"{MOUNT}/{recipe.name}/1/adapters/{name}" for name in recipe.adapters}
    return (RepoFile("1/multi_lora.json", _json(paths)),)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _ours(
    spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, release: VllmRelease
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if recipe.weights == "hub":
        commit = spec.source.commit
        settings |= {"model": spec.source.text, "revision": commit, "tokenizer_revision": commit}
    else:
        settings["model"] = f"{MOUNT}/{recipe.name}/1/weights"
    if engine_support(spec, toolchain, toolchain.vllm_image).runs_code(recipe):
        settings["trust_remote_code"] = True
        if recipe.weights == "hub":
            settings["code_revision"] = spec.source.commit
    settings |= _layout(spec)
    if spec.source.kind in {"gguf", "sample"}:
        # "auto" would run a float32 checkpoint in 16 bits, so the chosen type is explicit.
        settings["dtype"] = spec.dtype
    if spec.task in POOLED:
        settings |= pooling_arguments(spec, release) | kept_dtype(spec)
    settings |= _vision(spec, release)
    if recipe.adapters:
        settings["enable_lora"] = True
        if len(recipe.adapters) > 1:
            settings["max_loras"] = len(recipe.adapters)
    if "disable_log_requests" in release.arguments:
        settings["disable_log_requests"] = True  # these releases log every prompt by default
    return settings


def _vision(spec: ModelSpec, release: VllmRelease) -> dict[str, Any]:
    """Return what the family of a vision-language model needs, as far as the release has it."""
    family = vision_family(spec.architecture) if spec.vision else None
    if family is None:
        return {}
    limits = {"image": family.images}
    if Version(release.version) >= Version(_OTHER_MEDIA_SINCE):
        limits |= dict.fromkeys(family.media, 0)
    wanted = {**family.engine, "limit_mm_per_prompt": limits}
    return {key: value for key, value in wanted.items() if key in release.arguments}


def _layout(spec: ModelSpec) -> dict[str, str]:
    """Return the load formats for a checkpoint in Mistral's own layout."""
    if spec.layout == "hf":
        return {}
    keys = ["config_format", "load_format"]
    keys += ["tokenizer_mode"] if spec.tokenizer.kind in {"tekken", "sentencepiece"} else []
    return dict.fromkeys(keys, "mistral")


def _reserved(recipe: ModelRecipe) -> tuple[str, ...]:
    problems = []
    if "model" in recipe.engine:
        problems.append("'model' comes from the source: give another SOURCE instead")
    if recipe.weights == "copy" and recipe.engine.get("revision"):
        problems.append("'revision' means nothing to copied weights: write SOURCE@revision")
    if recipe.adapters and recipe.engine.get("enable_lora") is False:
        problems.append("'enable_lora' is false although the recipe has adapters")
    if recipe.engine.get("enable_lora") and not recipe.adapters:
        problems.append("'enable_lora' needs adapters: name them under 'adapters:'")
    return tuple(problems)


def _against_spec(spec: ModelSpec, engine: Mapping[str, Any]) -> tuple[str, ...]:
    """Report values of the right type that are invalid for this checkpoint."""
    problems = []
    length = engine.get("max_model_len")
    if length is not None and spec.context_length and not engine.get("hf_overrides"):
        if length > spec.context_length:
            problems.append(
                f"max_model_len={length} is more than the checkpoint's context of "
                f"{spec.context_length} tokens (stretch it with hf_overrides if you mean to)"
            )
        if length == 0 or length < -1:
            problems.append(f"max_model_len={length} is not a length")
    problems += [*_parallel_problems(spec, engine), *_image_problems(spec, engine)]
    share = engine.get("gpu_memory_utilization")
    if share is not None and not 0 < share <= 1:
        problems.append(f"gpu_memory_utilization={share} is not above 0 and at most 1")
    return tuple(problems)


def _image_problems(spec: ModelSpec, engine: Mapping[str, Any]) -> list[str]:
    limits = engine.get("limit_mm_per_prompt")
    if spec.vision is None or not isinstance(limits, Mapping) or limits.get("image", 1) != 0:
        return []
    return [
        "limit_mm_per_prompt allows no image: every request with one would be refused; give "
        'the most images of a request, such as {"image": 4}'
    ]


def _parallel_problems(spec: ModelSpec, engine: Mapping[str, Any]) -> list[str]:
    tensor = engine.get("tensor_parallel_size", 1)
    pipeline = engine.get("pipeline_parallel_size", 1)
    heads, problems = spec.num_attention_heads, []
    if tensor < 1 or (heads and heads % tensor):
        sizes = ", ".join(str(n) for n in range(1, min(heads, 64) + 1) if heads % n == 0)
        problems.append(
            f"tensor_parallel_size={tensor} does not divide the {heads} attention heads: "
            f"use one of {sizes}"
        )
    if not 1 <= pipeline <= max(spec.num_layers, 1):
        problems.append(
            f"pipeline_parallel_size={pipeline} is not between 1 and the {spec.num_layers} layers"
        )
    return problems
