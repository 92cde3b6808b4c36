"""``model.yaml``: the arguments of ``LLM()``, checked before they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import (
    ModelRecipe,
    engine_support,
    llm_problems,
    merge_settings,
    object_problems,
    raise_problems,
)
from trtbuild.toolchain import EngineArgument, Toolchain, TrtllmRelease, trtllm_release
from trtbuild_builders.common import require_image

# Where the repository is mounted in a container; the model also finds it elsewhere.
MOUNT = "/models"
# Of NVIDIA's own model for the LLM API, in images with TensorRT-LLM 1.3 and newer.
_LATER = "it needs TensorRT-LLM 1.3, which no known Triton image has, and a model of its own"
# Keys of Triton's section of model.yaml, NVIDIA's and ours.
_TRITON = {
    row.name: row
    for row in (
        EngineArgument("decoupled", ("bool",)),
        EngineArgument("cancellation_check_period_ms", ("int",)),
        EngineArgument("instances", ("int",)),
        EngineArgument("gpu_device_ids", ("str", "int")),
        EngineArgument("multimodal", ("bool",), refused=_LATER),
    )
}
_DEFAULTS = {"max_batch_size": 0, "decoupled": True, "cancellation_check_period_ms": 100}


def llm_settings(spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> dict[str, Any]:
    """Return the arguments of LLM(): ours, overridden by the user's.

    Raises:
        RecipeError: An unknown argument, a wrong type, or a value invalid for this checkpoint;
            all of them at once.
    """
    release = trtllm_release(toolchain.trtllm)
    given = _given(recipe)
    triton = recipe.engine.get("triton_config", {})
    problems = [
        *llm_problems(given, release),
        *_reserved(recipe, given),
        *object_problems("triton_config", triton, _TRITON),
    ]
    if not problems:
        problems += [*_lengths(spec, given), *_parallel(spec, given), *_devices(triton, given)]
    same = release.extracted_from == release.version
    read = "" if same else f", as of {release.extracted_from}"
    raise_problems(
        problems,
        f"LLM() arguments of TensorRT-LLM {release.version} (Triton {toolchain.triton}{read})",
        "correct --set or the recipe's 'engine:'",
    )
    return merge_settings(_ours(spec, recipe, toolchain, release), given)


def triton_settings(recipe: ModelRecipe) -> dict[str, Any]:
    """Return Triton's section of ``model.yaml``, with defaults."""
    given = dict(recipe.engine.get("triton_config", {}))
    if "gpu_device_ids" in given:
        given["gpu_device_ids"] = str(given["gpu_device_ids"])
    settings = {**_DEFAULTS, **given}
    if recipe.adapters:
        settings["adapters"] = {name: _adapter_path(recipe, name) for name in recipe.adapters}
    return settings


def world_size(engine: Mapping[str, Any]) -> int:
    """Return the number of GPUs of one instance."""
    names = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")
    world = 1
    for name in names:
        world *= engine.get(name) or 1
    return world


def _given(recipe: ModelRecipe) -> dict[str, Any]:
    given = {key: value for key, value in recipe.engine.items() if key != "triton_config"}
    # The adapters' rank comes under vLLM's name; here it belongs to a group.
    if recipe.adapters and "max_lora_rank" in given:
        rank = {"lora_config": {"max_lora_rank": given.pop("max_lora_rank")}}
        given = merge_settings(rank, given)
    return given


def _adapter_path(recipe: ModelRecipe, name: str) -> str:
    return f"{MOUNT}/{recipe.name}/1/adapters/{name}"


def _ours(
    spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, release: TrtllmRelease
) -> dict[str, Any]:
    settings: dict[str, Any] = {"model": f"{MOUNT}/{recipe.name}/1/weights", "backend": "pytorch"}
    if recipe.weights == "hub":
        commit = spec.source.commit
        settings |= {"model": spec.source.text, "revision": commit, "tokenizer_revision": commit}
    if engine_support(spec, toolchain, toolchain.trtllm_image).runs_code(recipe):
        settings["trust_remote_code"] = True
    if spec.source.kind in {"gguf", "sample"}:
        # "auto" would run a float32 checkpoint in 16 bits, so the chosen type is explicit.
        settings["dtype"] = spec.dtype
    if recipe.metrics and "return_perf_metrics" in release.arguments:
        # Without it a request's return_perf_metrics has nothing to return.
        settings["return_perf_metrics"] = True
    if recipe.adapters:
        settings["enable_lora"] = True
        settings["lora_config"] = {
            "lora_dir": [_adapter_path(recipe, name) for name in recipe.adapters],
            "max_loras": len(recipe.adapters),
            "max_cpu_loras": len(recipe.adapters),
        }
    return settings


