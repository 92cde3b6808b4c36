"""Why the engine flow of a given release does not support a checkpoint: all reasons, with fixes."""

from __future__ import annotations

from trtbuild import toolchain as toolchains
from trtbuild.modelspec import ModelSpec, Task
from trtbuild.recipe import ModelRecipe, engine_support
from trtbuild.toolchain import Toolchain, trtllm_route
from trtbuild_builders.common import layout, onnx_only
from trtbuild_engine_flow.builder.tables import families
from trtbuild_engine_flow.parameters import LAST_WITH_ENGINES


def reasons(spec: ModelSpec, recipe: ModelRecipe, tools: Toolchain) -> tuple[str, ...]:
    """Return all reasons against an engine; empty if one can be built."""
    if spec.weights_format == "onnx":
        return tuple(onnx_only(spec, "TensorRT-LLM"))
    return (
        *_release(tools),
        *_model(spec, recipe, tools),
        *_quantization(spec, recipe),
        *_recipe(recipe),
    )


def _release(tools: Toolchain) -> list[str]:
    if tools.engine_flow:
        return []
    newest = next(row.triton for row in toolchains.releases() if row.engine_flow)
    has = f"TensorRT-LLM {tools.trtllm}" if tools.trtllm else "no TensorRT-LLM image"
    return [
        f"Triton {tools.triton} has {has}, and {LAST_WITH_ENGINES} was the last that compiles "
        f"engines: use --triton {newest} or older, or --backend trtllm (the LLM API)"
    ]


def _model(spec: ModelSpec, recipe: ModelRecipe, tools: Toolchain) -> list[str]:
    found = layout(spec)
    # The network is TensorRT-LLM's; the models around it load the tokenizer without code.
    if "tokenizer" in engine_support(spec, tools, tools.trtllm_image).needed:
        found.append(
            "the checkpoint brings code for its tokenizer (auto_map), which the models around "
            "an engine do not run: use --backend vllm"
        )
    if spec.task is not Task.GENERATE:
        found.append(
            f"the engine flow generates text, and this model is for {spec.task.value}: "
            "use another builder (trtbuild builders SOURCE)"
        )
    if not recipe.engine_dir and spec.architecture not in families():
        found.append(
            f"TensorRT-LLM's engine flow has no {spec.architecture}: use --backend trtllm "
            "(the LLM API) or vllm"
        )
    if spec.tokenizer.kind == "none":
        found.append(
            "the checkpoint has no tokenizer, which the models around the engine need: "
            "put tokenizer.json beside config.json"
        )
    return found


def _quantization(spec: ModelSpec, recipe: ModelRecipe) -> list[str]:
    if spec.quantization is None or recipe.engine_dir:
        return []
    method = spec.quantization.method
    route = trtllm_route(method, spec.quantization.detail)
    other = "vllm" if route.refused else "trtllm"
    return [
        f"its weights are quantised ({method}), and engines are compiled from plain ones: use "
        f"--backend {other}, the unquantised checkpoint, or an engine you built (--engine DIR)"
    ]


def _recipe(recipe: ModelRecipe) -> list[str]:
    found = []
    if recipe.weights == "hub":
        found.append(
            "weights: hub leaves nothing to compile, and an engine has its weights inside: "
            "use --weights copy"
        )
    if recipe.adapters:
        found.append(
            "adapters are given to an engine with each request (lora_task_id, lora_weights), "
            "not placed beside it: leave --adapter out and build with --set lora_plugin=auto"
        )
    return found
