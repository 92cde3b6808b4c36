"""The facts themselves: frozen values without opinion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trtbuild.signature import ServedTask
from trtbuild_deploy.facts.metrics import Exporters, Metrics, Place, metrics_of, progress_of
from trtbuild_deploy.facts.sizes import load_seconds, memory_bytes, shm_bytes


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The cheapest request that proves that a model works, for the probe.

    Attributes:
        model: Its name.
        path: Below the server's HTTP address.
        body: JSON to post; empty: only ask whether the model says that it is ready.
    """

    model: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that clients call.

    Attributes:
        name: Its name in Triton.
        task: Its task.
        builder: The builder that wrote it.
        decoupled: Whether it may send several responses, so whether it streams.
        reports: Whether its engine's metrics are on.
        tensor, pipeline: Ranks that share each matrix, and stages that share the layers.
        executor: How the engine starts its ranks, where the recipe says: ``ray``, ``mp``.
        world: All its ranks, one GPU each; 0 for a model on the CPU.
        from_hub: Whether its engine downloads its weights when it starts.
        probe: The request that proves that it works.
    """

    name: str
    task: str
    builder: str
    decoupled: bool
    reports: bool
    tensor: int
    pipeline: int
    executor: str
    world: int
    from_hub: bool
    probe: ProbeRequest


@dataclass(frozen=True, slots=True)
class Facts:
    """A repository as every target sees it.

    Attributes:
        repository: Its directory's name.
        path: Its absolute path here.
        digest: SHA-256 of ``trtbuild.lock``: another one is another deployment.
        models: What clients call, by name.
        directories: Every model that the server loads, those behind the models among them.
        release: The Triton release.
        image: The server's image, by digest where the user gave one.
        command: ``tritonserver`` with its arguments, under MPI where ranks need it.
        environment: Variables that the models need.
        layout: How ranks are started: ``plain``, ``leader``, ``orchestrator`` or ``llmapi``.
        weight_bytes: All files, most of them weights; None when an engine downloads its own.
        python_shm: Shared memory that the Python models take at first, in bytes.
        health_checked: Whether a dead model is unloaded, so that the server's index shows it.
        notes: What a reader should know, as sentences.
    """

    repository: str
    path: str
    digest: str
    models: tuple[ModelFacts, ...]
    directories: tuple[str, ...]
    release: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    layout: str
    weight_bytes: int | None
    python_shm: int
    health_checked: bool
    notes: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs of one replica; models share them."""
        return max((model.world for model in self.models), default=0)

    @property
    def streams(self) -> bool:
        """Whether some answer is a stream, so that a restart can cut it."""
        return any(model.decoupled for model in self.models)

    @property
    def from_hub(self) -> bool:
        """Whether an engine downloads its weights when it starts."""
        return any(model.from_hub for model in self.models)

    @property
    def builders(self) -> tuple[str, ...]:
        """The builders of the models, each once."""
        return tuple(dict.fromkeys(model.builder for model in self.models))

    @property
    def shm_bytes(self) -> int:
        """Size of ``/dev/shm``."""
        return shm_bytes(self.python_shm, ranks=max((m.world for m in self.models), default=1))

    def load_seconds(self, *, weight_bytes: int, bandwidth: int) -> int:
        """Estimate how long the server takes to load, for ``bandwidth`` in bytes a second."""
        return load_seconds(self.builders, weight_bytes, bandwidth)

    def memory_bytes(self, weight_bytes: int) -> int:
        """Estimate the memory limit of a server, ``/dev/shm`` included."""
        return memory_bytes(weight_bytes, self.shm_bytes, ranks=max(1, self.gpus))

    def exporters(self, *, gateway: bool = False, place: Place = "image") -> Exporters:
        """Who exports metrics in a deployment of this repository."""
        return Exporters(
            builders=frozenset(model.builder for model in self.models if model.reports),
            release=self.release,
            decoupled=self.streams,
            place=place,
            gateway=gateway,
        )

    def metrics(self, *, gateway: bool = False, place: Place = "image") -> Metrics:
        """The metrics that really exist in such a deployment."""
        return metrics_of(self.exporters(gateway=gateway, place=place))

    def progress(self, model: ModelFacts, *, place: Place = "image") -> str:
        """The counter that tells a busy ``model`` from a hung one; empty if there is none."""
        builders = frozenset((model.builder,) if model.reports else ())
        exporters = Exporters(builders, self.release, model.decoupled, place)
        return progress_of(exporters, text=ServedTask(model.task).makes_text)
