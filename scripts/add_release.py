"""Add a Triton release: its row, the tables of what its images contain, the pages; print the rest.

    python scripts/add_release.py 26.11
    python scripts/add_release.py 26.11 --matrix compatibility.md     # a copy of the matrix
    python scripts/add_release.py 26.11 --vllm 0.33.0                 # before the matrix has it

The row comes from docs/introduction/compatibility.md of triton-inference-server/server. A release
that has a row already gets what is still missing, so a second run is cheap. The tables are written
by the scripts beside this one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import upstream
from release_checklist import left

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS, DATA = ROOT / "scripts", ROOT / "src" / "trtbuild" / "data"
MATRIX = f"{upstream.GITHUB}/triton-inference-server/server/main/docs/introduction/compatibility.md"
IMAGE = "nvcr.io/nvidia/tritonserver:{release}-{kind}-python-py3"
REGISTRY = "vllm/model_executor/models/registry.py"
LAST_WITH_ENGINES = "1.2.1"


def main() -> int:
    """Add the release, print what is left to do by hand."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("release", help="YY.MM")
    parser.add_argument("--matrix", default=MATRIX, help="URL or file of compatibility.md")
    parser.add_argument("--vllm", default="", help="the vLLM version, where the matrix has none")
    parser.add_argument("--trtllm", default="", help="the same of TensorRT-LLM")
    options = parser.parse_args()
    if not re.fullmatch(r"\d\d\.(0[1-9]|1[0-2])", options.release):
        parser.error(f"{options.release!r} is not a release; fix: write it as YY.MM, such as 26.11")
    try:
        row = add_row(options.release, read_matrix(options.matrix), options.vllm, options.trtllm)
    except LookupError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    before = multimodal()
    fill_tables(row)
    print("… pages and changelog")
    run("document_support.py")
    run("document_rules.py")
    fragment = ROOT / "changelog.d" / f"+triton-{options.release}.added.md"
    fragment.write_text(f"Triton {options.release} is known.\n", encoding="utf-8")
    print(f"\nTriton {options.release} is in the tables. Left to do by hand:\n")
    tasks = left(row, missing(row), sorted(multimodal() - before), DATA)
    for number, task in enumerate(tasks, 1):
        print(f"{number}. {task}")
    return 0


# --- the row ---------------------------------------------------------------------------------


def read_matrix(place: str) -> str:
    """The text of the compatibility matrix; empty, with a note, where it cannot be had."""
    try:
        if place.startswith("https://"):
            return upstream.text_of(place)
        return Path(place).read_text(encoding="utf-8")
    except OSError as error:
        print(f"note: {place} cannot be read ({error}); --matrix names a copy", file=sys.stderr)
        return ""


def add_row(release: str, matrix: str, vllm: str, trtllm: str) -> Mapping[str, Any]:
    """The row of ``release``, written into the table unless a confirmed one is there.

    LookupError: neither the table nor the matrix nor the command line knows its contents.
    """
    table = DATA / "toolchains.toml"
    text = table.read_text(encoding="utf-8")
    known = rows_of(text)
    listed = contents(matrix, release)
    old = known.get(release)
    if old and not (listed and old.get("unconfirmed")):
        return old
    if not (listed or vllm or trtllm):
        raise LookupError(
            f"the matrix has no row for Triton {release}; fix: wait for it, name a copy that has "
            "one with --matrix, or give the versions with --vllm and --trtllm"
        )
    row = new_row(release, listed, vllm, trtllm, known)
    table.write_text(with_row(text, row), encoding="utf-8")
    add_onnxruntime(release, matrix)
    return row


def rows_of(text: str) -> dict[str, dict[str, Any]]:
    """The rows of the table by release."""
    return {row["triton"]: row for row in tomllib.loads(text)["release"]}


