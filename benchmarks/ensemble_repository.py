"""Repositories for bench_ensemble.py: the ensemble, one fused model, the engine by itself.

The engine is `fixed_engine.c`, which makes tokens at a fixed speed; everything around it is what
a generated repository has, from the same templates and the same table of tensors.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trtbuild import pbtxt
from trtbuild_engine_flow.builder.tables import source_file
from trtbuild_engine_flow.resources import template_dir

ROWS = 64  # max_batch_size of every model
_TYPES = {"LOGITS": "TYPE_FP32", "DTYPE": "TYPE_FP16"}  # what the engine would decide
_HERE = Path(__file__).parent
_EMPTY = {  # the tensors that a plain request has between the steps
    "preprocessing": ("input_ids", "input_lengths", "request_output_len", "end_id"),
    "postprocessing": ("output_ids",),
}


def tables() -> dict[str, Any]:
    """The tensors of the ensemble's models and how they are wired."""
    text = template_dir("ensemble", "tensors.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def write(repo: Path, name: str, tokenizer: Path, *, step_us: int) -> None:
    """The ensemble ``name`` and its parts; ``name_throughput``, the same by the profile of that
    name; the fused model ``name_fused``; and ``name_empty``, the ensemble with steps that do
    nothing. Their engines make one token for every stream in each step of ``step_us``
    microseconds."""
    table = tables()
    engine = _engine(table)
    _model(repo, f"{name}_tensorrt_llm", engine, [], step_us=step_us, backend="fixed")
    _compile(repo / f"{name}_tensorrt_llm" / "libtriton_fixed.so")
    for profile, model in (("balanced", name), ("throughput", f"{name}_throughput")):
        for part in ("preprocessing", "postprocessing"):
            config = _part(table[part], part, profile)
            files = [source_file(file) for file in table[part]["files"]]
            _model(repo, f"{model}_{part}", config, files, tokenizer=tokenizer)
        _ensemble(repo, model, table, f"{name}_tensorrt_llm")
    fused = {
        "input": table["ensemble"]["input"],
        "output": table["ensemble"]["output"],
        "decoupled": True,
    }
    files = [_HERE / "fused_engine.py"]
    files += [source_file(file) for file in table["bls"]["files"][1:]]
    _model(repo, f"{name}_fused", fused, files, step_us=step_us, tokenizer=tokenizer)
    _empty(repo, name, engine, table)


def _compile(library: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("this benchmark compiles its engine: install a C compiler")
    options = ("-O2", "-shared", "-fPIC", "-pthread")
    subprocess.run([compiler, *options, "-o", library, _HERE / "fixed_engine.c"], check=True)


def _part(row: Mapping[str, Any], part: str, profile: str) -> dict[str, Any]:
    """Pre- or postprocessing's tensors and batching, as a profile sets it."""
    text = template_dir("trtllm_engine", "profiles.toml").read_text(encoding="utf-8")
    settings = {item["name"]: item[profile]["value"] for item in tomllib.loads(text)["setting"]}
    delay = settings[f"{part}_max_queue_delay_microseconds"]
    batching = {**row["dynamic_batching"], "max_queue_delay_microseconds": delay}
    count = settings.get(f"{part}_instance_count", 1)
    return {
        "input": row["input"],
        "output": row["output"],
        "dynamic_batching": batching,
        "instance_group": [{"count": count, "kind": "KIND_CPU"}],
    }


def _empty(repo: Path, name: str, engine: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    """Token ids through as many steps and tensors, with nothing done in them."""
    both = (row for side in ("input", "output") for row in engine[side])
    rows = {row["name"]: {key: row[key] for key in ("name", "type", "dims")} for row in both}
    steps = []
    for part, tensors in _EMPTY.items():
        inputs = [rows[tensor] for tensor in tensors]
        outputs = [{**row, "name": f"OUT_{row['name']}"} for row in inputs]
        config = {"input": inputs, "output": outputs}
        config["dynamic_batching"] = table[part]["dynamic_batching"]
        _model(repo, f"{name}_empty_{part}", config, [_HERE / "empty_model.py"])
        handed = {f"OUT_{tensor}": f"_{tensor}" for tensor in tensors}
        if part == "postprocessing":
            wired = {"input_map": {"output_ids": "_output_ids"}}
            wired["output_map"] = {"OUT_output_ids": "answer"}
        else:
            wired = {"input_map": {tensor: tensor for tensor in tensors}, "output_map": handed}
        steps.append({"model_name": f"{name}_empty_{part}", "model_version": -1, **wired})
    given = _EMPTY["preprocessing"]
    wired = {
        "input_map": {**{tensor: f"_{tensor}" for tensor in given}, "streaming": "streaming"},
        "output_map": {"output_ids": "_output_ids"},
    }
    steps.insert(1, {"model_name": f"{name}_tensorrt_llm", "model_version": -1, **wired})
    ends = {
        "input": [rows[tensor] for tensor in (*given, "streaming")],
        "output": [{**rows["output_ids"], "name": "answer"}],
    }
    scheduling = {"step": steps}
    folder = f"{name}_empty"
    _write(repo, folder, ends, {}, platform="ensemble", ensemble_scheduling=scheduling)
    (repo / folder / "1").mkdir()


def _engine(table: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of the engine flow that the ensemble wires."""
    text = template_dir("trtllm_engine", "tensors.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    wired = table["tensorrt_llm"]
    found = {side: [row for row in rows[side] if row["name"] in wired[side]] for side in wired}
    return {**found, "decoupled": True}


def _model(
    repo: Path,
    name: str,
    table: Mapping[str, Any],
    files: Iterable[Path],
    *,
    step_us: int | None = None,
    tokenizer: Path | None = None,
    backend: str = "python",
) -> None:
    version = repo / name / "1"
    version.mkdir(parents=True)
    for index, file in enumerate(files):
        shutil.copy(file, version / (file.name if index else "model.py"))
    if tokenizer:
        (version / "tokenizer").symlink_to(tokenizer, target_is_directory=True)
    more: dict[str, Any] = {}
    for key in ("dynamic_batching", "instance_group"):
        if key in table:
            more[key] = table[key]
    if table.get("decoupled"):
        more["model_transaction_policy"] = {"decoupled": True}
    parameters = {"tokenizer_dir": "tokenizer"} if tokenizer else {}
    if step_us is not None:
        parameters["step_us"] = str(step_us)
    _write(repo, name, table, parameters, backend=backend, **more)


def _ensemble(repo: Path, name: str, table: Mapping[str, Any], engine: str) -> None:
    steps = []
    for step in table["step"]:
        rows, wiring = table[step["model"]], step["wiring"]
        maps = {side: rows[side] for side in ("input", "output")}
        if isinstance(maps["input"], list):
            maps = {
                side: {row["name"]: row[wiring] for row in maps[side] if wiring in row}
                for side in maps
            }
        model = engine if step["model"] == "tensorrt_llm" else f"{name}_{step['model']}"
        model = {"model_name": model, "model_version": -1}
        steps.append({**model, "input_map": maps["input"], "output_map": maps["output"]})
    scheduling = {"step": steps}
    _write(repo, name, table["ensemble"], {}, platform="ensemble", ensemble_scheduling=scheduling)
    (repo / name / "1").mkdir()


def _write(
    repo: Path, name: str, table: Mapping[str, Any], parameters: Mapping[str, str], **fields: Any
) -> None:
    config = pbtxt.model_config(name=name, max_batch_size=ROWS, **fields)
    for side, target in (("input", config.input), ("output", config.output)):
        for row in table[side]:
            tensor = target.add(
                name=row["name"],
                data_type=pbtxt.data_type(_TYPES.get(row["type"], f"TYPE_{row['type']}")),
                dims=row["dims"],
            )
            if side == "input":
                tensor.optional = row.get("optional", False)
                tensor.allow_ragged_batch = row.get("ragged", False)
                if "reshape" in row:
                    tensor.reshape.SetInParent()
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    (repo / name).mkdir(exist_ok=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
