"""Logs: levels, noise, and the reason of a failed start, from lines real servers wrote."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.command_line import trtbuild
from trtbuild.cli.output import say_note
from trtbuild.cli.server_view import say_started
from trtbuild.jsonlog import VARIABLE
from trtbuild.server import ServerHandle, logs
from trtbuild.server.log_json import as_json

TRITON = 'I1121 03:57:05.983698 5945 model_lifecycle.cc:472] "loading: echo:1"'
VLLM = "(EngineCore pid=25319) INFO 11-21 05:10:57 [core.py:402] init engine took 45.78 s"
FAILED = (
    "E1121 03:57:14.647784 6045 model_lifecycle.cc:642] \"failed to load 'bad' version 1: "
    'Internal: ValueError: the weights\\nare cursed\\n\\nAt:\\n  /r/model.py(4): initialize\\n"'
)
POLL = (
    'E1121 04:00:00.000000 1 model_repository_manager.cc:1460] "Poll failed for model directory '
    "'stray': failed to open text file for read /r/stray/config.pbtxt: No such file\""
)
POINTER = (
    "E1121 05:29:01.225623 5423 model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: "
    "TritonModelException: vLLM did not start: RuntimeError: Engine core initialization failed. "
    'See root cause above."'
)
CAUSE = (
    "(EngineCore pid=9) ERROR 11-21 05:29:00 [core.py:1] ValueError: no room for the KV cache\n"
    "(MainProcess pid=7) ERROR 11-21 05:29:01 [x.py:1] RuntimeError: Engine core initialization "
    "failed. See root cause above."
)


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "server.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_triton_and_vllm_lines_are_read() -> None:
    line = logs.parse(TRITON)
    assert (line.level, line.time, line.source) == ("info", "03:57:05", "model_lifecycle.cc")
    assert line.message == "loading: echo:1"
    line = logs.parse(VLLM)
    assert (line.level, line.time, line.message) == ("info", "05:10:57", "init engine took 45.78 s")


def test_other_lines_have_no_level() -> None:
    line = logs.parse("  File model.py, line 3")
    assert (line.level, line.message, line.noise) == ("", "  File model.py, line 3", False)


@pytest.mark.parametrize(
    "text",
    [
        'E1121 03:57:05.9 5945 server.cc:241] "CudaDriverHelper has not been initialized."',
        'W1121 03:57:06.2 5945 metrics.cc:798] "DCGM unable to start: DCGM initialization error"',
        "Error: Failed to initialize NVML",
        "+-------+---------+--------+",
        "| echo  | 1       | READY  |",
        "I1121 03:57:06.208568 5945 server.cc:674] ",
        "",
    ],
)
def test_noise_of_a_machine_without_gpu(text: str) -> None:
    assert logs.parse(text).noise


def test_an_error_of_a_model_is_no_noise() -> None:
    assert not logs.parse(FAILED).noise


@pytest.mark.parametrize(
    ("lines", "reasons"),
    [
        ([TRITON, FAILED, "error: creating server"], ["bad: ValueError: the weights are cursed"]),
        ([POLL], ["stray: failed to open text file for read /r/stray/config.pbtxt: No such file"]),
        ([CAUSE, POINTER], ["m: ValueError: no room for the KV cache"]),
        ([TRITON, "docker: no such image"], ["docker: no such image"]),
        (
            ["error: failed to start HTTP service: Unavailable - Socket in use"],
            ["error: failed to start HTTP service: Unavailable - Socket in use"],
        ),
    ],
)
def test_why_it_failed(tmp_path: Path, lines: list[str], reasons: list[str]) -> None:
    assert list(logs.failure_reasons(written(tmp_path, *lines))) == reasons


def test_no_log_gives_no_reason(tmp_path: Path) -> None:
    assert logs.failure_reasons(tmp_path / "none") == ()


def test_a_follower_gives_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower = logs.Follower(path)
    assert list(follower.lines()) == []
    path.write_bytes(b"eins\nzw")
    assert list(follower.lines()) == ["eins"]
    with path.open("ab") as stream:
        stream.write("ölf\n".encode()[:2])
    assert list(follower.lines()) == []
    with path.open("ab") as stream:
        stream.write("ölf\n".encode()[2:])
    assert list(follower.lines()) == ["zwölf"]


def test_a_follower_goes_on_in_a_log_that_was_emptied(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before it was rotated\nha")
    follower = logs.Follower(path)
    assert list(follower.lines()) == ["before it was rotated"]
    path.write_bytes(b"after\n")
    assert list(follower.lines()) == ["after"]


def test_of_a_large_log_only_the_end_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_TAIL", 1000)
    monkeypatch.setattr(logs, "_CHUNK", 7)
    path = written(tmp_path, *["old"] * 1000, FAILED)
    assert logs.failure_reasons(path) == ("bad: ValueError: the weights are cursed",)
    assert len(list(logs.Follower(path).lines())) == 1001


def test_a_line_of_a_day_that_does_not_exist_has_no_moment() -> None:
    for text in ("2026-99-01T00:00:00Z I 1 a.cc:1] x", "I9999 99:99:99.9 1 a.cc:1] x"):
        assert logs.moment(text, datetime.now(UTC)) is None


def test_following_ends_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n", encoding="utf-8")
    over = threading.Event()

    def finish() -> None:
        time.sleep(0.1)
        with path.open("a", encoding="utf-8") as stream:
            stream.write("two\n")
        over.set()

    threading.Thread(target=finish).start()
    assert list(logs.follow(path, over.is_set, poll=0.02)) == ["one", "two"]


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SHOWN = "2026-11-30T12:00:00.000+00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'I1129 18:27:24.524766 3329 server.cc:345] "two \\"words\\""',
            ("2026-11-29T18:27:24.524+00:00", "info", "triton", 'two "words"', "server.cc"),
        ),
        (
            "F1231 23:00:00.5 7 server.cc:1] gone",
            ("2025-12-31T23:00:00.500+00:00", "critical", "triton", "gone", "server.cc"),
        ),
        (
            '2026-11-29T18:27:24Z E 12 model.cc:4] "x"',
            ("2026-11-29T18:27:24.000+00:00", "error", "triton", "x", "model.cc"),
        ),
        ("printed by a model", (SHOWN, "info", "output", None, None)),
        (
            "W0229 10:00:00.1 1 a.cc:1] x",
            (SHOWN, "warning", "triton", "x", "a.cc"),
        ),
    ],
)
def test_a_line_is_json_as_the_gateway_writes_it(
    text: str, expected: tuple[str | None, ...]
) -> None:
    made = json.loads(as_json(text, NOW))
    time, level, logger, message, source = expected
    assert (made["time"], made["level"], made["logger"]) == (time, level, logger)
    assert made["message"] == (message or text)
    assert made.get("source") == source


def test_a_request_keeps_its_id() -> None:
    line = 'E1129 18:27:24.5 7 infer_response.cc:1] "[request id: abc-1] failed"'
    assert json.loads(as_json(line, NOW))["request_id"] == "abc-1"
    assert "request_id" not in json.loads(as_json(line.replace("abc-1", "<id_unknown>"), NOW))


def test_a_command_logs_its_steps_and_its_error_as_json(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    done = trtbuild("serve", tmp_path / "models", "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 6
    assert {line["logger"] for line in lines} == {"trtbuild"}
    assert lines[-1]["level"] == "error"
    assert lines[-1]["fix"]
    named = trtbuild("validate", tmp_path / "absent", env={**os.environ, VARIABLE: "json"})
    assert json.loads(named.stderr)["level"] == "error"


def test_a_server_in_the_background_is_told_in_the_logs_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = ServerHandle(
        *("abc123", "local", os.getpid(), 0.0, "127.0.0.1", 8000, 8001, 8002, "log", "repo"), ("m",)
    )
    plan: Any = SimpleNamespace(
        choice=SimpleNamespace(why="found"),
        contents=SimpleNamespace(served={}),
        options=SimpleNamespace(rehearsal=None),
    )
    looking = {"metrics": "http://127.0.0.1:9090/graph"}
    say_started(handle, plan, looking, "trtbuild stop abc123")
    said = capsys.readouterr().err
    assert "m ready (local: found)" in said
    assert said.endswith("  metrics: http://127.0.0.1:9090/graph\n  trtbuild stop abc123\n")
    monkeypatch.setenv(VARIABLE, "json")
    say_started(handle, plan, looking, "trtbuild stop abc123")
    say_note("no traces")
    ready, note = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ready["message"], ready["observe"], ready["server"]["id"]) == (
        "ready", looking, "abc123"
    )  # fmt: skip
    assert (note["level"], note["message"]) == ("warning", "no traces")
