"""`trtbuild batch run --engine ray`: the partitions of a job as tasks of a real cluster."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.batch_jobs import rows_of, texts
from support.batch_server import BatchServer
from support.paths import ROOT
from trtbuild_batch.jobs import on_ray

Run = Callable[..., Any]
PROMPT = ("--prompt", "S: {{ text }}", "--engine", "ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Ray on this machine, as two nodes with a CPU each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="the extra `ray` is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "batch", ROOT / "src"))))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    found = utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    found.add_node(**node)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    # Ray listens at an address of this machine that is not the local one, which no test may call.
    monkeypatch.setattr(on_ray, "_knock", lambda _: None)
    try:
        yield found
    finally:
        found.shutdown()


@pytest.mark.nightly
def test_the_tasks_of_a_cluster_divide_the_job(
    run: Run, cluster: Any, tmp_path: Path, server: BatchServer
) -> None:
    server.decide = lambda text, _: 404 if text == "S: text 250" else 200
    path = texts(tmp_path / "rows.jsonl", 400)
    stopped = run(path, *PROMPT, "--part-rows", 20, "--ray-tasks", 4)
    assert stopped.returncode == 7
    assert "the job stopped: the target refuses every request" in stopped.stderr
    killed: list[int] = []

    def kill_one(_text: str, _times: int) -> float:
        if not killed:
            tasks = [one for one in psutil.process_iter(["name"]) if "_share" in one.name()]
            killed.extend(one.pid for one in tasks[:1])
            tasks[0].kill()
        return 0.01

    server.decide = kill_one
    done = run(path, *PROMPT, "--ray-tasks", 4, "--json")
    assert killed
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout)
    assert (end["rows"], end["done"], end["errors"]) == (400, 400, 0)
    assert "starting 4 tasks on 2 nodes of Ray" in done.stderr
    found = rows_of(tmp_path / "out")
    assert [row["row"] for row in found] == list(range(400))
    assert all(row["output"] == f"re: S: text {row['row']}" for row in found)
    refused = run(path, "--prompt", "T: {{ text }}", "--engine", "ray")
    assert refused.returncode == 2 and "has rows of another job" in refused.stderr


def test_what_a_cluster_cannot_do_is_refused(
    run: Run, tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = texts(tmp_path / "rows.jsonl", 3)
    for more, message in {
        ("--engine", "dask"): "unknown --engine 'dask'",
        ("--partition", "0/2"): "--partition and --engine ray exclude each other",
        ("--claim",): "--claim and --engine ray exclude each other",
        ("--new",): "--new and --engine ray exclude each other",
    }.items():
        done = run(path, *PROMPT, *more)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run(path, *PROMPT)
    assert done.returncode == 2 and "pip install 'trtbuild[batch,ray]'" in done.stderr
    assert not server.asked


@pytest.mark.nightly
def test_a_cluster_that_is_not_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    done = run(texts(tmp_path / "rows.jsonl", 3), *PROMPT)
    assert done.returncode == 7 and "there is no cluster of Ray" in done.stderr
