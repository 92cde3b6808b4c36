"""Bad input of batch jobs: each has its message, its fix and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.batch_jobs import rows_of, texts, write_lines
from support.batch_server import BatchServer
from support.command_line import trtbuild
from trtbuild.signature.requests import GenerateRequest
from trtbuild.signature.sampling import Sampling
from trtbuild_batch.asking import RowError
from trtbuild_batch.asking.tasks import Prompt
from trtbuild_batch.inputs import Row

Run = Callable[..., Any]
PROMPT = ("--prompt", "S: {{ text }}")

REFUSED = {
    "no file": (["no.jsonl", *PROMPT], "no.jsonl does not exist"),
    "no match": (["*.pq", *PROMPT], "*.pq names no file"),
    "format": (["notes.txt", *PROMPT], "the format of {}/notes.txt is unknown"),
    "mixed": (["rows.jsonl", "rows.csv", *PROMPT], "the input mixes csv and jsonl"),
    "twice": (["rows.jsonl", "row*.jsonl", *PROMPT], "rows.jsonl is named twice"),
    "no JSON": (["bad.jsonl", *PROMPT], "none of the first 2 lines is a JSON object"),
    "no rows": (["empty.csv", *PROMPT], "the input has no rows"),
    "nothing": (["nothing.jsonl", *PROMPT], "the input has no rows"),
    "no task": (["rows.jsonl"], "nothing says what to ask about a row"),
    "two tasks": (["rows.jsonl", *PROMPT, "--embed", "text"], "--prompt and --embed exclude"),
    "column": (["rows.jsonl", "--embed", "txt"], "the input has no column 'txt'"),
    "variable": (["rows.jsonl", "--prompt", "{{ txet }}"], "did you mean 'text'?"),
    "no variable": (["rows.jsonl", "--prompt", "hello"], "the template has no variable"),
    "syntax": (["rows.jsonl", "--prompt", "{{ text"], "the template is invalid"),
    "template": (["rows.jsonl", "--prompt", "@no.j2"], "the template no.j2 cannot be read"),
    "id": (["twice.jsonl", *PROMPT, "--id", "id"], "the id 'a' is there twice"),
    "own name": (["twice.jsonl", "--embed", "id", "--keep", "row"], "has the name of a column"),
    "model": (["rows.jsonl", *PROMPT], "has no model 'mm'"),
    "key": (["rows.jsonl", *PROMPT, "--api-key-env", "NO_KEY"], "the variable NO_KEY is not set"),
    "partition": (["rows.jsonl", *PROMPT, "--partition", "4/4"], "'4/4' is not a partition"),
    "no model": (["rows.jsonl", *PROMPT], "nothing says which model of http://127.0.0.1:"),
    "no scheduler": (["rows.jsonl", *PROMPT, "--partition", "auto"], "'auto' is not a partition"),
    "home": (["~nobody-there/rows.jsonl", *PROMPT], "there is no known home directory for"),
    "scheme": (["ftp://x/rows.jsonl", *PROMPT], "unknown scheme 'ftp'"),
    "password": (["s3://key:word@b/r.jsonl", *PROMPT], "must not contain a key or a password"),
    "metrics": (["rows.jsonl", *PROMPT, "--metrics-url", "x"], "'x' is not a URL"),
    "setting": (["rows.jsonl", *PROMPT, "--param", "x"], "'x' is not a setting"),
    "messages": (
        ["rows.jsonl", *PROMPT, "--param", "messages=[]"],
        "the job itself sends 'messages'",
    ),
    "option": (["rows.jsonl", *PROMPT, "--param", "max_tokens=9"], "fix: use --max-tokens"),
    "parquet": (["bad.parquet", *PROMPT], "bad.parquet cannot be read as parquet"),
    "latin": (["latin.csv", "--prompt", "{{ a }}"], "cannot be read as csv: it is not UTF-8 text"),
}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    texts(tmp_path / "rows.jsonl", 3)
    write_lines(tmp_path / "sub.jsonl", []).rename(tmp_path / "bad.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    (tmp_path / "rows.csv").write_text("text\na\n")
    (tmp_path / "empty.csv").write_text("text\n")
    (tmp_path / "nothing.jsonl").write_text("")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xe4\n")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bad.jsonl").write_text("no\n[1]\n")
    write_lines(tmp_path / "twice.jsonl", [{"id": "a", "row": 1, "text": "x"}] * 2)
    return tmp_path


def test_what_cannot_be_is_refused_before_anything_is_written(
    run: Run, inputs: Path, server: BatchServer
) -> None:
    for name, (arguments, message) in REFUSED.items():
        done = run(*arguments, model={"model": "mm", "no model": ""}.get(name, "m"))
        expected = 7 if name == "model" else 2
        assert done.returncode == expected, (name, done.stderr)
        assert message.format(inputs) in done.stderr, (name, done.stderr)
        assert "fix: " in done.stderr and "Traceback" not in done.stderr, name
    assert not rows_of(inputs / "out")
    assert not server.asked


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ text * 10**10 }}", "more than 4194304 characters"),
        ("{{ text }}{{ 'a' * 10**10 }}", "more than 4194304 characters"),
        ("{{ text }}{{ 'a' | center(10000000000) }}", "more than 4194304 characters"),
        ("{{ n ** n ** n }}", "numbers of more than 4096 bits"),
        ("{{ text ~ null }}", "a value is null"),
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ '%0999999999d' % n }}", "wider than a million characters"),
    ],
)
def test_a_row_that_a_template_cannot_take_has_an_error(template: str, why: str) -> None:
    row = Row(0, {"text": "a", "n": 99, "null": None})
    prompt = Prompt(template, Sampling())
    prompt.check(["text", "n", "null", "missing"])
    with pytest.raises(RowError, match=f"the template cannot be filled: .*{why}"):
        prompt.question(row)


def test_a_template_of_ones_own_keeps_its_lines_and_may_be_long() -> None:
    book = "b" * (1 << 20)
    template = "A\n{% if text %}\n  {{ text }}\n{% endif %}\n" + book + "{{ [text] | tojson }}"
    asked = Prompt(template, Sampling(), raw=True).question(Row(0, {"text": "<é>"}))
    assert asked == GenerateRequest(f'A\n\n  <é>\n\n{book}["<é>"]', Sampling())


@pytest.mark.parametrize(
    "target", ["m", "triton:grpc://127.0.0.1:1/m", "openai:http://127.0.0.1:1/v1#m"]
)
def test_a_target_that_is_not_there(target: str, inputs: Path) -> None:
    given = ["rows.jsonl", "-o", "out", "--target", target, *PROMPT]
    done = trtbuild("batch", "run", *given, cwd=inputs)
    assert done.returncode == (2 if target == "m" else 7), done.stderr
    assert "no running server has the model 'm'" in done.stderr or "nothing answers" in done.stderr
    assert not (inputs / "out").exists()


def test_two_jobs_are_never_mixed(run: Run, inputs: Path) -> None:
    assert run("rows.jsonl", *PROMPT).returncode == 0
    changed = [
        (["--prompt", "T: {{ text }}"], 'prompt: was "S: {{ text }}", is now "T: {{ text }}"'),
        ([*PROMPT, "--temperature", 0.5], "temperature: was null, is now 0.5"),
        ([*PROMPT, "--keep", "text"], 'keep: was [], is now ["text"]'),
    ]
    for more, message in changed:
        done = run("rows.jsonl", *more)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    texts(inputs / "rows.jsonl", 4)
    done = run("rows.jsonl", *PROMPT)
    assert done.returncode == 2 and "rows.jsonl has changed" in done.stderr
    assert len(rows_of(inputs / "out")) == 3
    assert run("rows.jsonl", *PROMPT, "--new").returncode == 0
    assert len(rows_of(inputs / "out")) == 4


def test_a_directory_of_something_else_is_left_alone(run: Run, inputs: Path) -> None:
    done = run("rows.jsonl", *PROMPT, out=".")
    assert done.returncode == 2 and "is not empty, and has no job" in done.stderr
    (inputs / "damaged").mkdir()
    (inputs / "damaged/_job.json").write_text("{}")
    done = run("rows.jsonl", *PROMPT, out="damaged")
    assert done.returncode == 5 and "_job.json is damaged" in done.stderr


def test_a_target_that_fails_does_not_burn_the_rows(
    run: Run, inputs: Path, server: BatchServer
) -> None:
    texts(inputs / "rows.jsonl", 2000)
    server.decide = lambda _text, _times: 400
    done = run("rows.jsonl", *PROMPT, "--concurrency", 4)
    assert done.returncode == 7
    assert "calls failed" in done.stderr and "refused: 400: scripted 400" in done.stderr
    assert sum(server.asked.values()) <= 60
    server.decide = lambda _text, _times: "drop"
    done = run("rows.jsonl", *PROMPT, "--patience", 0)
    assert done.returncode == 7 and "the target has not answered for" in done.stderr
    assert json.loads((inputs / "out/_job.json").read_text())["part_rows"] == 10000


def test_without_pyarrow_the_extra_is_named(
    inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inputs / "out").mkdir()
    (inputs / "out/_job.json").write_text("{}")  # a directory without a job needs no pyarrow
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for done in (run("rows.jsonl", *PROMPT), trtbuild("batch", "status", "out", cwd=inputs)):
        assert done.returncode == 2 and "pip install 'trtbuild[batch]'" in done.stderr
