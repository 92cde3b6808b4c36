"""Why vLLM in a given Triton release cannot serve a checkpoint: all reasons, each with its fix."""

from __future__ import annotations

from collections.abc import Callable

from packaging.version import Version

from trtbuild import toolchain as toolchains
from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, ModelSpec, Quantization, Task
from trtbuild.recipe import ModelRecipe, engine_support
from trtbuild.toolchain import (
    Reading,
    Toolchain,
    VllmRelease,
    vllm_reading,
    vllm_release,
)
from trtbuild_builders.common import consent, onnx_only, source, spelling
from trtbuild_builders.vllm.names import name_reasons
from trtbuild_builders.vllm.pooler import vector_reasons

# The first Triton release whose vLLM backend serves the task: its `image` input and its
# `embedding_request` (vllm_backend, src/model.py and utils/request.py of the release's branch).
_TASK_SINCE = {Task.GENERATE: "24.06", Task.VISION_LANGUAGE: "24.12", Task.EMBED: "25.11"}

# Hugging Face's method name -> vLLM's names of the loader, over all releases.
_METHODS = {
    "auto-round": ("auto-round", "inc"),
    "intel/auto-round": ("auto-round", "inc"),
    "awq": ("awq", "auto_awq"),
    "gptq": ("gptq", "auto_gptq"),
    "mxfp4": ("mxfp4", "gpt_oss_mxfp4"),
    "nvfp4": ("modelopt_fp4",),
    "modelopt_fp4": ("modelopt_fp4",),
    "modelopt_mixed": ("modelopt_mixed",),
    "modelopt_mxfp8": ("modelopt_mxfp8",),
}
# ModelOpt names the algorithm; vLLM has one method for each, and none for integer ones.
_MODELOPT = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
    "NVFP4_AWQ": "modelopt_fp4",
    "W4A16_NVFP4": "modelopt_fp4",
    "MXFP8": "modelopt_mxfp8",
    "MIXED_PRECISION": "modelopt_mixed",
}
# ModelOpt's unified export (an inline quantization_config) is read since this vLLM.
_MODELOPT_SINCE = "0.10.1"


def reasons(case: Case) -> tuple[str, ...]:
    """Return all reasons against vLLM with NVIDIA's backend; empty if it can serve it."""
    spec, recipe, toolchain = case.spec, case.recipe, case.toolchain
    found = engine_reasons(spec, recipe, toolchain)
    if toolchain.vllm:
        release = vllm_release(toolchain.vllm)
        found += _task(spec, toolchain)
        found += _architecture(spec, recipe, toolchain, release)
        found += vector_reasons(case, release)
        found += name_reasons(case)
    return tuple(found)


