"""Connections that a process may have open: lifted, kept below the limit, waited for."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from support.bench import mock, tokenizer_folder
from support.mock_llm_server import Script, serving_here
from trtbuild.wire.failures import DroppedError
from trtbuild.wire.pool import Pool

BODY = json.dumps({"messages": [{"role": "user", "content": "x"}], "stream": True}).encode()


def limited(files: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """A program that may have ``files`` files open and cannot lift that."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    return subprocess.run(
        [sys.executable, *argv],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
    )


@pytest.mark.parametrize(("files", "allowed"), [(1000, 744), (260, 16)])
def test_some_files_are_kept_for_what_is_no_connection(files: int, allowed: int) -> None:
    code = "from trtbuild.wire.sockets import connections_allowed as c; print(c())"
    assert limited(files, "-c", code).stdout == f"{allowed}\n"


def test_the_soft_limit_is_lifted_to_the_hard_one() -> None:
    code = """
import resource
from trtbuild.wire.sockets import connections_allowed
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 900))
print(connections_allowed(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert limited(1000, "-c", code).stdout == "644 900 900\n"


def test_who_finds_all_in_use_waits_for_one() -> None:
    async def both() -> tuple[bool, bool, int]:
        async with serving_here(Script(first_ms=1, pieces=("a",))) as server:
            pool = Pool(f"http://127.0.0.1:{server.port}", limit=1)
            taken = await pool.take()
            waiting = asyncio.ensure_future(pool.take())
            await asyncio.sleep(0.01)
            full, waits = pool.full, not waiting.done()
            pool.give(taken)
            assert await waiting is taken
            pool.give(taken)
            pool.close()
            return full, waits, server.requests

    assert asyncio.run(both()) == (True, True, 0)


def test_a_failed_request_gives_its_place_back() -> None:
    async def again() -> None:
        async with serving_here(
            Script(first_ms=1, pieces=("a",), fault="drop", every_nth=1)
        ) as server:
            pool = Pool(f"http://127.0.0.1:{server.port}", limit=1)
            for _ in range(3):
                with pytest.raises(DroppedError):
                    await pool.fetch(pool.request("POST", "/v1/chat/completions", BODY))
            assert not pool.full
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await pool.take()
        assert not pool.full

    asyncio.run(asyncio.wait_for(again(), 180))


@pytest.mark.slow
def test_a_flood_beyond_the_limit_is_measured_and_told(tmp_path: Path) -> None:
    """272 files are 16 connections of 500 ms: 32 requests a second, whatever the rate."""
    tokenizer = tokenizer_folder(tmp_path / "tokenizer")
    with mock(first_ms=500, pieces=("a",), completion_tokens=1) as url:
        argv = ["-m", "trtbuild", "bench", f"openai:{url}#mock", "--tokenizer", str(tokenizer)]
        argv += ["--rate", "200", "--requests", "80", "--warmup", "0", "--json"]
        done = limited(272, *argv)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    load = result["targets"][0]["loads"][0]
    assert load["requests"]["ok"] == 80
    assert load["client"]["waited_for_connection"] >= 32
    assert load["limited_by"]["what"] == "client"
    assert load["metrics"]["client_queue_ms"]["max"] > 500
    assert any("all connections that this process may open" in text for text in result["warnings"])
