"""What a request to an embedding model or a reranker costs, in CPU time of all server processes.

    python benchmarks/bench_embeddings.py CHECKPOINT [--requests 200] [--clients 16] [--repo DIR]
        [--infinity PYTHON]

CHECKPOINT is an encoder with safetensors (all-MiniLM-L6-v2, for the figures in the documentation).
It is converted in float32 and in int8, and served by the embedded server. The lower bound is its
graph in a process of its own, called for one text at a time without padding. For comparison it also
measures sentence-transformers, one text at a time and in sorted batches, and infinity in a Python
that has infinity-emb (``pip install torch==2.13.0 'transformers<5' infinity-emb[torch]`` in a
venv of its own). The reranker is the encoder's body with a random head: 100 passages in one request
against the sum of its batches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from trtbuild import process, server
from trtbuild.client import LLMClient, wait_ready
from trtbuild.resources import template_dir
from trtbuild.server import LaunchOptions, Ports
from trtbuild.server.runtime import install
from trtbuild.signature.requests import EmbedRequest, RerankRequest

WORDS = [
    "retrieval",
    "server",
    "latency",
    "model",
    "river",
    "stone",
    "quickly",
    "compute",
    "batch",
    "ocean",
    "green",
    "seven",
]
SHORT, MIXED = (8, 12), (3, 180)  # words of a text
PASSAGES = 100
NAMES = ("fp32", "int8", "reranker")

# In the export environment: CPU milliseconds of the graph alone, and of sentence-transformers.
_ALONE = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
import numpy, onnxruntime, text_rows
job = json.loads(sys.stdin.read())
settings = text_rows.read_settings(job["model"])
texts = text_rows.Texts(job["model"], settings)
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(job["graph"], options)
spent = []
rows = text_rows.Rows(settings, lambda given: session.run(None, given)[0])
for items in job["items"][:8] + job["items"]:
    began, wall = time.process_time(), time.perf_counter()
    packed = [tuple(one) if isinstance(one, list) else one for one in items]
    rows.run(texts.encode(packed, "END"))
    spent.append((1000 * (time.process_time() - began), 1000 * (time.perf_counter() - wall)))
print(json.dumps(spent[8:]))
"""
_LIBRARY = """
import json, sys, time
from sentence_transformers import SentenceTransformer
job = json.loads(sys.stdin.read())
model = SentenceTransformer(job["source"], device="cpu")
model.encode(job["texts"][:8])
result = []
for size in (1, 32):
    began = time.process_time()
    model.encode(job["texts"], batch_size=size)
    result.append(1000 * (time.process_time() - began) / len(job["texts"]))
print(json.dumps(result))
"""
# Its engine as its own server calls it, with as many clients, and no HTTP around it.
_INFINITY = """
import asyncio, json, sys, time
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
job = json.loads(sys.stdin.read())
async def main():
    engine = AsyncEmbeddingEngine.from_args(EngineArgs(
        model_name_or_path=job["source"], engine="torch", device="cpu", dtype="float32",
        bettertransformer=False, compile=False, model_warmup=False,
    ))
    async def client(texts):
        for text in texts:
            await engine.embed(sentences=[text])
    async with engine:
        await client(job["texts"][:8])
        began = time.process_time()
        parts = [job["texts"][at::job["clients"]] for at in range(job["clients"])]
        await asyncio.gather(*map(client, parts))
        return 1000 * (time.process_time() - began) / len(job["texts"])
print(json.dumps(asyncio.run(main())))
"""
_HEAD = """
import sys, transformers
transformers.AutoModelForSequenceClassification.from_pretrained(
    sys.argv[1], num_labels=1, dtype="float32"
).save_pretrained(sys.argv[2])
"""


def texts(count: int, words: tuple[int, int], seed: int = 3) -> list[str]:
    """Random texts of a uniform number of words."""
    made = random.Random(seed)
    return [" ".join(made.choices(WORDS, k=made.randint(*words))) for _ in range(count)]


def convert(source: Path, repository: Path, name: str, *settings: str) -> None:
    """Add a model to the repository."""
    chosen = [word for each in settings for word in ("--set", each)]
    command = [sys.executable, "-m", "trtbuild", "convert", str(source), "--repo", str(repository)]
    subprocess.run([*command, "--name", name, "--backend", "onnx", *chosen], check=True)


def reranker(source: Path, folder: Path, python: Path) -> None:
    """Write a cross-encoder of the same size with a random head."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
    subprocess.run([python, "-c", _HEAD, source, folder], check=True, capture_output=True)


@contextlib.contextmanager
def served(repository: Path) -> Iterator[tuple[str, int]]:
    """The embedded server; its gRPC address and its process."""
    options = LaunchOptions(ports=Ports(*process.free_ports(3, "127.0.0.1")))
    handle = server.launch(server.read_contents(repository), "embedded", options)
    try:
        wait_ready(handle.grpc_url, list(NAMES), 300, watch=lambda: server.require_alive(handle))
        yield handle.grpc_url, handle.pid
    finally:
        server.stop(handle)


def cpu(pid: int) -> float:
    """Seconds that the server and its models have worked."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return float(sum(sum(item.cpu_times()[:2]) for item in processes))


