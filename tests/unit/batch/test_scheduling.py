"""Jobs of `trtbuild.yaml`: run by name, and by the files that `trtbuild batch export` writes."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from support.batch_jobs import rows_of, texts
from support.batch_server import BatchServer
from support.command_line import trtbuild
from support.paths import ROOT

AIRFLOW = Path(os.environ.get("TRTBUILD_AIRFLOW", ROOT / ".venv-airflow")) / "bin/airflow"
HOSTILE = "Say: {{ text }} {{ '{% endraw %}' }} $(HOME) `x` 100% '''\\\" é 😀"
Declare = Callable[..., Path]


@pytest.fixture
def declare(server: BatchServer, tmp_path: Path) -> Declare:
    """Writes ``trtbuild.yaml`` with the job ``nightly``, in the directory ``project``."""

    def write(**keys: Any) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        texts(folder / "rows.jsonl", 5)
        job = {"source": "rows.jsonl", "out": "out", "target": server.url, "model": "m", **keys}
        given = {name: value for name, value in job.items() if value is not None}
        path = folder / "trtbuild.yaml"
        path.write_text(yaml.safe_dump({"jobs": {"nightly": given}}, allow_unicode=True))
        return path

    return write


def run(file: Path, *more: object) -> Any:
    return trtbuild("batch", "run", "--job", "nightly", "--file", file, *more)


def export(kind: str, file: Path, *more: object) -> Any:
    return trtbuild("batch", "export", kind, "nightly", "--file", file, *more)


def test_a_job_is_run_by_its_name(declare: Declare, server: BatchServer) -> None:
    file = declare(prompt="@task.j2", keep=["text"], options={"max_tokens": 7, "stop": ["\n"]})
    (file.parent / "task.j2").write_text("S: {{ text }}")
    done = run(file, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 5
    assert [row["output"] for row in rows_of(file.parent / "out")][:1] == ["re: S: text 0"]
    assert (server.bodies[0]["max_tokens"], server.bodies[0]["stop"]) == (7, ["\n"])
    assert run(file).returncode == 0 and len(server.bodies) == 5  # nothing to do
    assert run(file, "--new").returncode == 0 and len(server.bodies) == 10

    file = declare(prompt="S: {{ text }}", out="out/{date}")
    assert run(file).returncode == 0
    (dated,) = (path for path in (file.parent / "out").iterdir() if path.is_dir())
    assert date.fromisoformat(dated.name) and len(rows_of(dated)) == 5

    file = declare(embed="text", id="id", out="state", sink="vectors.parquet")
    done = run(file)
    assert done.returncode == 0 and "5 new" in done.stdout, done.stderr
    assert pq.read_table(file.parent / "vectors.parquet").num_rows == 5
    assert json.loads(run(file, "--new", "--json").stdout)["generation"] == 2


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no target": ({"target": None}, "'jobs.nightly.target' is missing"),
    "key": ({"shedule": "x"}, "unknown key 'jobs.nightly.shedule': did you mean 'schedule'?"),
    "type": ({"out": 5}, "'jobs.nightly.out' must be a valid string, not number 5"),
    "few fields": ({"schedule": "0 3 * *"}, "has 4 fields instead of 5"),
    "hour": ({"schedule": "0 24 * * *"}, "'24' cannot be the hour of the schedule"),
    "range": ({"schedule": "9-3 * * * *"}, "'9-3' cannot be the minute of the schedule"),
    "Sunday": ({"schedule": "0 0 * * 7"}, "'7' cannot be the weekday of the schedule"),
    "option": ({"options": {"max_token": 5}}, "unknown option 'max_token': did you mean"),
    "new": ({"options": {"new": True}}, "unknown option 'new'"),
    "value": ({"options": {"max_tokens": "5"}}, "max_tokens: it should be a valid integer"),
    "limit": ({"options": {"max_failing": 2}}, "max_failing: it should be less than or equal to 1"),
    "two": ({"options": {"raw": 1, "top": 2}}, "2 options are wrong"),
    "two tasks": ({"embed": "text"}, "--prompt and --embed exclude each other"),
    "sink": ({"sink": "x.parquet"}, "a job with a sink embeds"),
    "no id": ({"sink": "x.parquet", "prompt": None, "embed": "text"}, "--id is empty"),
    "no sink": ({"sink": "x", "prompt": None, "embed": "text"}, "'x' is not a sink"),
}


def test_a_wrong_job_is_refused_with_its_place(declare: Declare, server: BatchServer) -> None:
    for name, (keys, message) in WRONG.items():
        done = run(declare(**{"prompt": "{{ text }}", **keys}))
        assert done.returncode == 3, (name, done.stderr)
        assert message in done.stderr and "trtbuild.yaml" in done.stderr, (name, done.stderr)
        assert "fix: " in done.stderr, name
    assert not server.bodies
    file = declare(prompt="{{ text }}")
    done = trtbuild("batch", "run", "--job", "nightli", "--file", file)
    assert done.returncode == 2 and "did you mean 'nightly'?" in done.stderr
    done = run(file, "--concurrency", 4)
    assert done.returncode == 2 and "--concurrency cannot be combined with --job" in done.stderr
    done = trtbuild("batch", "run", "rows.jsonl", "-o", "out")
    assert done.returncode == 2 and "--target is missing" in done.stderr
    file.write_text("jobs: {Nightly_Run: {source: a, out: o, target: t}}")
    done = run(file)
    assert done.returncode == 3 and "'Nightly_Run' cannot be used" in done.stderr


def test_what_pods_are_given_runs_the_job(declare: Declare) -> None:
    """Each export is run as its scheduler would; the hostile prompt reaches the model as it is."""
    file = declare(prompt=HOSTILE, schedule="30 1 * * 1-5", options={"stop": ["\n"]})
    expected = "re: Say: text 0 {% endraw %} $(HOME) `x` 100% '''\\\" é 😀"
    folder = file.parent

    line = export("cron", file).stdout.splitlines()[-1]
    schedule, command = line[: len("30 1 * * 1-5")], line[len("30 1 * * 1-5") :]
    assert schedule == "30 1 * * 1-5"
    assert trtbuild(*shlex.split(command.replace(r"\%", "%"))[1:]).returncode == 0
    assert rows_of(folder / "out")[0]["output"] == expected

    module = ast.parse(export("airflow", declare(prompt=HOSTILE, schedule="@daily")).stdout)
    (words,) = [
        ast.literal_eval(one.value)
        for one in module.body
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "COMMAND"
    ]
    again = [word.replace(str(folder / "out"), str(folder / "out2")) for word in words]
    assert trtbuild(*again[1:]).returncode == 0
    assert rows_of(folder / "out2")[0]["output"] == expected

    for kind, at in (("cronjob", "jobTemplate"), ("argo", "workflowSpec")):
        file = declare(prompt=HOSTILE, schedule="@daily", out=kind)
        given = ["--image", "a:1", "--volume", f"data:{folder.parent}"]
        written = folder / f"{kind}.yaml"
        assert export(kind, file, *given, "-o", written).stdout == f"wrote {written}\n"
        config, scheduled = yaml.safe_load_all(written.read_text())
        mounted = folder / "etc/trtbuild.yaml"
        mounted.parent.mkdir(exist_ok=True)
        mounted.write_text(config["data"]["trtbuild.yaml"])
        spec = scheduled["spec"][at]
        container = (
            spec["spec"]["template"]["spec"]["containers"][0]
            if kind == "cronjob"
            else spec["templates"][0]["container"]
        )
        words = [word.replace("/etc/trtbuild", str(mounted.parent)) for word in container["args"]]
        done = trtbuild(*words)
        assert done.returncode == 0, done.stderr
        assert rows_of(folder / kind)[0]["output"] == expected


REFUSED: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "scheduler": ("cronjobs", {}, [], "did you mean 'cronjob'?"),
    "schedule": ("cron", {"schedule": None}, [], "the job 'nightly' has no schedule"),
    "image": ("cronjob", {"source": "s3://b/x", "out": "s3://b/o"}, [], "the pods need an image"),
    "local": ("argo", {}, ["--image", "a"], "rows.jsonl is on this machine"),
    "sink": (
        "argo",
        {"source": "s3://b/x", "out": "s3://b/o", "prompt": None, "embed": "text", "id": "id",
         "sink": "lancedb:/db#docs"},
        ["--image", "a", "--volume", "a:/data"],
        "the sink /db is on this machine",
    ),
    "target": ("argo", {"target": "llama"}, ["--image", "a"], "a pod cannot find it"),
    "volume": ("argo", {}, ["--image", "a", "--volume", "a"], "'a' is not a volume"),
    "name": ("argo", {}, ["--secret", "a b"], "'a b' is not a name of Kubernetes"),
    "share": ("cronjob", {"options": {"partition": "1/3"}, "source": "s3://b/x",
              "out": "s3://b/o"}, ["--image", "a"], "'1/3' is one share of the work"),
    "divided": ("cron", {"options": {"partition": "auto/3"}}, [], "cron runs one process"),
    "template": ("airflow", {"prompt": "@no.j2"}, [], "no.j2 cannot be read"),
    "at": ("airflow", {"prompt": "@at.j2"}, [], "begins with @"),
}  # fmt: skip


def test_what_a_scheduler_cannot_run_is_refused(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/at.j2").write_text("@x {{ text }}")
    for name, (kind, keys, more, message) in REFUSED.items():
        file = declare(**{"prompt": "{{ text }}", "schedule": "@daily", **keys})
        done = export(kind, file, *more)
        assert done.returncode == 2 and not done.stdout, (name, done.stderr)
        assert message in done.stderr and "fix: " in done.stderr, (name, done.stderr)


@pytest.mark.nightly
def test_airflow_runs_the_job(declare: Declare, tmp_path: Path) -> None:
    """The real Airflow, in an environment of its own, starts this trtbuild."""
    file = declare(prompt=HOSTILE, schedule="30 1 * * 1-5")
    (tmp_path / "dags").mkdir()
    assert export("airflow", file, "-o", tmp_path / "dags/nightly.py").returncode == 0
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def airflow(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [AIRFLOW, *words], env=environment, cwd=tmp_path, capture_output=True, text=True,
            timeout=500, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert airflow("db", "migrate")[0] == 0
    code, said = airflow("dags", "test", "nightly", "2026-11-02")
    assert code == 0 and "state=success" in said, said[-3000:]
    found = rows_of(file.parent / "out")
    assert found[0]["output"] == "re: Say: text 0 {% endraw %} $(HOME) `x` 100% '''\\\" é 😀"
    (file.parent / "rows.jsonl").unlink()
    _, said = airflow("dags", "test", "nightly", "2026-11-03")  # exit code 2: not retried
    assert "state=success" not in said and "rows.jsonl does not exist" in said, said[-3000:]
