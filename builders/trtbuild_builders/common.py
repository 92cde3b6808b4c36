"""Reasons against a checkpoint that several builders share."""

from __future__ import annotations

from trtbuild.errors import UsageError
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import EngineSupport, ModelRecipe, listed
from trtbuild.toolchain import Toolchain

_UNTRIED = "; this one was not tried, so compare its answers with those of transformers"


def consent(recipe: ModelRecipe, support: EngineSupport) -> list[str]:
    """Return the reason if the checkpoint needs its own code and the user did not allow it."""
    if support.needed and not recipe.trust_remote_code:
        return [
            f"the checkpoint brings code for its {listed(support.needed)} (auto_map), which "
            f"{support.engine} has no class of its own for and would run: read it, then allow it "
            "with --trust-remote-code"
        ]
    return []


def spelling(spec: ModelSpec, recipe: ModelRecipe, support: EngineSupport) -> list[str]:
    """Return the reason if transformers 4 would misread what transformers 5 wrote."""
    if spec.spelling_problem and support.reading and support.reading.maybe_four:
        return [f"{support.engine} reads config.json with transformers 4: {spec.spelling_problem}"]
    if support.respelled and recipe.weights == "hub":
        return [
            f"{support.engine} reads config.json with transformers 4, which would misread its "
            f"{listed(support.respelled)}: use --weights copy, which writes both spellings"
        ]
    return []


def told(spec: ModelSpec, recipe: ModelRecipe, support: EngineSupport) -> list[str]:
    """Return warnings about how the engine loads the checkpoint."""
    found = []
    if support.runs_code(recipe):
        parts = listed(support.needed)
        found.append(f"the server will run code that the checkpoint brings for its {parts}")
    elif spec.code and recipe.weights == "copy":
        found.append(
            f"{support.engine} does not need the code that the checkpoint brings for its "
            f"{listed(spec.code)}: it is left out, and auto_map with it"
        )
    if support.wrapper:
        found.append(
            f"{support.engine} has no {spec.architecture} of its own and runs transformers' code "
            f"through {support.wrapper}: expect fewer tokens per second than from a native "
            "implementation, and measure them (trtbuild bench)"
            + ("" if support.reading and support.reading.tried(spec.architecture) else _UNTRIED)
        )
    if support.respelled:
        found.append(
            f"{listed(support.respelled)}: also written in the spelling of transformers 4, which "
            f"{support.engine} may use to read them"
        )
    return found


def layout(spec: ModelSpec) -> list[str]:
    """Return the reason against a layout that only vLLM reads."""
    if spec.layout == "hf":
        return []
    return [
        "the checkpoint has Mistral's own layout (params.json without config.json), which only "
        "vLLM reads: use --backend vllm"
    ]


def onnx_only(spec: ModelSpec, engine: str) -> list[str]:
    """Return the reason against weights that the engine cannot load."""
    if spec.weights_format != "onnx":
        return []
    return [
        f"the checkpoint has its weights in ONNX only, and {engine} loads safetensors: fetch the "
        "safetensors of the same model"
    ]


def source(spec: ModelSpec, recipe: ModelRecipe) -> list[str]:
    """Return the reason if weights cannot stay on the hub: they need a hub id and a commit."""
    if recipe.weights != "hub":
        return []
    if spec.source.kind != "hub":
        return [
            f"weights: hub leaves the weights on the hub, but the source is "
            f"{spec.source.kind} ({spec.source.text}): use --weights copy"
        ]
    if not spec.source.commit:
        return ["weights: hub needs the commit of the source, and it is not known: go online"]
    return []


def require_image(toolchain: Toolchain, version: str, engine: str) -> None:
    """Raise UsageError if the release has no image with that engine (an empty version)."""
    if not version:
        raise UsageError(
            f"Triton {toolchain.triton} has no {engine} image",
            fix="name a release that has it; trtbuild toolchains lists them",
        )