def contents(matrix: str, release: str) -> dict[str, Any]:
    """What the matrix says of the two images; empty when it has neither."""
    found: dict[str, Any] = {}
    for line in matrix.splitlines():
        cells = [cell.strip() for cell in line.strip("| \t").split("|")]
        if cells[0] != release or len(cells) < 7:
            continue
        python = re.sub(r"Python (\d+\.\d+).*", r"\1", cells[2])
        cuda, driver, size = cells[-3:]
        facts = ".".join(cuda.split(".")[:3]), driver, float(re.sub(r"\s*GB?$", "", size))
        if "-trtllm-" in cells[1]:
            names = ("cuda", "driver", "image_gb")
            found |= dict(zip(names, facts, strict=True))
            found |= {"trtllm": cells[5], "tensorrt": cells[4], "python": python}
        elif "-vllm-" in cells[1]:
            names = ("vllm_cuda", "vllm_driver", "vllm_image_gb")
            found |= dict(zip(names, facts, strict=True))
            found |= {"vllm": cells[3].partition("+")[0].replace(" ", ".")}
    return found


def new_row(
    release: str,
    listed: Mapping[str, Any],
    vllm: str,
    trtllm: str,
    known: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """A row in the order of the table's keys."""
    vllm, trtllm = listed.get("vllm", vllm), listed.get("trtllm", trtllm)
    server, is_published = server_version(release, known)
    row: dict[str, Any] = {"triton": release, "server_version": server, "vllm": vllm}
    row["vllm_image"] = IMAGE.format(release=release, kind="vllm") if vllm else ""
    row |= {key: listed.get(key, "") for key in ("vllm_cuda", "vllm_driver", "vllm_image_gb")}
    row["trtllm"] = trtllm
    row["trtllm_image"] = IMAGE.format(release=release, kind="trtllm") if trtllm else ""
    row |= {key: listed.get(key, "") for key in ("tensorrt", "cuda", "driver", "image_gb")}
    row["python"] = listed.get("python", "")
    row["engine_flow"] = bool(trtllm) and numbers(trtllm) <= numbers(LAST_WITH_ENGINES)
    guessed = [] if is_published else ["server_version"]
    guessed += [key for key in ("vllm", "trtllm") if row[key] and key not in listed]
    optional = ("vllm_driver", "vllm_image_gb", "driver", "image_gb")
    kept = {key: value for key, value in row.items() if value != "" or key not in optional}
    return kept | ({"unconfirmed": guessed} if guessed else {})


def server_version(release: str, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, bool]:
    """The server's version, one up each month, and whether its client is published."""
    last = max(name for name in known if name < release)
    months = (int(release[:2]) - int(last[:2])) * 12 + int(release[3:]) - int(last[3:])
    major, minor, _ = known[last]["server_version"].split(".")
    version = f"{major}.{int(minor) + months}.0"
    import add_model_config_fields

    with tempfile.TemporaryDirectory() as folder:
        return version, add_model_config_fields.wheel(version, Path(folder)) is not None


def with_row(text: str, row: Mapping[str, Any]) -> str:
    """The table's text with a row in its place, newest first; an older row of it is replaced."""
    head, *blocks = re.split(r"(?m)^(?=\[\[release\]\]$)", text)
    own = "[[release]]\n" + "".join(f"{key} = {literal(value)}\n" for key, value in row.items())
    by_release = {tomllib.loads(block)["release"][0]["triton"]: block for block in blocks}
    by_release[row["triton"]] = own
    ordered = [by_release[name].rstrip("\n") for name in sorted(by_release, reverse=True)]
    return head + "\n\n".join(ordered) + "\n"


def literal(value: object) -> str:
    """A TOML value; JSON's spelling of text, numbers, booleans and lists is TOML's."""
    return json.dumps(value, ensure_ascii=False)


def add_onnxruntime(release: str, matrix: str) -> None:
    """The row of ``onnxruntime.toml``, where the matrix has one."""
    table = DATA / "onnxruntime.toml"
    text = table.read_text(encoding="utf-8")
    section = matrix.partition("## ONNX Runtime Versions")[2]
    match = re.search(rf"(?m)^\| {re.escape(release)} \| ([\d.]+)", section)
    if match and release not in tomllib.loads(text)["releases"]:
        line = f'"{release}" = "{match[1]}"\n'
        table.write_text(text.replace("\n[limits]", f"{line}\n[limits]"), encoding="utf-8")


# --- the tables of what the images contain ---------------------------------------------------


def missing(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that lack what a release's images contain, by file name."""
    vllm, trtllm = row["vllm"], row["trtllm"]
    found = []
    if vllm and not (DATA / "vllm_engine_args" / f"{vllm}.json").is_file():
        found += ["vllm_engine_args", "architectures.toml"]
    if vllm and vllm not in _json("vllm_lora.json")["releases"]:
        found.append("vllm_lora.json")
    if vllm and vllm not in _json("transformers.json")["vllm"]:
        found.append("transformers.json")
    # The LLM API is known from 1.0 on.
    has_llm = trtllm and numbers(trtllm) >= (1,)
    if has_llm and not (DATA / "trtllm_llm_args" / f"{trtllm}.json").is_file():
        found.append("trtllm_llm_args")
    if has_llm and trtllm not in _json("transformers.json")["tensorrt-llm"]:
        found.append("transformers.json of TensorRT-LLM")
    onnx = _toml("onnxruntime.toml")
    if onnx["releases"].get(row["triton"], next(iter(onnx["limits"]))) not in onnx["limits"]:
        found.append("onnxruntime.toml")
    return tuple(found)


def multimodal() -> set[str]:
    """The architectures that are said to take pictures."""
    return set(_toml("architectures.toml")["vision-language"])


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


def _json(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return table


def fill_tables(row: Mapping[str, Any]) -> None:
    """Write what a release lacks; a note says which optional source could not be read."""
    for table, fill in (FILLERS | OPTIONAL).items():
        if table not in missing(row):
            continue
        print(f"… {table}")
        try:
            fill(row)
        except (OSError, subprocess.CalledProcessError) as error:
            if table not in OPTIONAL:
                raise
            print(f"note: {table} was not written ({error}); do it by hand", file=sys.stderr)


def run(script: str, *arguments: str) -> None:
    """One of the scripts beside this one."""
    subprocess.run([sys.executable, str(SCRIPTS / script), *arguments], check=True, cwd=ROOT)


def _vllm_arguments(row: Mapping[str, Any]) -> None:
    """Engine arguments and architectures, from one download of the wheel."""
    import add_vllm_engine_args as engine_args

    version = engine_args.NEAREST.get(row["vllm"], row["vllm"])
    with tempfile.TemporaryDirectory() as folder:
        wheel = engine_args.download(version, Path(folder))
        run("add_vllm_engine_args.py", row["vllm"], "--wheel", str(wheel))
        with zipfile.ZipFile(wheel) as archive:
            registry = archive.extract(REGISTRY, folder)
        run("add_architectures.py", registry)


FILLERS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "vllm_engine_args": _vllm_arguments,
    "vllm_lora.json": lambda row: run("add_lora_support.py", row["vllm"]),
    "transformers.json": lambda _: run("add_transformers.py"),
}


def _llm_arguments(row: Mapping[str, Any]) -> None:
    """Arguments and models of LLM(), from the sources of the tag."""
    with tempfile.TemporaryDirectory() as folder:
        modules, models = upstream.llm_sources(row["trtllm"], Path(folder))
        paths = [str(path) for path in modules]
        run("add_trtllm_llm_args.py", row["trtllm"], *paths, "--models", str(models))


def _pinned_transformers(row: Mapping[str, Any]) -> None:
    """The transformers that TensorRT-LLM is installed with."""
    pin = upstream.transformers_pin(row["trtllm"])
    if not pin:
        raise OSError(f"requirements.txt of {row['trtllm']} pins no transformers")
    run("add_transformers.py", "--trtllm", f"{row['trtllm']}={pin}")


# What can fail without harm, and is then left to do by hand.
OPTIONAL: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "trtllm_llm_args": _llm_arguments,
    "transformers.json of TensorRT-LLM": _pinned_transformers,
    "onnxruntime.toml": lambda _: run("measure_onnxruntime.py", "--missing"),
}


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, for comparison."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))
    sys.exit(main())
