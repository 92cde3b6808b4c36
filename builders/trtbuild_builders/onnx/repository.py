"""The two models of a checkpoint: the public one with text input, and its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.resources import template_dir
from trtbuild_builders.onnx.accelerators import accelerated
from trtbuild_builders.onnx.export import ARTIFACT, GRAPH, PACKAGES
from trtbuild_builders.onnx.images import PIXELS, SHAPE, image_tensors
from trtbuild_builders.onnx.settings import core_name, engine, is_images, settings
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

_PUBLIC = {
    False: "text in, {task} out; it tokenizes, batches by length and calls {core}.",
    True: "images in, {task} out; it resizes them, batches and calls {core}.",
}
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
        return {"inputs": {PIXELS: list(SHAPE)}} if is_images(case) else {}
    found: dict[str, Any] = json.loads((made.folder / "graph.json").read_bytes())
    return found


def _public(case: Case, facts: Mapping[str, Any]) -> ModelEntry:
    chosen, images = engine(case), is_images(case)
    inputs, outputs = image_tensors(case) if images else tensors(case)
    config = batching_config(case, chosen, (inputs, outputs), "KIND_CPU")
    what = _PUBLIC[images].format(task=outputs[0]["name"], core=core_name(case))
    files = (
        config_file(case, config, what),
        RepoFile("1/settings.json", dump(facts)),
        *_modules(images=images),
    )
    places = [] if images else [WeightsDir("1", files={"tokenizer.json": "tokenizer.json"})]
    if made := case.artifacts.get(ARTIFACT):
        packages = {name: name for name in made.files if name.startswith(PACKAGES)}
        places.append(WeightsDir("1/site", artifact=ARTIFACT, files=packages))
        if KEPT in made.files:
            places.append(WeightsDir("1", artifact=ARTIFACT, files={KEPT: KEPT}))
    return ModelEntry(case.recipe.name, files, tuple(places))


def _modules(*, images: bool) -> Sequence[RepoFile]:
    """Return ``model.py`` of texts or images, and the modules that it imports."""
    paths = [*template_dir("onnx", "images" if images else "texts").glob("*.py")]
    if images:
        paths += template_dir("shared").glob("*.py")
    own = [RepoFile(f"1/{path.name}", path.read_bytes()) for path in sorted(paths)]
    return (*own, *model_files("onnx", "text"))


def _core(case: Case, facts: Mapping[str, Any]) -> ModelEntry:
    config = pbtxt.model_config(
        name=core_name(case),
        backend="onnxruntime",
        max_batch_size=facts["rows"],
        input=[
            row(name, _FP32, *pads) if is_images(case) else row(name, _INT64, -1)
            for name, pads in facts["inputs"].items()
        ],
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
