"""A job on a Ray cluster: each task computes one partition with the same loop as everywhere."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import Any

from trtbuild.errors import BuildError, ServerError, TrtbuildError, UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_batch.jobs import looking, preparing
from trtbuild_batch.jobs import run as running
from trtbuild_batch.jobs.tally import Snapshot
from trtbuild_batch.jobs.working import Watch
from trtbuild_batch.options import RunOptions, TaskOptions
from trtbuild_batch.places import place

_LOOK_SECONDS = 5.0
_KNOCK_SECONDS = 10.0
_RETRIES = 3  # of a task whose machine is lost


def run(
    options: RunOptions,
    task: TaskOptions,
    progress: Progress,
    watch: Watch = lambda _: None,
    *,
    tasks: int | None = None,
) -> Snapshot:
    """Run a job, or go on with it, on the cluster that ``RAY_ADDRESS`` names.

    Args:
        options: What is read, who is asked, where the answers go. All machines must reach them.
        task: What is asked.
        progress: Is told about each step.
        watch: Is given the state every few seconds.
        tasks: How many partitions; None: as many as the cluster has nodes.

    Raises:
        UsageError: Ray is not installed, or an option cannot be used.
        ServerError: No cluster, the target does not answer, or a task is lost too often.
        BuildError: The disk or the object store fails.
    """
    if options.shared or options.new:
        name = "new" if options.new else "claim" if options.claim else "partition"
        raise UsageError(
            f"--{name} and --engine ray exclude each other",
            fix="leave it out: the tasks divide the job; to start again, choose another directory",
        )
    out = str(place(options.out))
    given = preparing.memory(options, task)
    given["run"]["out"] = out
    with _cluster(progress) as ray:
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        count = tasks or max(1, nodes)
        progress.step(f"starting {counted(count, 'task')} on {counted(nodes, 'node')} of Ray")
        remote = ray.remote(_share).options(num_cpus=1, max_retries=_RETRIES)
        left = [remote.remote(given, index, count) for index in range(count)]
        ended = []
        while left:
            done, left = ray.wait(left, timeout=_LOOK_SECONDS)
            ended += done
            _look(out, watch)
        return _sum([_result(ray, one) for one in ended])


def _share(given: dict[str, Any], index: int, count: int) -> Snapshot:
    """Compute one partition; this runs on a machine of the cluster."""
    run, task = (looking.tuples(given[name]) for name in ("run", "task"))
    options = RunOptions(**run | {"partition": f"{index}/{count}"})
    return running.run(options, TaskOptions(**task), SILENT)


@contextmanager
def _cluster(progress: Progress) -> Iterator[Any]:
    """Yield Ray, connected to a cluster that runs already."""
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray needs Ray, which is not installed",
            fix="pip install 'trtbuild[batch,ray]'",
        ) from None
    address = os.environ.get("RAY_ADDRESS", "auto")
    progress.step("connecting to the cluster of Ray")
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServerError(
            f"there is no cluster of Ray: {reason}",
            where=f"RAY_ADDRESS {address}",
            fix="start one with `ray start --head`, or set RAY_ADDRESS to HOST:6379",
        ) from None
    try:
        with redirect_stdout(sys.stderr):  # where Ray tells of lost workers
            yield ray
    finally:
        ray.shutdown()  # ends tasks that still run


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at ``HOST:PORT``: Ray itself would try for minutes."""
    host, found, port = address.rpartition("://")[2].rpartition(":")
    if found and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _look(out: str, watch: Watch) -> None:
    try:
        now = looking.status(out)
    except (UsageError, BuildError):  # nothing is there yet
        return
    watch(
        Snapshot(
            rows=now.rows,
            done=now.done,
            errors=now.errors,
            prompt_tokens=now.prompt_tokens,
            completion_tokens=now.completion_tokens,
            rows_per_s=now.rows_per_s,
            seconds_left=now.seconds_left,
        )
    )


def _result(ray: Any, reference: Any) -> Snapshot:
    """Return the end of a task, or raise what ended it."""
    try:
        end: Snapshot = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrtbuildError):
            raise error.cause from None
        raise ServerError(
            f"a task of Ray failed: {error.cause}",
            fix="install the same trtbuild on all machines of the cluster",
        ) from None
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServerError(
            f"a task of Ray was lost: {reason}",
            fix="look at the cluster, then run the command again to resume: finished rows are kept",
        ) from None
    return end


def _sum(ends: list[Snapshot]) -> Snapshot:
    """Return the state of all tasks together."""
    values = [asdict(one) for one in ends]
    added = ("rows", "done", "errors", "retries", "prompt_tokens", "completion_tokens")
    total = {name: sum(one[name] for one in values) for name in added}
    rates = [one["rows_per_s"] for one in values if one["rows_per_s"]]
    costs = [one["cost"] for one in values]
    return Snapshot(
        **total,
        seconds=max(one["seconds"] for one in values),
        rows_per_s=sum(rates) or None,
        cost=None if None in costs else max(costs),
    )
