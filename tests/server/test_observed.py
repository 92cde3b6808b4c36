"""``serve --observe``: Prometheus and a collector beside the real server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from support.command_line import trtbuild
from support.live_models import write_llm
from support.prometheus import program
from support.waiting import wait_for, wait_for_end
from trtbuild import lockfile
from trtbuild.lockfile import Lock, LockedModel
from trtbuild.modelspec import SourceRef


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", f"{program('prometheus').parent}:{os.environ['PATH']}")
    yield
    trtbuild("stop", "--all")


def locked(repo: Path, **images: str) -> None:
    """A lock for models that somebody else wrote, each with the suffix of its image."""
    models = {
        name: LockedModel(
            source=SourceRef("local", name),
            builder="onnx",
            triton="24.10",
            image=f"nvcr.io/nvidia/tritonserver:24.10-{image}",
            key="key",
            directories=(name,),
            settings={},
            files={},
        )
        for name, image in images.items()
    }
    lockfile.write(repo, Lock(models))


def test_a_server_is_observed_and_nothing_stays(tmp_path: Path, prometheus: None) -> None:
    write_llm(tmp_path / "models", "m")
    locked(tmp_path / "models", m="py3")
    words = ("serve", tmp_path / "models", "--mode", "embedded", "--port", "auto")
    done = trtbuild(*words, "--observe", "--detach", "--json", "--no-validate")
    assert done.returncode == 0, done.stderr
    started = json.loads(done.stdout)
    looking = started["observe"]
    assert set(looking) == {"traces", "metrics", "alerts"}
    base = "http://" + urlsplit(looking["metrics"]).netloc
    assert urlsplit(base).hostname == "127.0.0.1"

    def asked(path: str) -> Any:
        return httpx.get(f"{base}/api/v1/{path}", timeout=60).json()["data"]

    url = f"http://127.0.0.1:{started['http_port']}/v2/models/m/generate_stream"
    assert (
        httpx.post(url, json={"text_input": "x", "max_tokens": 3}, timeout=180).status_code == 200
    )
    wait_for(lambda: [one["health"] for one in asked("targets")["activeTargets"]] == ["up"])
    wait_for(lambda: asked("query?query=nv_inference_request_success")["result"])
    groups = asked("rules")["groups"]
    alerts = {one["name"] for group in groups for one in group["rules"]}
    assert "TritonEngineDead" in alerts
    log = Path(looking["traces"])
    wait_for(lambda: "InferRequest" in log.read_text())

    marked = [one for one in psutil.process_iter() if is_beside(one, started["id"])]
    assert len(marked) >= 3
    stopped = trtbuild("stop", started["id"])
    assert stopped.returncode == 0, stopped.stderr
    wait_for_end(marked)
    assert not log.parent.exists()


def is_beside(found: psutil.Process, mark: str) -> bool:
    try:
        return found.environ().get("TRTBUILD_SERVER_ID") == mark
    except psutil.Error:
        return False


def test_what_is_missing_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_llm(tmp_path / "models", "m")
    words = ("serve", tmp_path / "models", "--mode", "embedded", "--observe", "--no-validate")
    no_lock = trtbuild(*words, "--dry-run")
    assert no_lock.returncode == 6
    assert "trtbuild.lock" in no_lock.stderr
    # The embedded server serves models of several images, so they are observed together.
    write_llm(tmp_path / "models", "n")
    locked(tmp_path / "models", m="py3", n="vllm-python-py3")
    monkeypatch.setenv("PATH", str(tmp_path))
    noted = trtbuild(*words, "--dry-run")
    assert noted.returncode == 0, noted.stderr
    assert "no metrics: prometheus is not installed" in noted.stderr
    assert "--trace-config=opentelemetry,url=http://127.0.0.1:" in noted.stdout
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    nothing = trtbuild(*words, "--dry-run")
    assert nothing.returncode == 4
    assert "neither Prometheus nor a collector is installed" in nothing.stderr
