"""Deployment files as the rules see them: replicas with their limits, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trtbuild.located.positions import NOWHERE, Position
from trtbuild_deploy.rules.values import get, items, number

LOAD_SECONDS = "trtbuild.dev/load-seconds"
BUILDERS = "trtbuild.dev/builders"
VERSION = "app.kubernetes.io/version"
_EXIT_TIMEOUT = 30  # Triton's own
_RUNTIME = "ServingRuntime"
_WORKLOADS = {
    "Deployment": ("template",),
    "StatefulSet": ("template",),
    "Rollout": ("template",),
    "LeaderWorkerSet": ("leaderWorkerTemplate", "leaderTemplate"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file; ``node`` is PyYAML's, for lines, or None."""

    value: Mapping[str, Any]
    node: Any = None

    @property
    def kind(self) -> str:
        """Kubernetes' kind; empty elsewhere."""
        return str(self.value.get("kind", ""))

    def at(self, *path: str | int) -> Position:
        """Where a field is, or its nearest parent."""
        from trtbuild.located import yamltext

        if self.node is None:
            return NOWHERE
        start = self.node.start_mark.line + 1
        return Position(max(start, yamltext.line_of(self.node, path)), 1)

    def get(self, *path: str | int) -> Any:
        """The value at ``path``, None if there is none."""
        return get(self.value, *path)


