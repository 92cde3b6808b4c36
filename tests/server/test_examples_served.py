"""The examples, run as their first lines say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT
from support.triton import Triton

EXAMPLES = ROOT / "examples"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpc_stream(vllm_server: Triton) -> None:
    out = run(
        sys.executable, EXAMPLES / "grpc_stream.py", "smollm2", "The capital of France is",
        vllm_server.grpc,
    )  # fmt: skip
    assert out.startswith(" Paris.")
    assert out.rstrip().endswith(("[length]", "[stop]"))


def test_grpc_aio(vllm_server: Triton) -> None:
    prompts = ("The capital of France is", "1, 2, 3,")
    out = run(sys.executable, EXAMPLES / "grpc_aio.py", "smollm2", vllm_server.grpc, *prompts)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["prompt"] for answer in answers] == list(prompts)
    assert answers[0]["answer"].startswith(" Paris.")
    assert "4" in answers[1]["answer"]


def test_curl(vllm_server: Triton) -> None:
    out = run("sh", EXAMPLES / "curl.sh", "smollm2", vllm_server.http)
    lines = out.splitlines()
    whole = json.loads(lines[0])["text_output"]
    events = [json.loads(line[5:]) for line in lines[1:] if line.startswith("data:")]
    assert whole.startswith(" Paris.")
    assert "".join(event["text_output"] for event in events) == whole
