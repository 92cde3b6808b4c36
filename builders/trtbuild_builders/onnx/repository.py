"""The two models of a checkpoint: the public one with text input, and its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild_builders.onnx.accelerators import accelerated
from trtbuild_builders.onnx.export import ARTIFACT, GRAPH, PACKAGE
from trtbuild_builders.onnx.settings import core_name, engine, settings
from trtbuild_builders.text.frontend import frontend_entries
from trtbuild_builders.text.settings import dump
from trtbuild_builders.text.tensors import (
    batching_config,
    config_file,
    core_dims,
    model_files,
    row,
    tensors,
)
from trtbuild_builders.text.worker import KEPT

_PUBLIC = "text in, {task} out; it tokenizes, batches by length and calls {core}."
_CORE = "the graph of {name}, run by ONNX Runtime; clients call {name}."

_FP32, _INT64 = "TYPE_FP32", "TYPE_INT64"


def entries(case: Case) -> tuple[ModelEntry, ...]:
    """Return both directories. Raises RecipeError for an invalid setting."""
    if not case.recipe.name:
        raise ValueError("the recipe has no model name yet")
    said = {**settings(case), **_said(case)}
    return (_public(case, said), _core(case, said), *frontend_entries(case))


def _said(case: Case) -> Mapping[str, Any]:
    """Return what the graph itself declares, once it exists."""
    made = case.artifacts.get(ARTIFACT)
    if made is None:
        return {}
    found: dict[str, Any] = json.loads((made.folder / "graph.json").read_bytes())
    return found


def _public(case: Case, facts: Mapping[str, Any]) -> ModelEntry:
    chosen = engine(case)
    inputs, outputs = tensors(case)
    config = batching_config(case, chosen, (inputs, outputs), "KIND_CPU")
    what = _PUBLIC.format(task=outputs[0]["name"], core=core_name(case))
    files = (
        config_file(case, config, what),
        RepoFile("1/settings.json", dump(facts)),
        *model_files("onnx", "text"),
    )
    places = [WeightsDir("1", files={"tokenizer.json": "tokenizer.json"})]
    if made := case.artifacts.get(ARTIFACT):
        package = {name: name for name in made.files if name.startswith(f"{PACKAGE}/")}
        places.append(WeightsDir("1/site", artifact=ARTIFACT, files=package))
        if KEPT in made.files:
            places.append(WeightsDir("1", artifact=ARTIFACT, files={KEPT: KEPT}))
    return ModelEntry(case.recipe.name, files, tuple(places))


def _core(case: Case, facts: Mapping[str, Any]) -> ModelEntry:
    config = pbtxt.model_config(
        name=core_name(case),
        backend="onnxruntime",
        max_batch_size=facts["rows"],
        input=[row(name, _INT64, -1) for name in facts["inputs"]],
        output=[row(facts["output"], _FP32, *(facts.get("output_dims") or core_dims(case)))],
        **accelerated(case, facts["inputs"]),
    )
    what = _CORE.format(name=case.recipe.name)
    places: tuple[WeightsDir, ...] = ()
    if made := case.artifacts.get(ARTIFACT):
        graph = {name: name for name in made.files if name.startswith(GRAPH) or name == GRAPH}
        outside = {n: n for n in made.files if "/" not in n and not n.endswith(".json")}
        places = (WeightsDir("1", artifact=ARTIFACT, files={**graph, **outside}),)
    return ModelEntry(core_name(case), (config_file(case, config, what),), places)
