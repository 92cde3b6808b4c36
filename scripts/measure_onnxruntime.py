"""Measure which ONNX files and operators the ONNX Runtime of each Triton release reads.

    python scripts/measure_onnxruntime.py              # writes src/trtbuild/data/onnxruntime.toml
    python scripts/measure_onnxruntime.py --missing    # only the versions that have no row

The releases and their versions of ONNX Runtime stand in the table itself, from ``ort_version`` of
the server's ``build.py`` (branch rYY.MM); add a row and run this. Each version is installed from
PyPI into a directory of its own, asked to load files of every IR version and opset, and for the
names of its operators of ``com.microsoft``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "src" / "trtbuild" / "data" / "onnxruntime.toml"
HEAD = TABLE.read_text(encoding="utf-8").partition("[limits")[0]
# Not on PyPI: the version beside it, of the same minor release, is measured instead.
INSTEAD = {"1.17.2": "1.17.3"}
ASK = """
import json, sys, onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

def loads(ir, domain, opset):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    sets = {"": 14, domain: opset}
    sets = [helper.make_opsetid(name, number) for name, number in sets.items()]
    model = helper.make_model(graph, opset_imports=sets)
    model.ir_version = ir
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:
        return False
    return True

print(json.dumps({
    "version": onnxruntime.__version__,
    "ir": max(n for n in range(3, 20) if loads(n, "", 14)),
    "opset": max(n for n in range(7, 40) if loads(7, "", n)),
    "ml": max(n for n in range(1, 12) if loads(7, "ai.onnx.ml", n)),
    "contrib": sorted(
        {one.name for one in get_all_operator_schema() if one.domain == "com.microsoft"}
    ),
}))
"""


def measure(version: str) -> dict[str, Any]:
    """The highest IR version and opsets that a version loads, and its own operators."""
    with tempfile.TemporaryDirectory() as folder:
        old = ["numpy<2"] if tuple(map(int, version.split(".")))[:2] < (1, 19) else []
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        packages = [f"onnxruntime=={INSTEAD.get(version, version)}", "flatbuffers", *old]
        subprocess.run([*install, *packages], check=True, capture_output=True)
        path = os.pathsep.join([folder, *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True
        )
    said = json.loads(done.stdout)
    assert said["version"] == INSTEAD.get(version, version)
    return said


def main() -> None:
    """Measure the versions in the table and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--missing", action="store_true", help="keep the rows that are there")
    options = parser.parse_args()
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    versions, known = table["releases"].values(), table["limits"] if options.missing else {}
    limits, contrib = ["[limits]"], ["[contrib]"]
    before: set[str] = set()
    for version in sorted(set(versions), key=lambda one: [int(n) for n in one.split(".")]):
        added = set(table.get("contrib", {}).get(version, ()))
        if (found := known.get(version)) is None:
            found = measure(version)
            added = set(found["contrib"]) - before
            assert before <= set(found["contrib"]), f"{version} lacks operators of older ones"
        before |= added
        limits.append(
            f'"{version}" = {{ ir = {found["ir"]}, opset = {found["opset"]}, ml = {found["ml"]} }}'
        )
        contrib += _row(version, sorted(added)) if added else []
        print(f"{limits[-1]}, {len(added)} new operators", flush=True)
    lines = [*limits, "", *contrib]
    TABLE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def _row(version: str, names: list[str]) -> list[str]:
    listed = textwrap.fill(
        ", ".join(f'"{name}"' for name in names), 98, initial_indent="  ", subsequent_indent="  "
    )
    return [f'"{version}" = [', f"{listed},", "]"]


if __name__ == "__main__":
    main()
