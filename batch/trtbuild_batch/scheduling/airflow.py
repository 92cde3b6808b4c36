"""A DAG of Airflow 3: one task that runs the command."""

from __future__ import annotations

import ast
import json
from string import Template

from trtbuild_batch.scheduling.command import words
from trtbuild_batch.scheduling.declared import Job
from trtbuild_batch.scheduling.settings import ExportOptions

_FILE = Template(
    '''\
"""A job of trtbuild, written by `trtbuild batch export airflow`.

The task may be retried: finished rows are kept. The workers need trtbuild with the job's extras.
"""

import subprocess
from datetime import datetime, timedelta, timezone

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowFailException

NAME = $name
SCHEDULE = $schedule
COMMAND = $command


@dag(
    dag_id=NAME,
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["trtbuild"],
)
def job():
    @task(
        retries=3,
        retry_delay=timedelta(minutes=5),
        retry_exponential_backoff=True,
        pool="default_pool",
        outlets=[Asset(NAME)],
    )
    def run():
        done = subprocess.run(COMMAND)
        if done.returncode in (2, 3):  # a wrong option or recipe: the same again
            raise AirflowFailException(f"exit code {done.returncode}")
        done.check_returncode()

    run()


job()
'''
)


def render(job: Job, _: ExportOptions) -> str:
    """Return the file. Values are JSON, which Python reads as the same texts and lists; no shell
    and no template of Airflow sees them.

    Raises:
        UsageError: The file of the template cannot be read.
    """
    values = {"name": job.name, "schedule": job.recipe.schedule, "command": words(job)}
    text = _FILE.substitute({name: _literal(value) for name, value in values.items()})
    found = {
        one.targets[0].id: ast.literal_eval(one.value)
        for one in ast.parse(text).body
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
    }
    if found != {name.upper(): value for name, value in values.items()}:
        raise ValueError("the values did not survive Python's own parser")
    return text


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=4 if isinstance(value, list) else None)
