"""Batch jobs ask real servers: a light model for each task over both protocols, and vLLM."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from support import triton
from support.batch_jobs import rows_of, write_lines
from support.command_line import trtbuild
from trtbuild.client import LLMClient
from trtbuild.signature.requests import EmbedRequest


def run(*arguments: object, target: str, cwd: Path) -> Any:
    return trtbuild("batch", "run", *arguments, "--target", target, cwd=cwd)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_vectors_scores_and_texts_of_triton(
    protocol: str, tasks_server: triton.Triton, tmp_path: Path
) -> None:
    url = tasks_server.grpc if protocol == "grpc" else tasks_server.http
    rows = [{"text": "a" * (1 + n % 7), "documents": ["far away", "abc"]} for n in range(150)]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    target = f"triton:{protocol}://{url}"

    done = run(path, "-o", "v", "--embed", "text", target=f"{target}/embedder", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    vectors = rows_of(tmp_path / "v")
    with LLMClient(url, "grpc" if protocol == "grpc" else "http") as client:
        (wanted,) = client.ask("embedder", EmbedRequest((rows[5]["text"],))).vectors
    assert vectors[5]["output"] == list(struct.unpack(f"<{len(wanted)}f", _packed(wanted)))
    assert [row["prompt_tokens"] for row in vectors] == [len(row["text"]) for row in rows]

    given = ("--rerank", "text", "--documents", "documents")
    done = run(path, "-o", "s", *given, target=f"{target}/reranker", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = rows_of(tmp_path / "s")[2]["output"]
    assert len(scores) == 2 and scores[1] > scores[0]  # "aaa" is as long as "abc"

    given = ("--prompt", "say {{ text }}", "--raw")
    done = run(path, "-o", "t", *given, target=f"{target}/letters", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(row["output"] and row["error"] is None for row in rows_of(tmp_path / "t"))

    wrong = run(path, "-o", "w", "--embed", "text", target=f"{target}/reranker", cwd=tmp_path)
    assert wrong.returncode == 7 and "'reranker' gives no vector" in wrong.stderr
    unknown = run(path, "-o", "u", "--embed", "text", target=f"{target}/embeder", cwd=tmp_path)
    assert unknown.returncode == 7 and "did you mean 'embedder'?" in unknown.stderr
    assert not (tmp_path / "u").exists()


def _packed(numbers: Any) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def test_vllm_is_paced_by_its_metrics(vllm_server: triton.Triton, tmp_path: Path) -> None:
    rows = [{"n": n, "text": f"The number after {n} is"} for n in range(60)]
    rows[7]["text"] = "word " * 5000  # longer than the context
    path = write_lines(tmp_path / "rows.jsonl", rows)
    metrics = f"http://127.0.0.1:{vllm_server.metrics_port}/metrics"
    given = ["--prompt", "{{ text }}", "--raw", "--max-tokens", 16, "--temperature", 0]
    target = f"triton:grpc://{vllm_server.grpc}/smollm2"
    done = run(
        path, "-o", "out", *given, "--metrics-url", metrics, "--json", target=target, cwd=tmp_path
    )
    assert done.returncode == 7
    assert "1 of 60 rows have an error" in done.stderr
    found = rows_of(tmp_path / "out")
    assert found[7]["error_kind"] == "context_length"
    others = [row for row in found if row["row"] != 7]
    assert all(row["error"] is None and 1 <= row["completion_tokens"] <= 16 for row in others)
    assert {row["finish_reason"] for row in others} <= {"length", "stop"}
    assert json.loads(done.stdout)["limit"] != 0