def engine_reasons(spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> list[str]:
    """Return reasons against vLLM itself, whatever asks it and for whatever task."""
    support = engine_support(spec, toolchain, toolchain.vllm_image)
    found = [*consent(recipe, support), *spelling(spec, recipe, support), *source(spec, recipe)]
    found += onnx_only(spec, "vLLM")
    if not toolchain.vllm:
        found.append(f"Triton {toolchain.triton} has no vLLM image: {_newest_with_vllm()}")
        return found
    release = vllm_release(toolchain.vllm)
    found += _layout(spec, toolchain, release)
    found += _model_type(spec, release)
    if recipe.weights == "hub" and not support.runs_code(recipe):
        found += _runs_anyway(spec, release)
    found += _quantization(spec, toolchain, release)
    found += _heads(spec)
    found += _cache_type(spec)
    return found


def _heads(spec: ModelSpec) -> list[str]:
    """Return the reason against KV heads that cannot be shared out evenly.

    vLLM's attention asserts it (``Attention``, ``num_heads % num_kv_heads``). Families whose layers
    have several numbers of heads are left to vLLM, as are latents, which have no heads.
    """
    groups = {group.kv_heads for group in spec.kv_cache.groups if group.kind != "recurrent"}
    heads, shared = spec.num_attention_heads, spec.num_kv_heads
    if groups != {shared} or not shared or heads % shared == 0:
        return []
    return [
        f"config.json has {heads} attention heads and {shared} KV heads, which must divide them: "
        "correct num_attention_heads or num_key_value_heads, or download the file again"
    ]


def _model_type(spec: ModelSpec, release: VllmRelease) -> list[str]:
    """Return the reason against a ``model_type`` that the release cannot read."""
    unknown = vllm_reading(release.version).nobody_knows(spec.model_type)
    if spec.layout != "hf" or "configuration" in spec.code or not unknown:
        return []
    said = f"model_type is {spec.model_type!r}" if spec.model_type else "there is no model_type"
    return [
        f"vLLM {release.version} cannot read config.json: {said}, which neither it nor "
        "transformers has a class for: correct it, or fetch config.json again"
    ]


def _runs_anyway(spec: ModelSpec, release: VllmRelease) -> list[str]:
    """Return the reason against code on the hub without permission; a copy leaves it out."""
    known = toolchains.advisories_of("vllm", release.version) if spec.code else ()
    return [
        f"vLLM {release.version} runs the code of a checkpoint on the hub although it is not "
        f"allowed ({advisory.ids[0]}): use --weights copy, which leaves it out"
        for advisory in known
        if advisory.auto_map
    ]


def _layout(spec: ModelSpec, toolchain: Toolchain, release: VllmRelease) -> list[str]:
    if spec.layout == "hf" or "config_format" in release.arguments:
        return []
    others = _others(lambda other: "config_format" in other.arguments, toolchain)
    return [f"vLLM {release.version} does not read params.json, Mistral's own layout: {others}"]


def _newest_with_vllm() -> str:
    row = next(row for row in toolchains.releases() if row.vllm)
    return f"use --triton {row.triton}"


def _task(spec: ModelSpec, toolchain: Toolchain) -> list[str]:
    since = _TASK_SINCE.get(spec.task)
    if since is None:
        return [
            f"Triton's vLLM backend answers generate and embedding requests, not "
            f"{spec.task.value}: use --backend vllm-pooling or onnx"
        ]
    if spec.head is not None and spec.head.kind is not HeadKind.DENSE:
        return [
            "Triton's vLLM backend answers with one dense vector a text, and this checkpoint makes "
            f"a {spec.head.kind.value} one: use another builder (trtbuild builders)"
        ]
    if toolchain.triton < since:
        return [
            f"the vLLM backend of Triton {toolchain.triton} cannot serve {spec.task.value} models: "
            f"use --triton {since} or newer"
        ]
    return []


def _architecture(
    spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, release: VllmRelease
) -> list[str]:
    reading = vllm_reading(release.version)
    tasks = release.tasks_of(spec.architecture)
    if recipe.engine.get("model_impl") == "transformers" or not tasks:
        return _through_transformers(spec, recipe, toolchain, reading)
    generates = {Task.GENERATE.value, Task.VISION_LANGUAGE.value}
    if spec.task.value in generates and not generates & set(tasks):
        return [f"vLLM {release.version} serves {spec.architecture} for {', '.join(tasks)} only"]
    return []


def _through_transformers(
    spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, reading: Reading
) -> list[str]:
    """Return reasons against an architecture that the release lacks or must not use."""
    if spec.task not in _TASK_SINCE or reading.wrapper(spec.architecture, spec.task.value):
        return []
    if spec.code_wraps and recipe.trust_remote_code and reading.wrappers:
        return []
    what = f"{reading.engine} does not know the architecture {spec.architecture!r}"
    if recipe.engine.get("model_impl") == "transformers":
        what = f"{reading.engine} cannot run {spec.architecture} with model_impl=transformers"
    if failure := reading.failure(spec.architecture):
        what += f" and cannot run transformers' code of it ({failure})"
    elif "model" in spec.code and not spec.code_wraps:
        what += " (nor can it wrap the checkpoint's own code: no _supports_attention_backend)"

    def takes(other: VllmRelease) -> bool:
        return bool(
            other.tasks_of(spec.architecture)
            or vllm_reading(other.version).wrapper(spec.architecture, spec.task.value)
        )

    return [f"{what}: {_others(takes, toolchain)}"]


def _quantization(spec: ModelSpec, toolchain: Toolchain, release: VllmRelease) -> list[str]:
    if spec.quantization is None:
        return []
    names = _vllm_methods(spec.quantization)

    def loads(other: VllmRelease) -> bool:
        new_enough = Version(other.version) >= Version(_MODELOPT_SINCE)
        known = any(name in other.quantization for name in names)
        return known and (new_enough or spec.quantization.method != "modelopt")  # type: ignore[union-attr]

    if loads(release):
        return []
    algorithm = str(spec.quantization.detail.get("quant_algo", ""))
    kind = f"{spec.quantization.method} {algorithm}".strip()
    what = f"vLLM {release.version} does not load {kind} weights"
    return [f"{what}: {_others(loads, toolchain)}"]


def _cache_type(spec: ModelSpec) -> list[str]:
    """Return the reason against a KV cache scheme other than FP8 (compressed-tensors)."""
    if spec.quantization is None or spec.quantization.method != "compressed-tensors":
        return []
    kind = str(spec.quantization.detail.get("kv_cache_quant_algo", "FP8"))
    if kind == "FP8":
        return []
    return [
        f"vLLM keeps no KV cache in {kind}, which the checkpoint's kv_cache_scheme asks for: "
        "quantize it again with an FP8 scheme, or remove kv_cache_scheme from its config.json"
    ]


def _vllm_methods(quantization: Quantization) -> tuple[str, ...]:
    if quantization.method == "modelopt":
        algorithm = str(quantization.detail.get("quant_algo", "FP8")).upper()
        return (_MODELOPT.get(algorithm, ""),)
    return _METHODS.get(quantization.method, (quantization.method,))


def _others(suits: Callable[[VllmRelease], bool], toolchain: Toolchain) -> str:
    """Return which Triton release to use instead: the next newer one, else the next older."""
    rows = [row for row in toolchains.releases() if row.vllm and suits(vllm_release(row.vllm))]
    newer = [row for row in rows if row.triton > toolchain.triton]
    nearest = newer[-1] if newer else rows[0] if rows else None
    if nearest is None:
        return "nor does that of any Triton release known"
    return f"vLLM {nearest.vllm} does, use --triton {nearest.triton}"
