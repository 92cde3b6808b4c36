"""The guard of an engine's processes: they end with the process that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from support.waiting import wait_for_end
from trtbuild.resources import template_dir

# What a stub does: a guard, then an engine in a session of its own, then work.
_STUB = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
import backend_guard
backend_guard._NOTE_SECONDS = 0.1
guard = backend_guard.Guard()
with guard.noting():
    engine = subprocess.Popen(["sh", "-c", "exec sleep 600"], start_new_session=True)
    time.sleep(0.3)
forked = os.fork()
if not forked:
    time.sleep(600)
guard.note()
guard.note()
print(engine.pid, forked, flush=True)
sys.stdin.readline()
guard.close()
"""


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_an_engine_and_a_fork_end_with_their_stub(how: str) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    stub = subprocess.Popen(
        [sys.executable, "-c", _STUB, str(template_dir("backends", "vllm"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stub.stdout is not None and stub.stdin is not None
    engine, fork = (psutil.Process(int(pid)) for pid in stub.stdout.readline().split())
    family = psutil.Process(stub.pid).children(recursive=True)
    try:
        assert {engine, fork} <= set(family)
        if how == "killed":
            stub.send_signal(signal.SIGKILL)
        else:
            stub.stdin.write("\n")
            stub.stdin.flush()
        stub.wait(60)
        wait_for_end(family)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        stub.stdin.close()
        stub.stdout.close()


# A server whose stub holds Python's lock in a call that nobody will answer: sleep by ctypes.
_SERVER = """
import subprocess, sys, time
stub = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], stdout=subprocess.PIPE)
print(stub.pid, int(stub.stdout.readline()), flush=True)
time.sleep(600)
"""
_HUNG = """
import ctypes, subprocess, sys
sys.path.insert(0, sys.argv[1])
import backend_guard
backend_guard._LOOK_SECONDS = backend_guard._GRACE_SECONDS = 0.1
guard = backend_guard.Guard()
engine = subprocess.Popen(["sh", "-c", "exec sleep 600"], start_new_session=True)
guard.note()
print(engine.pid, flush=True)
ctypes.PyDLL(None).sleep(600)
"""


def test_a_stub_that_waits_for_a_dead_server_is_ended_with_its_engine() -> None:
    folder = str(template_dir("backends", "vllm"))
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, folder, _HUNG], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    stub, engine = (psutil.Process(int(pid)) for pid in server.stdout.readline().split())
    time.sleep(0.5)  # the guard looks, and leaves a stub with a server alone
    assert stub.is_running() and engine.is_running()
    family = psutil.Process(server.pid).children(recursive=True)
    server.kill()
    server.wait(60)
    server.stdout.close()
    wait_for_end(family)
