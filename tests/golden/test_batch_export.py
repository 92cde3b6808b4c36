"""The files that let a scheduler run a job: as recorded, and as strict schemas want them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command_line import trtbuild
from support.kubernetes import require_valid

GOLDEN = Path(__file__).parent / "batch-export"
RECIPE = """
jobs:
  refresh-docs:
    source: s3://bucket/docs/*.parquet
    out: s3://bucket/state
    target: http://gateway:9000/v1
    model: bge
    embed: text
    id: doc
    keep: [title]
    sink: qdrant:http://qdrant:6333#docs
    schedule: "0 3 * * 1-5"
    options: {max_removed: 0.2}
  summaries:
    source: [/data/rows.jsonl]
    out: /data/out
    target: triton:grpc://triton:8001/llama
    prompt: "@prompt.j2"
    schedule: "@daily"
    options: {max_tokens: 64, stop: ["\\n"], partition: auto/8}
"""
POD = ["--image", "registry/trtbuild:1", "--namespace", "jobs", "--secret", "keys"]
CASES = {
    "airflow.txt": ["airflow", "refresh-docs"],
    "argo.yaml": ["argo", "refresh-docs", *POD],
    "cron": ["cron", "refresh-docs"],
    "cronjob.yaml": ["cronjob", "refresh-docs", *POD],
    "cronjob-divided.yaml": ["cronjob", "summaries", *POD, "--volume", "documents:/data"],
}


@pytest.mark.parametrize("file", CASES)
def test_an_export_is_as_recorded(
    file: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "trtbuild.yaml").write_text(RECIPE)
    (tmp_path / "prompt.j2").write_text("Summarize in $(N) words:\n{{ text }}\n")
    done = trtbuild("batch", "export", *CASES[file], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    program = str(Path(sys.executable).with_name("trtbuild"))
    made = done.stdout.replace(str(tmp_path), "/project").replace(program, "/venv/bin/trtbuild")
    path = GOLDEN / file
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(made, encoding="utf-8")
    assert made == path.read_text(encoding="utf-8"), "python -m pytest … --update-golden"
    if file.endswith(".yaml"):
        for one in yaml.safe_load_all(made):
            require_valid(one, "1.33")
            for pod in _pods(one):
                require_valid(pod, "1.33")


def _pods(one: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of a CronWorkflow, which its own schema does not know."""
    if one["kind"] != "CronWorkflow":
        return []
    workflow = one["spec"]["workflowSpec"]
    shared = {name: workflow[name] for name in ("securityContext", "volumes")}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", **workflow["podMetadata"]},
            "spec": {**shared, "containers": [{"name": "a", **template["container"]}]},
        }
        for template in workflow["templates"]
    ]