@dataclass(frozen=True, slots=True)
class Server:
    """A container that runs Triton.

    Attributes:
        name: Its name.
        exit_timeout: Seconds for requests in flight to finish after SIGTERM.
        memory: Its limit in bytes; None without one.
        shm: The size of ``/dev/shm``; None where it is the engine's 64 MiB, 0 without a limit.
        pre_stop: Seconds of its preStop hook; None without one.
        startup: Seconds until a failing start counts; None without a check of the start.
        live: The route of an HTTP liveness probe; empty for another probe or none.
    """

    name: str
    exit_timeout: int
    memory: int | None
    shm: int | None
    pre_stop: int | None
    startup: int | None
    live: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod, or a service of Compose.

    Attributes:
        document: Where it is written.
        path: The place of its pod or service in the document.
        is_pod: Whether endpoints must learn that it leaves.
        grace: Seconds from the wish to stop to SIGKILL.
        servers: Its containers that run Triton.
        ports: Names of the ports of all its containers.
        labels: Its labels.
        load: Seconds that loading takes; None if nobody says.
        builders: Of its models; empty if nobody says.
        release: Of Triton; empty if nobody says.
        has_gateway: Whether a gateway is beside the server.
    """

    document: Document
    path: tuple[str | int, ...]
    is_pod: bool
    grace: int
    servers: tuple[Server, ...]
    ports: frozenset[str]
    labels: Mapping[str, str]
    load: int | None = None
    builders: tuple[str, ...] = ()
    release: str = ""
    has_gateway: bool = False

    @property
    def at(self) -> Position:
        """Where it is written."""
        return self.document.at(*self.path)


@dataclass(frozen=True, slots=True)
class Files:
    """What is judged together: a file, or what a chart renders to.

    Attributes:
        documents: Of the file.
        replicas: What is deployed by them.
        recorded: The series that rules of all files together record.
        builders: Of the replicas of all files together; empty if nobody says.
    """

    documents: tuple[Document, ...]
    replicas: tuple[Replica, ...]
    recorded: frozenset[str] = frozenset()
    builders: frozenset[str] = frozenset()


def files_of(
    documents: Sequence[Document],
    recorded: frozenset[str] = frozenset(),
    builders: frozenset[str] = frozenset(),
) -> Files:
    """The view of documents, of the series that all files record, and of the builders in them."""
    graces = _graces(documents)
    replicas = [
        replace(replica, grace=graces.get(str(one.get("metadata", "name")), replica.grace))
        if one.kind == _RUNTIME
        else replica
        for one in documents
        for replica in _replicas(one)
    ]
    here = {name for replica in replicas for name in replica.builders}
    return Files(tuple(documents), tuple(replicas), recorded, builders | here)


def _graces(documents: Sequence[Document]) -> dict[str, int]:
    """The grace period for a ServingRuntime, by its name: the predictors have it."""
    found: dict[str, int] = {}
    for one in documents:
        canaries = [get(canary, "predictor") for canary in items(one.get("spec", "canary"))]
        for predictor in (one.get("spec", "predictor"), *canaries):
            grace = number(get(predictor, "terminationGracePeriodSeconds"))
            if one.kind == "InferenceService" and grace is not None:
                found[str(get(predictor, "model", "runtime"))] = grace
    return found


def _replicas(document: Document) -> Iterator[Replica]:
    if document.get("spec", "workloadRef"):
        return  # the pods are those of another document
    if document.kind in _WORKLOADS:
        yield _pod(document, ("spec", *_WORKLOADS[document.kind]))
    elif document.kind in ("Pod", _RUNTIME):
        yield _pod(document, ())
    elif not document.kind:
        services = document.value.get("services")
        for name in services if isinstance(services, Mapping) else ():
            yield _service(document, ("services", name))


def _pod(document: Document, path: tuple[str, ...]) -> Replica:
    template = document.get(*path)
    containers = items(get(template, "spec", "containers"))
    annotations = _mapping(get(template, "metadata", "annotations"))
    labels = _mapping(get(template, "metadata", "labels"))
    volumes = {str(one.get("name")): one for one in items(get(template, "spec", "volumes"))}
    ports = {str(port.get("name")) for one in containers for port in items(one.get("ports"))}
    grace = get(template, "spec", "terminationGracePeriodSeconds")
    return Replica(
        document,
        path,
        is_pod=True,
        grace=grace if isinstance(grace, int) else 30,
        servers=tuple(_container(one, volumes) for one in containers if _is_server(one)),
        ports=frozenset(ports),
        labels={str(key): str(value) for key, value in labels.items()},
        load=number(annotations.get(LOAD_SECONDS)),
        builders=tuple(str(annotations.get(BUILDERS, "")).split()),
        release=str(labels.get(VERSION, "")),
        has_gateway="openai" in ports,
    )


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _container(one: Mapping[str, Any], volumes: Mapping[Any, Mapping[str, Any]]) -> Server:
    startup = one.get("startupProbe")
    live = one.get("livenessProbe")
    seconds = get(one, "lifecycle", "preStop", "sleep", "seconds")
    has_hook = get(one, "lifecycle", "preStop") is not None
    return Server(
        name=str(one.get("name", "")),
        exit_timeout=_exit_timeout(one),
        memory=size(get(one, "resources", "limits", "memory")),
        shm=_mounted_shm(one, volumes),
        pre_stop=number(seconds) or 0 if has_hook else None,
        startup=_probe_seconds(startup if startup else live),
        live=str(get(live, "httpGet", "path") or ""),
    )


def _mounted_shm(one: Mapping[str, Any], volumes: Mapping[Any, Mapping[str, Any]]) -> int | None:
    for mount in items(one.get("volumeMounts")):
        volume = volumes.get(str(mount.get("name")), {})
        if mount.get("mountPath") == "/dev/shm" and get(volume, "emptyDir", "medium") == "Memory":  # noqa: S108
            return size(get(volume, "emptyDir", "sizeLimit")) or 0
    return None


def _probe_seconds(probe: Any) -> int | None:
    if not isinstance(probe, Mapping):
        return None
    period, failures = (number(probe.get(key)) for key in ("periodSeconds", "failureThreshold"))
    delay = number(probe.get("initialDelaySeconds")) or 0
    return delay + (period or 10) * (failures or 3)


def _service(document: Document, path: tuple[str, str]) -> Replica:
    service = _mapping(document.get(*path))
    check = service.get("healthcheck")
    server = Server(
        name=path[1],
        exit_timeout=_exit_timeout(service),
        memory=size(service.get("mem_limit")),
        shm=size(service.get("shm_size")),
        pre_stop=None,
        startup=_seconds(get(check, "start_period")),
        live="",
    )
    grace = _seconds(service.get("stop_grace_period"))
    return Replica(
        document,
        path,
        is_pod=False,
        grace=10 if grace is None else grace,
        # A file that is laid over another has only what it changes.
        servers=(server,) if _is_server(service) and {"image", "build"} & set(service) else (),
        ports=frozenset(),
        labels={},
        load=number(get(service, "labels", LOAD_SECONDS)),
        builders=tuple(str(get(service, "labels", BUILDERS) or "").split()),
    )


def _words(one: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for key in ("command", "args"):
        value = one.get(key)
        found += [str(word) for word in value] if isinstance(value, list) else []
        found += value.split() if isinstance(value, str) else []
    return found


def _is_server(one: Mapping[str, Any]) -> bool:
    words = _words(one)
    return "tritonserver" in words or words[:2] == ["trtbuild", "serve"]


def _exit_timeout(one: Mapping[str, Any]) -> int:
    given = (word.partition("--exit-timeout-secs=")[2] for word in _words(one))
    return next((found for word in given if (found := number(word)) is not None), _EXIT_TIMEOUT)


def size(value: Any) -> int | None:
    """Bytes of a quantity of Kubernetes or Compose; None for anything else."""
    from trtbuild_deploy.settings.values import quantity_bytes

    text = re.sub(r"(?<=\d)([kmg])b?$", lambda unit: f"{unit[1].upper()}i", str(value))
    try:
        return quantity_bytes(text)
    except ValueError:
        return None


def _seconds(value: Any) -> int | None:
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(value or ""))
    if not match or not match[0]:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
