"""The two models of a checkpoint: the public one with text input, and its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.modelspec import Task
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.resources import template_dir
from trtbuild_builders.onnx.export import ARTIFACT, GRAPH, KEPT, PACKAGE
from trtbuild_builders.onnx.settings import core_name, dump, engine, head_of, settings

_HEADER = """\
{name}: {what}
Written by trtbuild for Triton {triton}. Change the recipe (trtbuild.yaml, --set) and convert again
rather than edit this file: trtbuild.lock has its digest."""
_PUBLIC = "text in, {task} out; it tokenizes, batches by length and calls {core}."
_CORE = "the graph of {name}, run by ONNX Runtime; clients call {name}."

_STRING, _INT32, _FP32, _INT64 = "TYPE_STRING", "TYPE_INT32", "TYPE_FP32", "TYPE_INT64"


def entries(case: Case) -> tuple[ModelEntry, ...]:
    """Return both directories. Raises RecipeError for an invalid setting."""
    if not case.recipe.name:
        raise ValueError("the recipe has no model name yet")
    said = {**settings(case), **_said(case)}
    return (_public(case, said), _core(case, said))


def _said(case: Case) -> Mapping[str, Any]:
    """Return what the graph itself declares, once it exists."""
    made = case.artifacts.get(ARTIFACT)
    if made is None:
        return {}
    found: dict[str, Any] = json.loads((made.folder / "graph.json").read_bytes())
    return found


def _public(case: Case, facts: Mapping[str, Any]) -> ModelEntry:
    chosen = engine(case)
    inputs, outputs = _tensors(case)
    config = pbtxt.model_config(
        name=case.recipe.name,
        backend="python",
        max_batch_size=chosen["max_batch_size"],
        input=inputs,
        output=outputs,
        instance_group=[{"count": chosen["instances"], "kind": "KIND_CPU"}],
        dynamic_batching={"max_queue_delay_microseconds": chosen["max_queue_delay_microseconds"]},
    )
    what = _PUBLIC.format(task=outputs[0]["name"], core=core_name(case))
    files = (
        _config(config, case, what),
        RepoFile("1/settings.json", dump(facts)),
        *model_files(),
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
        max_batch_size=engine(case)["max_batch_size"],
        input=[_row(name, _INT64, -1) for name in facts["inputs"]],
        output=[_row(facts["output"], _FP32, *(facts.get("output_dims") or (_width(case),)))],
    )
    what = _CORE.format(name=case.recipe.name)
    places: tuple[WeightsDir, ...] = ()
    if made := case.artifacts.get(ARTIFACT):
        graph = {name: name for name in made.files if name.startswith(GRAPH) or name == GRAPH}
        outside = {n: n for n in made.files if "/" not in n and not n.endswith(".json")}
        places = (WeightsDir("1", artifact=ARTIFACT, files={**graph, **outside}),)
    return ModelEntry(core_name(case), (_config(config, case, what),), places)


def _config(config: Any, case: Case, what: str) -> RepoFile:
    header = _HEADER.format(name=config.name, what=what, triton=case.toolchain.triton)
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header).encode())


def _tensors(case: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return public inputs and outputs: those of NVIDIA's NIM retriever if it has the task."""
    task, head = case.spec.task, head_of(case)
    counts = _row("token_count", _INT32, 1)
    if task is Task.EMBED:
        width = -1 if head.cuts or not head.dimension else _width(case)
        return [_row("text", _STRING, 1)], [_row("embeddings", _FP32, width), counts]
    if task is Task.RERANK:
        inputs = [_row("query", _STRING, 1), _row("passage", _STRING, 1)]
        outputs = [_row("index", _INT32, 1), _row("logit", _FP32, 1), _row("score", _FP32, 1)]
        return inputs, [*outputs, counts]
    pair = {**_row("text_pair", _STRING, 1), "optional": True}
    outputs = [_row("scores", _FP32, _width(case)), _row("label", _STRING, 1), counts]
    return [_row("text", _STRING, 1), pair], outputs


def _width(case: Case) -> int:
    head = head_of(case)
    if case.spec.task is Task.EMBED:
        return head.truncate_dimension or head.dimension or -1
    return 1 if case.spec.task is Task.RERANK else len(head.labels) or -1


def _row(name: str, kind: str, *dims: int) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": list(dims)}


@cache
def model_files() -> tuple[RepoFile, ...]:
    """Return our model.py and its modules, byte for byte."""
    paths = sorted(
        path for part in ("onnx", "text") for path in template_dir(part, "model").glob("*.py")
    )
    return tuple(RepoFile(f"1/{path.name}", path.read_bytes()) for path in paths)
