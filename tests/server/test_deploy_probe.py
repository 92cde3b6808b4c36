"""The probe against a real server: healthy, busy, hung and dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import triton
from support.models import write_python_model
from trtbuild_deploy.resources import data_file

SLOW = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.2)
        texts = [pb_utils.get_input_tensor_by_name(r, "TEXT").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SAID", text)]) for text in texts]
"""
BODY = {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    """A server with one model of one instance, which answers after 0.2 seconds."""
    work = tmp_path_factory.mktemp("probe")
    write_python_model(work / "repository", "slow", SLOW)
    with triton.serving(work / "repository", work, "--exit-timeout-secs=1") as found:
        yield found


def probe(server: triton.Triton, folder: Path, **changes: Any) -> int:
    """Its exit code."""
    request = {"model": "slow", "path": "/v2/models/slow/infer", "body": BODY}
    config = {
        "url": f"http://{server.http}",
        "metrics": f"http://127.0.0.1:{server.metrics_port}/metrics",
        "timeout": 5,
        "requests": [{**request, "progress": "nv_inference_exec_count"}],
        **changes,
    }
    (folder / "probe.json").write_text(json.dumps(config))
    command = [sys.executable, str(data_file("chart/files/probe.py")), "live"]
    done = subprocess.run(
        [*command, f"--config={folder}/probe.json"],
        env={**os.environ, "TMPDIR": str(folder)},
        check=False,
        timeout=300,
    )
    return done.returncode


def says_ready(server: triton.Triton) -> bool:
    url = f"http://{server.http}/v2/models/slow/ready"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bool(answer.status == 200)


def ask(server: triton.Triton) -> None:
    url = f"http://{server.http}/v2/models/slow/infer"
    with urllib.request.urlopen(url, json.dumps(BODY).encode(), timeout=300) as answer:
        answer.read()


def test_the_probe_tells_the_states_apart(server: triton.Triton, tmp_path: Path) -> None:
    """In one test, because a killed stub is the end of the server's model."""
    assert probe(server, tmp_path, timeout=60) == 0

    clients = [threading.Thread(target=ask, args=(server,)) for _ in range(40)]
    for client in clients:
        client.start()
    # its own request waits for eight seconds' work of others
    assert probe(server, tmp_path, timeout=4) == 0
    for client in clients:
        client.join()

    (stub,) = (one for one in server.children() if "python_backend_stub" in one.name())
    os.kill(stub.pid, signal.SIGSTOP)
    probe(server, tmp_path, timeout=1)  # the counter moved since the call before
    assert probe(server, tmp_path, timeout=1) == 1
    assert says_ready(server)  # and so does /v2/health/ready

    os.kill(stub.pid, signal.SIGKILL)
    assert probe(server, tmp_path) == 1