def _reserved(recipe: ModelRecipe, arguments: Mapping[str, Any]) -> Iterator[str]:
    if "model" in arguments:
        yield "'model' comes from the source: give another SOURCE instead"
    if arguments.get("backend") not in (None, "pytorch"):
        yield "'backend' is pytorch here: engines are compiled by --backend trtllm-engine"
    if recipe.weights == "copy" and arguments.get("revision"):
        yield "'revision' means nothing to copied weights: write SOURCE@revision"
    if recipe.adapters and arguments.get("enable_lora") is False:
        yield "'enable_lora' is false although the recipe has adapters"
    if arguments.get("enable_lora") and not recipe.adapters:
        yield "'enable_lora' needs adapters: name them under 'adapters:'"


def _lengths(spec: ModelSpec, arguments: Mapping[str, Any]) -> Iterator[str]:
    longest = arguments.get("max_seq_len")
    if longest is not None and spec.context_length and longest > spec.context_length:
        yield (
            f"max_seq_len={longest} is more than the checkpoint's context of "
            f"{spec.context_length} tokens"
        )
    for name in ("max_seq_len", "max_input_len", "max_batch_size", "max_num_tokens"):
        if arguments.get(name) is not None and arguments[name] < 1:
            yield f"{name}={arguments[name]} is not above 0"
    if longest and arguments.get("max_input_len") and arguments["max_input_len"] >= longest:
        yield f"max_input_len={arguments['max_input_len']} leaves no token of max_seq_len={longest}"
    share = (arguments.get("kv_cache_config") or {}).get("free_gpu_memory_fraction")
    if share is not None and not 0 < share <= 1:
        yield f"kv_cache_config.free_gpu_memory_fraction={share} is not above 0 and at most 1"


def _parallel(spec: ModelSpec, arguments: Mapping[str, Any]) -> Iterator[str]:
    tensor, pipeline = (
        arguments.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline")
    )
    heads = spec.num_attention_heads
    split = not arguments.get("enable_attention_dp")  # data parallel attention keeps all heads
    if tensor < 1 or (heads and split and heads % tensor):
        sizes = ", ".join(str(n) for n in range(1, min(heads, 64) + 1) if heads % n == 0)
        yield (
            f"tensor_parallel_size={tensor} does not divide the {heads} attention heads: "
            f"use one of {sizes}"
        )
    if not 1 <= pipeline <= max(spec.num_layers, 1):
        yield (
            f"pipeline_parallel_size={pipeline} is not between 1 and the {spec.num_layers} layers"
        )
    moe = [arguments.get(f"moe_{kind}_parallel_size") for kind in ("tensor", "expert")]
    if any(moe) and not spec.num_experts:
        yield "moe_tensor_parallel_size and moe_expert_parallel_size need a model with experts"
    elif all(moe) and moe[0] * moe[1] != tensor:  # type: ignore[operator]
        yield (
            f"moe_tensor_parallel_size={moe[0]} times moe_expert_parallel_size={moe[1]} is not "
            f"tensor_parallel_size={tensor}"
        )


def _devices(triton: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[str]:
    instances = triton.get("instances", 1)
    period = triton.get("cancellation_check_period_ms", 100)
    if instances < 1 or period < 1:
        yield "triton_config.instances and .cancellation_check_period_ms are above 0"
        return
    text, world = str(triton.get("gpu_device_ids", "")), world_size(arguments)
    if not text:
        if instances > 1:
            yield (
                f"triton_config.instances={instances} needs triton_config.gpu_device_ids, a group "
                f"of {world} for each, such as {_example(instances, world)}"
            )
        return
    groups = [[item.strip() for item in group.split(",")] for group in text.split(";")]
    ids = [item for group in groups for item in group]
    if not all(item.isdecimal() for item in ids) or len(set(ids)) < len(ids):
        yield f"triton_config.gpu_device_ids={text!r} is not different GPU indexes like 0,1;2,3"
    elif [len(group) for group in groups] != [world] * instances:
        yield (
            f"triton_config.gpu_device_ids={text!r} is not {instances} group(s) of {world} GPUs "
            f"(tensor x pipeline x context parallel size), such as {_example(instances, world)}"
        )


def _example(instances: int, world: int) -> str:
    groups = [range(start * world, (start + 1) * world) for start in range(instances)]
    return ";".join(",".join(map(str, group)) for group in groups)


def listed(toolchain: Toolchain) -> list[Mapping[str, Any]]:
    """Return the arguments of ``LLM()`` in a release, nested ones by dotted names."""
    require_image(toolchain, toolchain.trtllm, "TensorRT-LLM")
    release = trtllm_release(toolchain.trtllm)
    found: list[Mapping[str, Any]] = []
    for name, argument in release.arguments.items():
        found.append(asdict(argument))
        for path, group in release.groups.items():
            if path.split(".")[0] != name:
                continue
            for kind, fields in group.variants.items():
                when = f"{group.selector}={kind}" if group.selector else ""
                found += [
                    {**asdict(one), "name": f"{path}.{one.name}", "when": when}
                    for one in fields.values()
                ]
    return found
