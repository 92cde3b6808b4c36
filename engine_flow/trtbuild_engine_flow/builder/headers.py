"""The comment at the top of each ``config.pbtxt``: what it is, and why it has its values."""

from __future__ import annotations

import textwrap
from typing import Any

from trtbuild.toolchain import BLS_FIXED
from trtbuild_engine_flow.builder.deployment import EngineDeployment
from trtbuild_engine_flow.parameters import triton_parameters

_ROLES = {
    "": "{name}: text in, text out, through {name}_preprocessing, _tensorrt_llm and "
    "_postprocessing.",
    "preprocessing": "{name}: text and chat messages to tokens, for {llm}.",
    "tensorrt_llm": "{name}: the engine of {llm}, TensorRT-LLM {release} with in-flight batching.",
    "postprocessing": "{name}: tokens to text, piece by piece, for {llm}.",
    "bls": "{name}: text in, text out, for {llm}: as the ensemble, in one Python model.",
}
_NOTES = {
    "": "The client's model. The engine makes an answer to its end though the client has left: "
    "bound max_tokens, or send {name}_tensorrt_llm the same request id with stop: true.",
    "tensorrt_llm": "The paths are those of a container with the repository at /models.",
    "bls": "{risk}The ensemble {llm} does the same, and is faster. Each instance works on "
    "one request at a time and takes 64 MiB of shared memory: bls_instance_count sets how many.",
}
_BLS_RISK = (
    f"Beware: before Triton {BLS_FIXED} a decoupled BLS can hang under load "
    "(triton-inference-server/server 8882). "
)
_WIDTH = 96


def header(deployment: EngineDeployment, part: str) -> str:
    """Return the comment's lines. The same recipe gives the same bytes, so it has no time."""
    words = {
        "name": deployment.name(part),
        "llm": deployment.name(),
        "release": deployment.tools.trtllm,
    }
    words["risk"] = _BLS_RISK if deployment.tools.triton < BLS_FIXED else ""
    paragraphs = [
        _ROLES[part].format(**words),
        f"Written by trtbuild for Triton {deployment.tools.triton}. Change the recipe "
        "(trtbuild.yaml, --set) and convert again rather than edit this file: trtbuild.lock has "
        "its digest.",
    ]
    if part in _NOTES:
        paragraphs.append(_NOTES[part].format(**words))
    lines = [line for text in paragraphs for line in textwrap.wrap(text, _WIDTH)]
    return "\n".join([*lines, *_reasons(deployment, part)])


def _reasons(deployment: EngineDeployment, part: str) -> list[str]:
    chosen = [
        (name, why)
        for name, why in deployment.settings.why.items()
        if _is_of(name, part, deployment)
    ]
    if not chosen:
        return []
    lines = ["", f"Chosen by the profile {deployment.settings.profile!r}:"]
    for name, why in chosen:
        text = f"{name} = {_value(deployment, name)}: {why}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def _is_of(name: str, part: str, deployment: EngineDeployment) -> bool:
    if name in triton_parameters():
        return part in triton_parameters()[name].models
    # What went into the build is told where the engine is, unless the engine was there before.
    return part == "tensorrt_llm" and not deployment.recipe.engine_dir


def _value(deployment: EngineDeployment, name: str) -> Any:
    values = (
        deployment.settings.triton
        if name in deployment.settings.triton
        else deployment.settings.build
    )
    return values[name]
