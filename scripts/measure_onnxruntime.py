"""Measure which ONNX files the ONNX Runtime of each Triton release reads.

    python scripts/measure_onnxruntime.py              # writes src/trtbuild/data/onnxruntime.toml
    python scripts/measure_onnxruntime.py --missing    # only the versions that have no row

The releases and their versions of ONNX Runtime stand in the table itself, from ``ort_version`` of
the server's ``build.py`` (branch rYY.MM); add a row and run this. Each version is installed from
PyPI into a directory of its own, and asked to load files of every IR version and opset.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TABLE = Path(__file__).parents[1] / "src" / "trtbuild" / "data" / "onnxruntime.toml"
HEAD = TABLE.read_text(encoding="utf-8").partition("[limits")[0]
# Not on PyPI: the version beside it, of the same minor release, is measured instead.
INSTEAD = {"1.17.2": "1.17.3"}
ASK = """
import json, sys, onnxruntime
from onnx import TensorProto, helper

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
}))
"""


def measure(version: str) -> dict[str, int]:
    """The highest IR version and opsets that a version loads."""
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
    lines = ["[limits]"]
    for version in sorted(set(versions), key=lambda one: [int(n) for n in one.split(".")]):
        found = known.get(version) or measure(version)
        lines.append(
            f'"{version}" = {{ ir = {found["ir"]}, opset = {found["opset"]}, ml = {found["ml"]} }}'
        )
        print(lines[-1], flush=True)
    TABLE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
