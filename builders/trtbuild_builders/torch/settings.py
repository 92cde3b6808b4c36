"""The settings of a recipe, and those of the served model: ``1/settings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from trtbuild.builder import Case
from trtbuild.modelspec import Task
from trtbuild.recipe import engine_problems, raise_problems
from trtbuild.toolchain import EngineArgument
from trtbuild_builders.text.settings import DEFAULTS as TEXT_DEFAULTS
from trtbuild_builders.text.settings import MEANINGS as TEXT_MEANINGS
from trtbuild_builders.text.settings import arguments, graph, head_of, head_settings

Kind = Literal["texts", "images", "recordings"]
KINDS: Mapping[Task, Kind] = {
    Task.EMBED: "texts",
    Task.RERANK: "texts",
    Task.CLASSIFY: "texts",
    Task.TOKEN_CLASSIFY: "texts",
    Task.IMAGE_CLASSIFY: "images",
    Task.TRANSCRIBE: "recordings",
}
WEIGHTS = "weights"
DTYPES = ("float32", "bfloat16", "float16")
_FILE_BYTES = 256 << 20  # of one recording: two hours of 16-bit sound at 16 kHz are 230 MB
# By kind: what --set takes. A batch of images or of windows has one size; texts have a budget.
_ITEMS = {"check": True, "dtype": "float32", "instances": 1, "max_queue_delay_microseconds": 100}
DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    "texts": {**TEXT_DEFAULTS, "dtype": "float32", "padding": True},
    "images": {**_ITEMS, "batch_size": 16, "max_batch_size": 64},
    "recordings": {**_ITEMS, "batch_size": 8, "max_batch_size": 8, "max_seconds": 7200},
}
MEANINGS = {
    **TEXT_MEANINGS,
    "batch_size": "images, or windows of recordings, computed at a time",
    "check": "compare the answers with the reference, and write nothing when they differ",
    "dtype": "numbers that it computes with; on a GPU bfloat16 is faster and less exact",
    "instances": "processes, each with the weights; several GPUs get them in turn",
    "max_batch_size": "texts, images or recordings in one request, and of several together",
    "max_seconds": "length of a recording",
    "padding": "pad texts of similar length to one batch; false for a model whose answers change "
    "with padding",
}
_POSITIVE = ("batch_size", "instances", "max_batch_size", "max_seconds", "token_budget")


def kind_of(case: Case) -> Kind:
    """Return what the model takes. KeyError for a task that it does not serve."""
    return KINDS[case.spec.task]


def known_arguments(*kinds: Kind) -> Mapping[str, EngineArgument]:
    """Return what ``--set`` takes for ``kinds``."""
    defaults = {name: value for kind in kinds for name, value in DEFAULTS[kind].items()}
    known = dict(arguments(defaults, _POSITIVE))
    known["dtype"] = replace(known["dtype"], choices=DTYPES)
    return known


def engine(case: Case) -> Mapping[str, Any]:
    """Return the recipe's settings with defaults. Raises RecipeError with all problems."""
    kind = kind_of(case)
    raise_problems(
        engine_problems(case.recipe.engine, known_arguments(kind)),
        f"engine settings of the builder torch for {kind}",
        "trtbuild toolchains RELEASE --arguments --backend torch lists them",
    )
    return {**DEFAULTS[kind], **case.recipe.engine}


def settings(case: Case) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint."""
    kind, chosen, head = kind_of(case), engine(case), head_of(case)
    own = {"weights": WEIGHTS, "dtype": chosen["dtype"]}
    if kind == "texts":
        packs = {} if chosen["padding"] else {"ratio": 1.0, "slack": 0}
        return head_settings(
            case, chosen, {**own, "pooling": [], "graph": graph(head), "packs": packs}
        )
    own["items"] = chosen["batch_size"]
    if kind == "images":
        return {**own, "labels": list(head.labels), "activation": head.activation}
    return {**own, "limits": {"seconds": chosen["max_seconds"], "file_bytes": _FILE_BYTES}}
