"""Tensors for ``ModelConfig``, and the wiring of the ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from packaging.version import Version

from trtbuild_engine_flow.builder.deployment import EngineDeployment
from trtbuild_engine_flow.builder.tables import engine_tensors, wiring

Row = Mapping[str, Any]
ENGINE_MODEL = "tensorrt_llm"


def of_engine(deployment: EngineDeployment) -> dict[str, list[dict[str, Any]]]:
    """``input`` and ``output`` of ``tensorrt_llm``, as far as its release and engine have them."""
    return {
        kind: _fields(_engine_rows(deployment, kind), deployment, kind)
        for kind in ("input", "output")
    }


def of_python(deployment: EngineDeployment, part: str) -> dict[str, list[dict[str, Any]]]:
    """``input`` and ``output`` of a model of ours; the BLS has the client's."""
    if part == "bls":
        return _clients(deployment)
    return {kind: _fields(wiring()[part][kind], deployment, kind) for kind in ("input", "output")}


def of_ensemble(deployment: EngineDeployment) -> dict[str, Any]:
    """``input``, ``output`` and ``ensemble_scheduling``."""
    return {**_clients(deployment), "ensemble_scheduling": {"step": _steps(deployment)}}


def _clients(deployment: EngineDeployment) -> dict[str, list[dict[str, Any]]]:
    """Return the client's tensors that a step uses: Triton rejects an unconnected one."""
    steps = _steps(deployment)
    taken = {name for step in steps for name in step["input_map"].values()}
    given = {name for step in steps for name in step["output_map"].values()}
    rows = wiring()["ensemble"]
    return {
        "input": _fields([r for r in rows["input"] if r["name"] in taken], deployment, "input"),
        "output": _fields([r for r in rows["output"] if r["name"] in given], deployment, "output"),
    }


def _steps(deployment: EngineDeployment) -> list[dict[str, Any]]:
    """Return the steps with maps of tensors that exist in this release and engine."""
    steps = [_step(deployment, step["model"], step["wiring"]) for step in wiring()["step"]]
    clients = {row["name"] for row in wiring()["ensemble"]["input"]}
    there = clients.union(*(step["output_map"].values() for step in steps))
    for step in steps:
        inputs = step["input_map"].items()
        step["input_map"] = {name: source for name, source in inputs if source in there}
    return steps


def _step(deployment: EngineDeployment, part: str, key: str) -> dict[str, Any]:
    maps = {}
    for kind in ("input", "output"):
        rows = wiring()[part][kind]
        if part == ENGINE_MODEL:
            names = {row["canonical"]: row["name"] for row in _engine_rows(deployment, kind)}
            maps[kind] = {names[name]: to for name, to in rows.items() if name in names}
        else:
            maps[kind] = {row["name"]: row[key] for row in rows if key in row}
    return {
        "model_name": deployment.name(part),
        "model_version": -1,
        "input_map": maps["input"],
        "output_map": maps["output"],
    }


def _engine_rows(deployment: EngineDeployment, kind: str) -> list[dict[str, Any]]:
    """The rows of this release and engine; ``canonical`` is a renamed tensor's newest name."""
    release, found = Version(deployment.tools.trtllm), []
    for row in engine_tensors()[kind]:
        if row.get("with", "") not in {"", *deployment.features}:
            continue
        if "since" in row and release < Version(row["since"]):
            continue
        name, before = row["name"], row.get("before", {})
        if before and release < Version(before["until"]):
            name = before["name"]
        found.append({**row, "name": name, "canonical": row["name"]})
    return found


def _fields(rows: Iterable[Row], deployment: EngineDeployment, kind: str) -> list[dict[str, Any]]:
    return [_field(row, deployment.types, kind) for row in rows]


def _field(row: Row, types: Mapping[str, str], kind: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "name": row["name"],
        "data_type": types.get(row["type"], f"TYPE_{row['type']}"),
        "dims": row["dims"],
    }
    if "reshape" in row:
        field["reshape"] = {"shape": row["reshape"]}
    if kind == "input" and row.get("optional"):
        field["optional"] = True
    if kind == "input" and row.get("ragged"):
        field["allow_ragged_batch"] = True
    return field
