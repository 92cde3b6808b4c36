"""Convert a tiny random checkpoint of every family by the builder onnx, serve it, print the table.

    python scripts/tabulate_onnx_families.py [FAMILY...]

A family takes ten seconds. A row has the largest difference between the graph and the reference,
and between the answers of the embedded server and the reference: each text alone and in one ragged
request, by gRPC and HTTP. The exit status is the number of families that failed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import torch_families
from support.command_line import trtbuild
from support.exporting import one_exporter
from trtbuild import process, server
from trtbuild.client import LLMClient, wait_ready
from trtbuild.client.reference import live_numbers
from trtbuild.client.transport import Protocol
from trtbuild.server import LaunchOptions, Ports

_HEAD = (
    "| Family | Class | Head | Graph: largest difference | Smallest cosine | Served: largest "
    "difference |"
)
_AT_ONCE = 8  # families on one server
_PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")
_LIMIT = 1e-4  # of what is served, relative to the largest number of a row


def main(*names: str) -> int:
    """Print a row for each family; return how many failed."""
    chosen = names or tuple(torch_families.FAMILIES)
    print(_HEAD, "|---|---|---|---|---|---|", sep="\n")
    failed = 0
    with one_exporter() as run:
        for start in range(0, len(chosen), _AT_ONCE):
            part = chosen[start : start + _AT_ONCE]
            with tempfile.TemporaryDirectory() as place:
                for row in rows(Path(place), part, run):
                    failed += "failed" in row
                    print(row, flush=True)
    return failed


def rows(work: Path, names: Sequence[str], run: Callable[..., int]) -> Iterator[str]:
    """Convert and serve some families."""
    if run(torch_families.__file__, work, *names):
        sys.exit("the checkpoints could not be made")
    problems = {name: convert(work, name) for name in names}
    repository = work / "repository"
    good = [name for name in names if not problems[name]]
    with served(repository, good) as handle:
        for name in names:
            model = torch_families.FAMILIES[name]["model"]
            if problems[name]:
                yield f"| {name} | {model} | | failed: {problems[name]} | | |"
                continue
            version = repository / name / "1"
            report = json.loads((version / "reference.json").read_bytes())
            head = json.loads((version / "settings.json").read_bytes())["head"]
            worst = report["worst"]
            live = difference(handle, repository, name, report["kept"])
            yield (
                f"| {name} | {model} | {head} | {worst['max_abs']:.1e} | {worst['cosine']:.7f} | "
                f"{live:.1e}{'' if live <= _LIMIT else ' failed'} |"
            )


def convert(work: Path, name: str) -> str:
    """Return what went wrong; empty if nothing did."""
    done = trtbuild("convert", work / name, "--repo", work / "repository", "--backend", "onnx")
    lines = done.stderr.splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith("error")), 0)
    return " ".join(map(str.strip, lines[first : first + 4])) if done.returncode else ""


@contextmanager
def served(repository: Path, names: Sequence[str]) -> Iterator[Any]:
    """The embedded server with these models."""
    options = LaunchOptions(ports=Ports(*process.free_ports(3, "127.0.0.1")))
    handle = server.launch(server.read_contents(repository), "embedded", options)
    try:
        wait_ready(handle.grpc_url, list(names), 300, watch=lambda: server.require_alive(handle))
        yield handle
    finally:
        server.stop(handle)


def difference(handle: Any, repository: Path, name: str, kept: Sequence[Any]) -> float:
    """Return the largest difference of an answer from the reference, alone and in a batch."""
    models = dict(server.read_contents(repository).served)
    worst = 0.0
    for protocol in _PROTOCOLS:
        port = handle.grpc_port if protocol == "grpc" else handle.http_port
        with LLMClient(f"127.0.0.1:{port}", protocol, models.get) as client:
            for row in kept:
                others = [one["item"] for one in kept if one["input_type"] == row["input_type"]]
                for more in ((), others):
                    found = live_numbers(client, models[name], row, more) or ()
                    worst = max(worst, _apart(found, row["row"]))
    return worst


def _apart(found: Sequence[float], wanted: Sequence[float]) -> float:
    if len(found) != len(wanted):
        return float("inf")
    scale = max(1.0, *map(abs, wanted))
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) / scale


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
