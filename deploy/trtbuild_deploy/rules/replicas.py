"""Replicas: how a server starts, stops and shares memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.check.engine import Problem, Problems, rule

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Files, Replica, Server


def _pod(changed: str = "", *, grace: int = 105, more: str = "") -> dict[str, str]:
    """A pod of which ``changed`` replaces a line by its first word, or removes it ("-word")."""
    text = f"""\
kind: Pod
metadata: {{annotations: {{trtbuild.dev/load-seconds: "300"}}}}
spec:
  terminationGracePeriodSeconds: {grace}
  containers:
    - name: server
      args: [tritonserver, --exit-timeout-secs=60]
      lifecycle: {{preStop: {{sleep: {{seconds: 15}}}}}}
      startupProbe: {{exec: {{command: [probe]}}, periodSeconds: 10, failureThreshold: 60}}
      livenessProbe: {{exec: {{command: [probe]}}}}
      resources: {{limits: {{memory: 8Gi}}}}
      volumeMounts: [{{name: shm, mountPath: /dev/shm}}]
  volumes: [{{name: shm, emptyDir: {{medium: Memory, sizeLimit: 1Gi}}}}]
"""
    word = changed.removeprefix("-").partition(":")[0]
    lines = [
        (f"{' ' * (len(line) - len(line.lstrip()))}{changed}" if changed[:1] != "-" else "")
        if word and line.strip().startswith(f"{word}:")
        else line
        for line in text.splitlines()
    ]
    return {"pod.yaml": "\n".join(line for line in lines if line) + f"\n{more}"}


_SOUND = _pod()
_COMPOSE = "services:\n  server: {image: i, command: [tritonserver], shm_size: 1g}\n"


def _servers(files: Files) -> Iterator[tuple[Replica, Server]]:
    for replica in files.replicas:
        for server in replica.servers:
            yield replica, server


@rule(
    "DEP101",
    "the server's pod has a preStop hook",
    fix="add lifecycle.preStop.sleep.seconds: 15",
    bad=_pod("-lifecycle"),
    good=_SOUND,
)
def has_hook(files: Files) -> Problems:
    """A pod is told to stop at the moment in which endpoints and proxies learn of it. Without a
    pause before SIGTERM requests still arrive at a server that refuses them."""
    for replica, server in _servers(files):
        if replica.is_pod and server.pre_stop is None:
            yield Problem(f"{server.name} has no preStop hook", replica.at)


@rule(
    "DEP102",
    "the grace period holds the preStop hook and the server's exit timeout",
    fix="give terminationGracePeriodSeconds (stop_grace_period) their sum and some seconds more",
    bad=[_pod(grace=60), {"compose.yaml": _COMPOSE}],
    good=_SOUND,
)
def grace_is_long_enough(files: Files) -> Problems:
    """After the grace period the server is killed, and every running stream is cut. The period
    begins with the hook, not with SIGTERM."""
    for replica, server in _servers(files):
        needed = (server.pre_stop or 0) + server.exit_timeout
        if replica.grace < needed:
            yield Problem(
                f"{server.name} is killed after {replica.grace} s, and stopping takes up to "
                f"{needed} s: {server.pre_stop or 0} s preStop and {server.exit_timeout} s exit "
                "timeout",
                replica.at,
            )


@rule(
    "DEP103",
    "liveness is not the server's readiness",
    fix="ask the model for a token (probe.py), or use /v2/health/live",
    bad=_pod("livenessProbe: {httpGet: {path: /v2/health/ready, port: 8000}}"),
    good=_SOUND,
)
def liveness_is_not_readiness(files: Files) -> Problems:
    """``/v2/health/ready`` fails while a model is loaded or unloaded, so the kubelet would restart
    a server that works. Over a hung engine it stays 200."""
    for replica, server in _servers(files):
        if "ready" in server.live:
            yield Problem(f"{server.name} is restarted when {server.live} fails", replica.at)


@rule(
    "DEP104",
    "the server's /dev/shm has a size of its own",
    fix='mount a volume with emptyDir: {medium: Memory, sizeLimit: 1Gi} at "/dev/shm"; in Compose '
    "give shm_size",
    bad=_pod("-volumeMounts"),
    good=_SOUND,
)
def shm_is_mounted(files: Files) -> Problems:
    """The Python backend takes 64 MiB of shared memory for each instance, and NCCL exchanges data
    there. A container's own ``/dev/shm`` has 64 MiB."""
    for replica, server in _servers(files):
        if server.shm is None:
            yield Problem(f"{server.name} has the default /dev/shm of 64 MiB", replica.at)


@rule(
    "DEP105",
    "the server's /dev/shm is smaller than its memory limit",
    fix="raise the memory limit, or lower the size of /dev/shm",
    bad=[
        _pod("resources: {limits: {memory: 1Gi}}"),
        _pod("volumes: [{name: shm, emptyDir: {medium: Memory}}]"),
    ],
    good=_SOUND,
)
def shm_fits(files: Files) -> Problems:
    """Pages in ``/dev/shm`` count against the container's memory limit. A volume without a limit
    may take half of the node's memory."""
    for replica, server in _servers(files):
        if server.shm == 0 and server.memory:
            yield Problem(f"{server.name}: /dev/shm has no sizeLimit", replica.at)
        elif server.shm and server.memory and server.shm >= server.memory:
            yield Problem(
                f"{server.name}: /dev/shm of {server.shm >> 20} MiB fills the memory limit of "
                f"{server.memory >> 20} MiB",
                replica.at,
            )


@rule(
    "DEP106",
    "the startup check lasts as long as loading",
    fix="raise failureThreshold of the startupProbe (start_period in Compose)",
    bad=_pod("startupProbe: {exec: {command: [probe]}, failureThreshold: 6}"),
    good=_SOUND,
)
def startup_covers_loading(files: Files) -> Problems:
    """A server that still loads when its startup check gives up is killed and loads again, forever.
    Without a startup check the liveness check counts from the first second. The load time is in
    the annotation (label) ``trtbuild.dev/load-seconds``."""
    for replica, server in _servers(files):
        if replica.load is not None and (server.startup or 0) < replica.load:
            yield Problem(
                f"{server.name} loads for about {replica.load} s, and its check gives up after "
                f"{server.startup or 0} s",
                replica.at,
            )
