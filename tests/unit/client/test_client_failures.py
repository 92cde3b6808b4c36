"""What people read when a server is not there, not theirs, or says no."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.ports import refusing
from support.scripted_http import answer, scripted
from trtbuild.cli.app import app
from trtbuild.client import (
    AsyncLLMClient,
    LLMClient,
    NotServedError,
    wait_ready,
)
from trtbuild.client.failures import refused, timed_out, unknown_model
from trtbuild.errors import ExitCode, ServerError, TrtbuildError
from trtbuild.server_records import find_server, running_servers, server_of


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with refusing() as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_server(nobody: str, protocol: str) -> None:
    with (
        LLMClient(nobody, protocol) as client,  # type: ignore[arg-type]
        pytest.raises(ServerError) as error,
    ):
        client.answer("m", "hi")
    assert error.value.what == f"nothing answers at {nobody}"
    assert "trtbuild serve" in error.value.fix


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_address_with_https_is_asked_by_tls(protocol: str) -> None:
    first: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.append(await reader.read(1))
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with AsyncLLMClient(f"https://{host}:{port}", protocol) as client:  # type: ignore[arg-type]
                with pytest.raises(ServerError):
                    await client.models()

    asyncio.run(ask())
    assert set(first) == {b"\x16"}  # a handshake


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_breaks_off(protocol: str) -> None:
    async def ask() -> TrtbuildError:
        async with scripted(["close"]) as server, AsyncLLMClient(server.url, protocol) as client:  # type: ignore[arg-type]
            with pytest.raises(ServerError) as error:
                await client.describe("m")
        return error.value

    error = asyncio.run(ask())
    assert error.what.startswith(("the answer from 127.0.0.1:", "nothing answers at 127.0.0.1:"))
    assert error.fix


def test_a_model_that_the_server_does_not_have() -> None:
    refusal = answer(b'{"error": "Request for unknown model: \'smolm2\' is not found"}', 400)
    index = answer(b'[{"name": "smollm2", "state": "READY"}, {"name": "x"}]')

    async def ask() -> TrtbuildError:
        async with (
            scripted([refusal], [index]) as server,
            AsyncLLMClient(server.url, "http") as client,
        ):
            with pytest.raises(NotServedError) as error:
                await client.describe("smolm2")
        return error.value

    error = asyncio.run(ask())
    assert error.where == "it serves smollm2"
    assert error.fix == "did you mean 'smollm2'?"


def test_the_nearest_model_is_named() -> None:
    error = unknown_model("h:1", "smolm2", ["llama", "smollm2"])
    assert error.what == "the server at h:1 has no model 'smolm2'"
    assert error.where == "it serves llama, smollm2"
    assert error.fix == "did you mean 'smollm2'?"
    assert "no model at all" in unknown_model("h:1", "x", []).where


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 512 tokens. However, …",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "Prompt length (600) exceeds maximum input length (512): max_input_len",
    ],
)
def test_a_prompt_that_is_too_long_has_a_mend(message: str) -> None:
    error = refused("m", message)
    assert error.what == "the prompt is longer than 'm' can take"
    assert "--set max_model_len" in error.fix


def test_other_refusals_are_on_one_line() -> None:
    assert refused("m", "bad\n  thing").what == "'m' refused the request: bad thing"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("KeyError: 'x'\n\nAt:\n  /models/m/1/model.py(9): execute\n", "KeyError: 'x'"),
        (
            "Assertion failed: too long (/app/cpp/runtime/x.cpp:149)\n1       0x7f3a4b5c6d7e "
            "/opt/tritonserver/backends/tensorrtllm/libx.so(+0x17)\n2       0x7f3a4b5c6d7f y + 9",
            "Assertion failed: too long",
        ),
        (
            'it failed: Traceback (most recent call last):\n  File "/models/m/1/model.py", line 9, '
            "in execute\n    raise ValueError('no')\nValueError: no\n",
            "it failed: ValueError: no",
        ),
        ("got dims (2, 3) but (/etc/x) is a path", "got dims (2, 3) but (/etc/x) is a path"),
    ],
)
def test_a_refusal_names_no_file_of_the_servers_code(message: str, said: str) -> None:
    assert refused("m", message).what == f"'m' refused the request: {said}"
    assert "--timeout" in timed_out("h:1", 2.5).fix


def test_wait_ready_gives_up_in_time_or_when_more_is_known(nobody: str) -> None:
    with pytest.raises(ServerError, match=r"'m' did not become ready within 0\.3 s"):
        wait_ready(nobody, ["m"], 0.3)

    def dead() -> None:
        raise ServerError("the server died: out of memory")

    with pytest.raises(ServerError, match="out of memory"):
        wait_ready(nobody, ["m"], 60, watch=dead)


def record(folder: Path, name: str, pid: int, models: list[str], port: int) -> Path:
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps(
            {
                "id": name, "pid": pid, "http_port": port, "grpc_port": port + 1,
                "metrics_port": port + 2, "repo": "/r", "models": models, "host": "127.0.0.1",
            }
        )
    )  # fmt: skip
    return path


def test_the_newest_living_server_of_a_model_is_found(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    record(tmp_path, "dead", ended.pid, ["a", "b"], 1000)
    old = record(tmp_path, "old", os.getpid(), ["a", "b"], 2000)
    os.utime(old, (1, 1))
    record(tmp_path, "new", os.getpid(), ["a"], 3000)
    (tmp_path / "broken.json").write_text("{")
    assert [server.id for server in running_servers(tmp_path)] == ["new", "old"]
    found = find_server("a", tmp_path)
    assert found is not None
    assert (found.url("grpc"), found.url("http")) == ("127.0.0.1:3001", "127.0.0.1:3000")
    assert find_server("b", tmp_path) == running_servers(tmp_path)[1]
    assert find_server("c", tmp_path) is None
    assert running_servers(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    "changed",
    [{"pid": 0}, {"pid": -1}, {"pid": 2**70}, {"pid": math.inf}, {"models": 1}, {"started": 1.0}],
)
def test_a_record_of_no_running_server_is_skipped(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    path = record(tmp_path, "one", os.getpid(), ["a"], 2000)
    (tmp_path / "removed.json").symlink_to(tmp_path / "just now")
    assert len(running_servers(tmp_path)) == 1
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert running_servers(tmp_path) == ()


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "127.0.0.1:2001"), ("::", "[::1]:2001"), ("::1", "[::1]:2001")]
)
def test_a_server_is_asked_at_an_address_that_a_url_can_have(
    tmp_path: Path, host: str, url: str
) -> None:
    path = record(tmp_path, "one", os.getpid(), ["a"], 2000)
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": host}))
    assert [one.url("grpc") for one in running_servers(tmp_path)] == [url]


def test_a_repository_may_be_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    record(tmp_path, "one", os.getpid(), ["a"], 2000)
    assert server_of(tmp_path / "loop", tmp_path) is None


def infer(*arguments: str, text: bytes | None = None) -> TrtbuildError:
    """The error of a failing ``trtbuild infer``."""
    result = CliRunner().invoke(app, ["infer", *arguments], input=text)
    assert isinstance(result.exception, TrtbuildError), result.output
    assert result.stdout == ""
    return result.exception


def test_infer_refuses_a_prompt_that_is_not_utf8(nobody: str) -> None:
    error = infer("m", "-p", "-", "--url", nobody, text=b"\xff\xfe")
    assert error.exit_code == ExitCode.USAGE
    assert "not valid UTF-8" in error.what


def test_infer_without_a_server_has_exit_code_7(nobody: str) -> None:
    error = infer("m", "-p", "hi", "--url", nobody)
    assert error.exit_code == ExitCode.SERVER


def test_infer_knows_its_protocols() -> None:
    error = infer("m", "-p", "hi", "--protocol", "smtp")
    assert error.exit_code == ExitCode.USAGE
    assert "grpc" in error.fix


def test_infer_chat_without_weights_says_how_to_go_on() -> None:
    error = infer("m", "-p", "hi", "--chat")
    assert error.exit_code == ExitCode.USAGE
    assert "--chat-template" in error.fix
