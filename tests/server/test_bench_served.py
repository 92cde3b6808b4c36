"""A served model measured with prompts, conversations and a trace of files, over both protocols."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from support import triton
from support.command_line import trtbuild
from trtbuild.cli.app import app

QUESTIONS = ("The capital of France is", "Water boils at", "The sun rises in the", "Two and two")
PNG = b"\x89PNG\r\n\x1a\n"


def bench(
    server: triton.Triton, smollm2: Path, out: Path, *args: object
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The result of gRPC and HTTP in one run, and the only load of each."""
    targets = [f"{one}=triton:{one}://{getattr(server, one)}/smollm2" for one in ("grpc", "http")]
    done = trtbuild("bench", *targets, "--rounds", 1, "--out", out, "--tokenizer", smollm2, *args)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    return result, {target["name"]: target["loads"][0] for target in result["targets"]}


def agreed(load: dict[str, Any], requests: int, tokens: int) -> None:
    """Every request worked, and made what it was asked for; what has no text is of the server."""
    assert load["requests"]["ok"] == load["requests"]["measured"] == requests
    assert load["tokens"]["asked"] == tokens
    compared = load["tokens"]["compared_with_server"]
    assert compared["requests"] == requests
    assert compared["server"] == tokens >= compared["tokenizer"] > 0
    assert load["tokens"]["echoes"] == 0


def test_prompts_of_a_file_over_both_protocols(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    lines = [{"prompt": text, "output_tokens": 4 + number} for number, text in enumerate(QUESTIONS)]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    out = tmp_path / "r.json"
    args = ("--prompts", file, "--concurrency", 2, "--requests", 8, "--warmup", 2)
    result, loads = bench(vllm_server, smollm2, out, *args)
    inputs = sum(
        len(Tokenizer.from_file(str(smollm2 / "tokenizer.json")).encode(q)) for q in QUESTIONS
    )
    for load in loads.values():
        agreed(load, requests=8, tokens=2 * (4 + 5 + 6 + 7))
        assert load["tokens"]["input"] == 2 * inputs
    assert {row["reference"] for row in result["comparison"]["rows"]} == {"grpc"}
    reported(out, tmp_path)


def reported(result: Path, folder: Path) -> None:
    """The report of that run as a page and as pictures."""
    args = ["--html", str(folder / "r.html"), "--svg", str(folder / "svg")]
    pytest.importorskip("resvg_py", reason="the extra `bench` is not installed")
    args += ["--png", str(folder / "png")]
    done = CliRunner().invoke(app, ["bench", "report", str(result), *args], catch_exceptions=False)
    assert done.exit_code == 0
    drawn = {path.stem for path in (folder / "svg").glob("*.svg")}
    assert {path.stem for path in (folder / "png").glob("*.png")} == drawn
    assert len(drawn) >= 3
    assert all(path.read_bytes().startswith(PNG) for path in (folder / "png").iterdir())
    assert "http" in (folder / "r.html").read_text()


def test_conversations_of_a_file_through_the_chat_template(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path
) -> None:
    file = tmp_path / "conversations.json"
    turns = [("human", "Hello"), ("gpt", "Good day."), ("human", "And who are you?"), ("gpt", "I?")]
    talk = [{"from": who, "value": text} for who, text in turns]
    file.write_text(json.dumps([{"id": "1", "conversations": talk}]))
    args = ("--chat", "--prompts", file, "--requests", 2, "--warmup", 1, "--output-tokens", 5)
    _, loads = bench(vllm_server, smollm2, tmp_path / "r.json", *args)
    words = sum(len(text.split()) for _, text in turns[:3])
    for load in loads.values():
        agreed(load, requests=2, tokens=10)
        # Roles and markers of the template are there, each turn once, and no other turn.
        assert 2 * (words + 3 * 3) < load["tokens"]["input"] < 2 * 60


def test_a_trace_is_played_at_its_times(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path
) -> None:
    file = tmp_path / "trace.jsonl"
    rows = [(7000, 20, 3), (7100, 30, 4), (7100, 12, 5), (8500, 20, 6)]
    keys = ("timestamp", "input_length", "output_length")
    file.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    _, loads = bench(vllm_server, smollm2, tmp_path / "r.json", "--trace", file)
    assert all(later >= sooner for (sooner, *_), (later, *_) in pairwise(rows))
    for load in loads.values():
        assert load["load"]["label"] == "trace"
        agreed(load, requests=4, tokens=3 + 4 + 5 + 6)
        assert load["tokens"]["input"] == 20 + 30 + 12 + 20
        # The last one was due 1.5 s after the first, so that long it took at least.
        assert load["window_s"] >= 1.5
