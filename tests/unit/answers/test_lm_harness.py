"""``trtbuild eval lm``: what it asks the endpoint, and how it calls the harness.

The harness is a script here that notes its arguments; tests/server/test_lm_harness.py runs the
real one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.small_lm import SmallLm, small_lm

TYPES = {"choice": ["multiple_choice"], "text": ["generate_until"], "nothing": None}
SCRIPT = f"""
import json, os, pathlib, sys
folder = pathlib.Path(__file__).parent
script, *words = sys.argv[1:]
if script.endswith("output_types.py"):
    types = {TYPES!r}
    known = ["choice", "text"]
    print(json.dumps({{"types": {{name: types.get(name) for name in words[1:]}}, "known": known}}))
    sys.exit()
(folder / "called").write_text(json.dumps([words, os.environ.get("OPENAI_API_KEY", "")]))
if "--limit" in words:
    sys.exit("no such data set")
out = pathlib.Path(words[words.index("--output_path") + 1]) / "m"
out.mkdir(parents=True)
rows = {{"t": {{"alias": "t", "acc,none": 0.75, "acc_stderr,none": 0.1, "sample_len": 4}}}}
(out / "results_1.json").write_text(json.dumps({{"results": rows}}))
"""


@pytest.fixture
def harness(tmp_path: Path) -> Path:
    """A program whose Python is a shell script."""
    (tmp_path / "fake.py").write_text(SCRIPT)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "fake.py"} "$@"\n')
    program = tmp_path / "lm_eval"
    program.write_text(f"#!{python}\n")
    for one in (python, program):
        one.chmod(0o755)
    return program


@pytest.fixture
def model() -> Iterator[SmallLm]:
    with small_lm(echoes=True) as found:
        yield found


def evaluate(model: SmallLm, harness: Path, *more: object) -> tuple[int, str, str]:
    done = trtbuild("eval", "lm", *more, "--target", model.target, "--harness", harness)
    return done.returncode, done.stdout, done.stderr


def called(harness: Path) -> tuple[list[str], str]:
    words, key = json.loads((harness.parent / "called").read_text())
    return words, key


def test_tasks_with_probabilities_are_asked_as_completions(model: SmallLm, harness: Path) -> None:
    code, out, said = evaluate(model, harness, "choice", "text", "--include-path", "tasks")
    assert code == 0, said
    assert "0.7500" in out
    assert "sample_len" not in out
    words, key = called(harness)
    given = dict(zip(words[::2], words[1::2], strict=True))
    base = f"http://127.0.0.1:{model.port}/v1"
    assert given["--model"] == "local-completions"
    assert given["--model_args"].split(",") == [
        "model=m", f"base_url={base}/completions", "num_concurrent=8", "timeout=300",
        "max_length=512", "tokenizer_backend=remote",
    ]  # fmt: skip
    assert (given["--tasks"], given["--include_path"], key) == ("choice,text", "tasks", "")


def test_tasks_that_generate_are_asked_as_chats(model: SmallLm, harness: Path) -> None:
    model.echoes = False  # which chats do not need
    code, out, _ = evaluate(model, harness, "text", "--few-shot", 2, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["api"], found["results"]["t"]["acc,none"]) == ("chat", 0.75)
    words, _ = called(harness)
    assert words[:2] == ["--model", "local-chat-completions"]
    assert "--apply_chat_template" in words
    assert words[-2:] == ["--num_fewshot", "2"]
    code, _, said = evaluate(model, harness, "text", "--api", "completions")
    assert (code, "those of the answer alone would be scored as chance" in said) == (7, True)


def test_a_key_is_not_in_the_command_line(
    model: SmallLm, harness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.key = "secret"
    monkeypatch.setenv("KEY", "secret")
    code, _, said = evaluate(model, harness, "choice", "--api-key-env", "KEY")
    assert (code, "which it also writes into its result" in said) == (2, True)
    more = ("--api-key-env", "KEY", "--tokenizer", "checkpoint")
    code, out, said = evaluate(model, harness, "choice", *more, "--json")
    assert code == 0, said
    words, key = called(harness)
    assert key == "secret"
    assert not [word for word in (*words, out, said) if "secret" in word]
    assert "tokenizer_backend=huggingface,tokenizer=checkpoint" in words[3]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"adds": 1}, 2, "every score would be off by a token"),
        ({"extended": False}, 2, "the endpoint has no tokenizer for the harness"),
        ({"echoes": False}, 7, "log probabilities of 1 tokens, and the prompt has 48 and one more"),
        ({"logprobs": False}, 7, "it ignores 'echo' or 'logprobs'"),
        ({"values": False}, 7, "it ignores 'echo' or 'logprobs'"),
    ],
)
def test_endpoints_that_would_be_scored_wrong(
    model: SmallLm, harness: Path, change: dict[str, Any], code: int, said: str
) -> None:
    for name, value in change.items():
        setattr(model, name, value)
    found = evaluate(model, harness, "choice")
    assert (found[0], said in " ".join(found[2].split())) == (code, True), found[2]
    assert not (harness.parent / "called").exists()


def test_a_beginning_token_is_told_to_the_harness(model: SmallLm, harness: Path) -> None:
    model.adds = 1
    assert evaluate(model, harness, "choice", "--tokenizer", "checkpoint")[0] == 0
    assert called(harness)[0][3].endswith("tokenizer=checkpoint,add_bos_token=True")


def test_what_cannot_be_run(model: SmallLm, harness: Path) -> None:
    def fails(code: int, said: str, *more: object) -> None:
        found = evaluate(model, harness, *more)
        assert (found[0], said in found[2]) == (code, True), found[2]

    fails(2, "there is no task")
    fails(2, "unknown --api 'x'", "text", "--api", "x")
    fails(2, "lm_eval has no task 'choise'", "choise")
    fails(8, "no such data set", "text", "--limit", 3)
    fails(2, "cannot be a directory for results: File exists", "text", "--out", harness)
    done = trtbuild("eval", "lm", "text", "--target", model.target, "--harness", "no_such_program")
    assert (done.returncode, "pip install 'lm-eval[api]" in done.stderr) == (2, True)
    done = trtbuild("eval", "lm", "text", "--target", "triton:grpc://127.0.0.1:1/m")
    assert (done.returncode, "start `trtbuild gateway` in front" in done.stderr) == (2, True)
