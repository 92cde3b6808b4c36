"""The settings of a recipe, and those of the served model: ``1/settings.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trtbuild.builder import Case
from trtbuild.modelspec import Head, Task
from trtbuild.recipe import engine_problems, raise_problems
from trtbuild.toolchain import EngineArgument, onnx_runtime

OPSET = 18
"""ONNX Runtime of every known Triton release reads it."""
DEFAULTS: Mapping[str, Any] = {
    "check": True,
    "instances": 1,
    "max_batch_size": 256,
    "max_queue_delay_microseconds": 100,
    "opset": OPSET,
    "token_budget": 4096,
    "truncate": "",
}
MEANINGS = {
    "check": "compare the graph with the reference, and write nothing when they differ",
    "instances": "processes that tokenize and batch",
    "max_batch_size": "texts in one request, and of several requests together",
    "max_queue_delay_microseconds": "wait for more requests to batch",
    "opset": "of the exported graph",
    "token_budget": "tokens of one call of the graph, padding included; GPUs like 16384",
    "truncate": "of a text beyond the model's length, where a request does not say; empty: as the "
    "reference does",
}
_POSITIVE = ("instances", "max_batch_size", "opset", "token_budget")
ARGUMENTS = {
    name: EngineArgument(
        name,
        (type(value).__name__,),
        default=value,
        has_default=True,
        choices=("", "NONE", "END", "START") if name == "truncate" else (),
        minimum=1 if name in _POSITIVE else 0 if type(value) is int else None,
    )
    for name, value in DEFAULTS.items()
}
SIDES = {"right": "END", "left": "START"}
"""The parameter ``truncate`` by the end at which the reference cuts."""
_OUTPUTS = {Task.EMBED: "embeddings", Task.RERANK: "logits", Task.CLASSIFY: "logits"}


def engine(case: Case) -> Mapping[str, Any]:
    """Return the recipe's settings with defaults. Raises RecipeError with all problems."""
    given = case.recipe.engine
    problems = list(engine_problems(given, ARGUMENTS))
    runtime = onnx_runtime(case.toolchain.triton)
    opset = given.get("opset", OPSET)
    if runtime and isinstance(opset, int) and opset > runtime.opset:
        problems.append(
            f"'opset' {opset} is newer than ONNX Runtime {runtime.version} of Triton "
            f"{case.toolchain.triton} reads ({runtime.opset}): leave it out, or set {OPSET}"
        )
    raise_problems(
        problems,
        "engine settings of the builder onnx",
        "trtbuild toolchains RELEASE --arguments --backend onnx lists them",
    )
    return {**DEFAULTS, **given}


def head_of(case: Case) -> Head:
    """Return the model's head, as far as its files define it."""
    return case.spec.head or Head(max_tokens=case.spec.context_length)


def settings(case: Case) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint."""
    spec, head, chosen = case.spec, head_of(case), engine(case)
    return {
        "task": spec.task.value,
        "core": core_name(case),
        "inputs": _inputs(case, head),
        "output": _OUTPUTS[spec.task],
        "pooling": [],
        "max_tokens": head.max_tokens,
        "lower": head.lower_case,
        # Of the graph: whatever side the reference pads, positions count from the left here.
        "padding_side": "right",
        "truncate": chosen["truncate"] or SIDES[head.truncation_side],
        "truncation": head.truncation,
        "token_budget": chosen["token_budget"],
        "prompts": dict(head.prompts),
        "default_prompt": head.default_prompt,
        "include_prompt": head.include_prompt,
        "dimension": head.dimension,
        "truncate_dimension": head.truncate_dimension,
        "matryoshka": list(head.matryoshka) or ("any" if head.is_matryoshka else []),
        "normalized": head.normalized,
        "labels": list(head.labels),
        "activation": head.activation,
    }


def graph(head: Head) -> dict[str, Any]:
    """Return what the exported graph computes after the model's body."""
    return {
        "pooling": list(head.pooling),
        "normalize": head.normalized,
        "dense": [
            {
                "path": layer.directory,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "bias": layer.bias,
                "activation": layer.activation,
                "residual": layer.residual,
            }
            for layer in head.layers
        ],
    }


def core_name(case: Case) -> str:
    """Return the name of the model that runs the graph."""
    return f"{case.recipe.name}_core"


def dump(value: Mapping[str, Any]) -> bytes:
    """Return the settings as stored in the repository."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _inputs(case: Case, head: Head) -> dict[str, int]:
    """Return the graph's inputs with their padding values.

    The export adds token types if the reference's tokenizer returns them.
    """
    inputs = {"input_ids": case.spec.pad_token_id or 0, "attention_mask": 0}
    if not head.include_prompt:
        inputs["pooling_mask"] = 0
    return inputs