def load(url: str, pid: int, name: str, inputs: Sequence[str], clients: int) -> dict[str, float]:
    """All requests, one text each, by as many clients: CPU and median time of a request."""

    def ask(part: Sequence[str]) -> list[float]:
        taken = []
        with LLMClient(url, "grpc") as client:
            for text in part:
                began = time.perf_counter()
                client.ask(name, EmbedRequest((text,)))
                taken.append(1000 * (time.perf_counter() - began))
        return taken

    with ThreadPoolExecutor(clients) as pool:
        parts = [inputs[at::clients] for at in range(clients)]
        list(pool.map(ask, [part[:2] for part in parts]))  # warm up
        busy = cpu(pid)
        taken = [one for part in pool.map(ask, parts) for one in part]
        return {
            "cpu_ms": 1000 * (cpu(pid) - busy) / len(inputs),
            "p50_ms": statistics.median(taken),
        }


def alone(python: Path, repository: Path, name: str, items: Sequence[Sequence[Any]]) -> list[Any]:
    """CPU and wall milliseconds of each list of items by the graph alone."""
    job = {
        "model": str(repository / name / "1"),
        "graph": str(repository / f"{name}_core" / "1" / "model.onnx"),
        "items": items,
    }
    command = [python, "-c", _ALONE, json.dumps([str(template_dir("text", "model"))])]
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: list[Any] = json.loads(done.stdout)
    return found


def elsewhere(python: Path, code: str, job: dict[str, Any]) -> Any:
    """What a program with libraries of its own prints, CPU milliseconds of a text."""
    done = subprocess.run(
        [python, "-c", code],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        # Its threads spin while they wait, which would count as work.
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def reranking(url: str, python: Path, repository: Path, repeats: int) -> dict[str, float]:
    """The median time of a request with 100 passages, and of its batches by the graph alone."""
    passages = texts(PASSAGES, MIXED, seed=5)
    taken = []
    with LLMClient(url, "grpc") as client:
        for _ in range(repeats + 1):
            began = time.perf_counter()
            client.ask("reranker", RerankRequest("retrieval server latency", tuple(passages)))
            taken.append(1000 * (time.perf_counter() - began))
    pairs = [["retrieval server latency", passage] for passage in passages]
    packs = alone(python, repository, "reranker", [pairs] * repeats)
    return {
        "p50_ms": statistics.median(taken[1:]),
        "packs_ms": statistics.median(wall for _, wall in packs),
    }


def measured(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All figures."""
    python = install("export").python
    repository = options.repo or work / "repository"
    if not (repository / "reranker").is_dir():
        convert(options.checkpoint, repository, "fp32")
        convert(options.checkpoint, repository, "int8", "quantize=int8")
        reranker(options.checkpoint, work / "reranker-model", python)
        convert(work / "reranker-model", repository, "reranker")
    found: dict[str, Any] = {}
    with served(repository) as (url, pid):
        for kind, words in {"short": SHORT, "mixed": MIXED}.items():
            inputs = texts(options.requests, words)
            rows = found[kind] = {}
            for name in ("fp32", "int8"):
                rows[f"{name}, 1 client"] = load(url, pid, name, inputs, 1)
                rows[f"{name}, {options.clients} clients"] = load(
                    url, pid, name, inputs, options.clients
                )
                spent = alone(python, repository, name, [[text] for text in inputs])
                mean = statistics.mean(busy for busy, _ in spent)
                rows[f"{name}, graph alone"] = {"cpu_ms": mean}
                print(kind, json.dumps(rows), file=sys.stderr, flush=True)
            job = {"source": str(options.checkpoint), "texts": inputs, "clients": options.clients}
            one, sorted_ = elsewhere(python, _LIBRARY, job)
            rows["sentence-transformers, one at a time"] = {"cpu_ms": one}
            rows["sentence-transformers, sorted batches of 32"] = {"cpu_ms": sorted_}
            if options.infinity:
                spent = elsewhere(options.infinity, _INFINITY, job)
                rows[f"infinity, {options.clients} clients"] = {"cpu_ms": spent}
            print(kind, json.dumps(rows), file=sys.stderr, flush=True)
        found["reranker"] = reranking(url, python, repository, options.repeats)
    return found


def report(found: dict[str, Any], clients: int) -> str:
    """The figures as Markdown."""
    lines = ["| CPU ms a request | short | mixed |", "|---|---|---|"]
    for name in found["mixed"]:
        both = " | ".join(f"{found[kind][name]['cpu_ms']:.1f}" for kind in ("short", "mixed"))
        lines.append(f"| {name} | {both} |")
    mixed, busy = found["mixed"], f"{clients} clients"
    ratios = {
        f"fp32 at {busy} / graph alone": ("fp32, " + busy, "fp32, graph alone"),
        f"fp32 / int8 at {busy}": ("fp32, " + busy, "int8, " + busy),
        f"sentence-transformers / fp32 at {busy}": (
            "sentence-transformers, sorted batches of 32", "fp32, " + busy,
        ),
    }  # fmt: skip
    if f"infinity, {busy}" in mixed:
        ratios[f"infinity / fp32 at {busy}"] = (f"infinity, {busy}", "fp32, " + busy)
    for name, (one, other) in ratios.items():
        lines.append(f"\n{name}: {mixed[one]['cpu_ms'] / mixed[other]['cpu_ms']:.2f} (mixed)")
    row = found["reranker"]
    lines.append(
        f"\n{PASSAGES} passages: p50 {row['p50_ms']:.0f} ms, the graph alone {row['packs_ms']:.0f} "
        f"ms: {row['p50_ms'] / row['packs_ms']:.2f}"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--repo", type=Path, help="where the models are kept for the next run")
    parser.add_argument("--infinity", type=Path, help="a Python that has infinity-emb")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trtbuild-bench-") as place:
        found = measured(options, Path(place))
    print(report(found, options.clients))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
