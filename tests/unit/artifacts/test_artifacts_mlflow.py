"""MLflow: a real server, and what is said without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.artifacts import CONFIG, WEIGHTS, lock_repository
from support.command_line import trtbuild
from support.paths import ROOT
from support.trees import snapshot
from support.waiting import wait_for
from trtbuild.process import free_ports, port_is_free
from trtbuild_artifacts.listing import LISTING_NAME

ENVIRONMENT = Path(os.environ.get("TRTBUILD_CLIENTS", ROOT / ".venv-clients"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An MLflow server with a database and a directory for files."""
    pytest.importorskip("mlflow")
    (port,) = free_ports(1)
    command = [
        str(ENVIRONMENT / "bin/python"), "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/m.db",
        "--artifacts-destination", f"{tmp_path}/artifacts",
    ]  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    wait_for(lambda: not port_is_free(port) or child.poll() is not None, seconds=300)
    yield
    family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]
    for each in family:
        each.terminate()
    psutil.wait_procs(family, timeout=60)


@pytest.mark.nightly
def test_versions_of_a_registered_model(server: None, repo: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    bench = tmp_path / "result.json"
    load = {"requests_per_s": 3.5, "output_tokens_per_s": None}
    bench.write_text(json.dumps({"targets": [{"name": "one", "loads": [load]}]}))
    url = "mlflow:chat@candidate"
    pushed = trtbuild("push", repo, url, "--benchmark", bench, "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["url"] == "mlflow:chat@1"
    first = snapshot(repo)

    client = MlflowClient()
    version = client.get_model_version_by_alias("chat", "candidate")
    run = client.get_run(version.run_id)
    assert run.data.params["one.builder"] == "torch"
    assert run.data.metrics == {"one.requests_per_s": 3.5}
    kept = {one.path for one in client.list_artifacts(version.run_id, "trtbuild")}
    assert kept == {"trtbuild/validate.json", "trtbuild/result.json"}

    assert trtbuild("tag", url, "--alias", "production").returncode == 0
    (repo / "one/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    assert trtbuild("push", repo, "mlflow:chat").returncode == 0
    target = tmp_path / "out"
    for url, wanted in (("mlflow:chat@production", first), ("mlflow:chat", snapshot(repo))):
        done = trtbuild("pull", url, target, "--json")
        assert done.returncode == 0, done.stderr
        found = snapshot(target)
        assert found.pop(LISTING_NAME) and found == wanted
    assert json.loads(done.stdout)["reused"] >= 2 * WEIGHTS

    for url, code, says in (
        ("mlflow:chat@nobody", 2, "does not exist"),
        ("mlflow:chat@99", 2, "does not exist"),
        ("mlflow:none", 2, "does not exist"),
    ):
        refused = trtbuild("pull", url, target)
        assert refused.returncode == code and says in refused.stderr
    reserved = trtbuild("tag", "mlflow:chat", "--alias", "v1")
    assert reserved.returncode == 2 and "cannot be an alias" in reserved.stderr


def test_without_a_server(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for url, says in (
        ("mlflow:chat", "MLFLOW_TRACKING_URI"),
        ("mlflow:chat@7", "numbers versions"),
        ("mlflow:chat@v1", "'v1' cannot be an alias in MLflow"),
        ("mlflow:chat@1.2", "'1.2' cannot be an alias in MLflow"),
    ):
        refused = trtbuild("push", repo, url)
        assert refused.returncode == 2 and says in refused.stderr
    refused = trtbuild("push", repo, "mlflow:chat", "--benchmark", "none.json")
    assert refused.returncode == 2 and "is not a result of trtbuild bench" in refused.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    refused = trtbuild("push", repo, "mlflow:chat")
    assert refused.returncode == 2 and "pip install 'trtbuild[mlflow]'" in refused.stderr
