"""A CronJob of Kubernetes, and a CronWorkflow of Argo: the job's recipe is a ConfigMap, so that
neither expands ``$(...)`` or ``{{...}}`` of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from trtbuild.errors import UsageError
from trtbuild.recipe import RECIPE_NAME
from trtbuild_batch import sinks
from trtbuild_batch.scheduling.command import inlined
from trtbuild_batch.scheduling.declared import Job
from trtbuild_batch.scheduling.settings import ExportOptions

_MOUNT = "/etc/trtbuild"
_RETRIES = 3
_FINAL = (2, 3)
"""Exit codes that another try would have again: a wrong option, a wrong recipe."""
_LATE_SECONDS = 3600
_INDEXED = re.compile(r"auto/(\d+)")
_MEMORY = {"cpu": "1", "memory": "2Gi"}


def cronjob(job: Job, options: ExportOptions) -> str:
    """Return a ConfigMap and a CronJob.

    Raises:
        UsageError: No image, or files that a pod does not have.
    """
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": _pod_security(),
        "containers": [{"name": "trtbuild", **_container(job, options)}],
        "volumes": _volumes(job, options),
    }
    failed = {"containerName": "trtbuild", "operator": "In", "values": list(_FINAL)}
    spec = {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": failed}]},
        **_divided(job),
        "template": {"metadata": {"labels": _labels(job)}, "spec": pod},
    }
    return _documents(
        _config(job, options),
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": _metadata(job, options),
            "spec": {
                "schedule": job.recipe.schedule,
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": _LATE_SECONDS,
                "jobTemplate": {"spec": spec},
            },
        },
    )


def argo(job: Job, options: ExportOptions) -> str:
    """Return a ConfigMap and a CronWorkflow.

    Raises:
        UsageError: No image, or files that a pod does not have.
    """
    final = ", ".join(map(str, _FINAL))
    template = {
        "name": "run",
        "retryStrategy": {
            "limit": str(_RETRIES),
            "retryPolicy": "Always",
            "expression": f"!(asInt(lastRetry.exitCode) in [{final}])",
            "backoff": {"duration": "1m", "factor": "2"},
        },
        "container": _container(job, options),
    }
    workflow = {
        "entrypoint": "run",
        "securityContext": _pod_security(),
        "podMetadata": {"labels": _labels(job)},
        "ttlStrategy": {"secondsAfterCompletion": 7 * 24 * 3600},
        "volumes": _volumes(job, options),
        "templates": [template],
    }
    return _documents(
        _config(job, options),
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "CronWorkflow",
            "metadata": _metadata(job, options),
            "spec": {
                "schedules": [job.recipe.schedule],
                "timezone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": _LATE_SECONDS,
                "workflowSpec": workflow,
            },
        },
    )


def _container(job: Job, options: ExportOptions) -> dict[str, Any]:
    if not options.image:
        raise UsageError(
            "the pods need an image",
            where="--image",
            fix="name one that has `pip install 'trtbuild[batch]'` and the job's other extras",
        )
    mounts: list[dict[str, Any]] = [
        {"name": "recipe", "mountPath": _MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod
    ]
    if mounted := options.mounted():
        mounts.append({"name": "data", "mountPath": str(mounted[1])})
    sources = [{"secretRef": {"name": options.secret}}] if options.secret else []
    return {
        "image": options.image,
        "command": ["trtbuild"],
        "args": ["batch", "run", "--job", job.name, "--file", f"{_MOUNT}/{RECIPE_NAME}"],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
            {"name": "TRTBUILD_STATE_DIR", "value": "/tmp/state"},  # noqa: S108
            {"name": "TRTBUILD_CACHE_DIR", "value": "/tmp/cache"},  # noqa: S108
        ],
        **({"envFrom": sources} if sources else {}),
        "resources": {"requests": dict(_MEMORY), "limits": {"memory": _MEMORY["memory"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _pod_security() -> dict[str, Any]:
    ids = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    return {"runAsNonRoot": True, **ids, "seccompProfile": {"type": "RuntimeDefault"}}


def _volumes(job: Job, options: ExportOptions) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "recipe", "configMap": {"name": job.name}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if mounted := options.mounted():
        found.append({"name": "data", "persistentVolumeClaim": {"claimName": mounted[0]}})
    return found


def _divided(job: Job) -> dict[str, Any]:
    """Return how many pods divide the job with ``partition: auto/N``.

    Raises:
        UsageError: Another partition.
    """
    text = job.run.partition
    if not text:
        return {}
    match = _INDEXED.fullmatch(text)
    if not match:
        raise UsageError(
            f"the partition {text!r} is one share of the work",
            fix="write partition: auto/16 for 16 pods that divide it",
        )
    pods = int(match[1])
    return {"completionMode": "Indexed", "completions": pods, "parallelism": pods}


def _metadata(job: Job, options: ExportOptions) -> dict[str, Any]:
    space = {"namespace": options.namespace} if options.namespace else {}
    return {"name": job.name, **space, "labels": _labels(job)}


def _labels(job: Job) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": job.name,
        "app.kubernetes.io/component": "batch",
        "app.kubernetes.io/managed-by": "trtbuild",
    }


def _config(job: Job, options: ExportOptions) -> dict[str, Any]:
    """Return the ConfigMap with the job's recipe."""
    _require_reachable(job, options)
    recipe = inlined(job.recipe).model_dump(mode="json", exclude_defaults=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job, options),
        "data": {RECIPE_NAME: _dumped({"jobs": {job.name: recipe}})},
    }


def _require_reachable(job: Job, options: ExportOptions) -> None:
    """Raise UsageError if the job needs something that only this machine has."""
    if ":" not in job.recipe.target:
        raise UsageError(
            f"the target {job.recipe.target!r} is a server of this machine: a pod cannot find it",
            fix="name its address, such as triton:grpc://HOST:8001/MODEL or http://HOST:9000/v1",
        )
    mounted = options.mounted()
    for what, path in _local(job):
        if mounted is None or mounted[1] not in PurePosixPath(path).parents:
            raise UsageError(
                f"the {what} {path} is on this machine, where a pod cannot find it",
                fix="use s3:// or gs://, or an absolute path below that of --volume CLAIM:/PATH",
            )


def _local(job: Job) -> Iterator[tuple[str, str]]:
    places = [*(("source", one) for one in job.recipe.source), ("out", job.recipe.out)]
    if job.recipe.sink:
        places.append(("sink", sinks.parse(job.recipe.sink).where))
    yield from ((what, where) for what, where in places if "://" not in where)


def _documents(*values: dict[str, Any]) -> str:
    return "---\n".join(map(_dumped, values))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and quotes what only kubectl takes for no text."""


# Go's parser leaves out every "_" before it looks: +_1 is a number.
_NO_TEXT_IN_GO = re.compile(
    r"[yYnN]|[-+]?0[oObBxX][0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
)

# Line breaks to some parsers and not to others: only an escape is safe.
_BREAKS = re.compile("[\x85\u2028\u2029]")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    number = _NO_TEXT_IN_GO.fullmatch(text.replace("_", ""))
    block = "\n" in text.strip()
    style = '"' if _BREAKS.search(text) else "|" if block else "'" if number else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dumped(value: dict[str, Any]) -> str:
    """Return YAML, which is read again and compared: a hostile text stays a text."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    if yaml.safe_load(text) != value:
        raise ValueError("the YAML did not survive its own parser")
    return text
