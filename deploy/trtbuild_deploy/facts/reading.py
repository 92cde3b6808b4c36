"""Reading the facts from a repository and its lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild import lockfile, pbtxt, server
from trtbuild.errors import RepositoryError, UsageError
from trtbuild.lockfile import Lock, LockedModel
from trtbuild.progress import SILENT
from trtbuild.server import Contents, LaunchOptions
from trtbuild.server.docker import container
from trtbuild.server.mode import ServerJob
from trtbuild.server.ranks import RankLayout, shm_needed
from trtbuild.signature import ServedModel
from trtbuild_deploy.facts.model import Facts, ModelFacts
from trtbuild_deploy.facts.probing import probe_request

# From this release on Triton has a histogram of the time to the first response.
_HISTOGRAMS_SINCE = "24.11"
_HISTOGRAMS = "--metrics-config=histogram_latencies=true"


def read_facts(repository: Path, *, image: str = "") -> Facts:
    """Read what deploying a repository needs to know.

    Args:
        repository: Its directory.
        image: The server's image instead of the lock's, best by digest.

    Raises:
        UsageError: There is no such directory, or its models need several images.
        RepositoryError: It has no model, or no lock.
        ServerError: Its ranks cannot be started together.
    """
    contents = server.read_contents(repository)
    lock = lockfile.read(contents.repo)
    if not lock.models:
        raise RepositoryError(
            f"the repository has no {lockfile.LOCK_NAME}, so its image, builder and digest are "
            "unknown",
            where=str(contents.repo),
            fix="deploy a repository that `trtbuild convert` wrote",
        )
    if not image and len(contents.images) > 1:
        raise UsageError(
            f"the models of this repository need {len(contents.images)} different images",
            where=str(contents.repo),
            fix="deploy them from separate repositories, or give 'image' in deploy.yaml",
            details=contents.images,
        )
    layout = server.lay_out(contents)
    models = tuple(_models(contents, lock, layout))
    release = max(contents.releases)
    more = (_HISTOGRAMS,) if release >= _HISTOGRAMS_SINCE and _streams(models) else ()
    options = LaunchOptions(
        image=image,
        arguments=more,
        gpu_count=max((model.world for model in models), default=0),
    )
    spec = container(ServerJob("deploy", contents, options, Path(), SILENT, dry_run=True))
    return Facts(
        repository=contents.repo.name,
        path=str(contents.repo),
        digest=hashlib.sha256((contents.repo / lockfile.LOCK_NAME).read_bytes()).hexdigest(),
        models=models,
        directories=tuple(sorted(contents.models)),
        release=release,
        image=spec.image,
        command=spec.command,
        environment=spec.env,
        layout=layout.how,
        weight_bytes=None if contents.needs_hub else _bytes(lock),
        python_shm=shm_needed(contents),
        health_checked=contents.health_checked,
        notes=tuple(_notes(contents, lock, layout)),
    )


def _bytes(lock: Lock) -> int:
    return sum(file.size for model in lock.models.values() for file in model.files.values())


def _streams(models: tuple[ModelFacts, ...]) -> bool:
    return any(model.decoupled for model in models)


def _models(contents: Contents, lock: Lock, layout: RankLayout) -> Iterator[ModelFacts]:
    worlds = {model.name: model.world for model in layout.models}
    for name, locked in sorted(lock.models.items()):
        served = contents.served.get(name)
        if served is None:
            continue  # edited away, or unreadable: the validator reports it
        engine = locked.settings.get("engine") or {}
        tensor, pipeline = (
            _size(engine, "tensor_parallel_size"),
            _size(engine, "pipeline_parallel_size"),
        )
        ranks = [worlds[each] for each in locked.directories if each in worlds]
        yield ModelFacts(
            name=name,
            task=served.task.value,
            builder=locked.builder,
            decoupled=bool(served.decoupled),
            reports=_reports(locked),
            tensor=tensor,
            pipeline=pipeline,
            executor=str(engine.get("distributed_executor_backend", "")),
            world=max(ranks, default=_world(contents, locked, served, tensor * pipeline)),
            from_hub=locked.settings.get("weights") == "hub",
            probe=probe_request(served),
        )


def _reports(locked: LockedModel) -> bool:
    section = locked.settings.get("llm") or {}
    engine = locked.settings.get("engine") or {}
    on = locked.settings.get("metrics", section.get("metrics", True))
    return bool(on) and not engine.get("disable_log_stats", False)


def _size(engine: Any, key: str) -> int:
    found = engine.get(key, 1)
    return found if isinstance(found, int) and found > 0 else 1


def _world(contents: Contents, locked: LockedModel, served: ServedModel, ranks: int) -> int:
    """The GPUs of a model whose ranks no rule of TensorRT-LLM tells."""
    if served.engine_file or locked.builder.startswith("vllm"):
        return ranks
    kinds = set(_kinds(contents, locked))
    return 1 if {"KIND_GPU", "KIND_MODEL"} & kinds else 0


def _kinds(contents: Contents, locked: LockedModel) -> Iterator[str]:
    config_of = pbtxt.configs(contents.repo)
    for directory in locked.directories:
        config = config_of(directory)
        for group in config.instance_group if config is not None else ():
            yield group.Kind.Name(group.kind)


def _notes(contents: Contents, lock: Lock, layout: RankLayout) -> Iterator[str]:
    for name in contents.models:
        if not lock.owner(name):
            yield f"the model {name} is not in the lock: it is served, and nothing here checks it"
    for model in layout.models:
        if model.problem:
            yield f"{model.name}: {model.problem}"
    for name, locked in sorted(lock.models.items()):
        kinds = set(_kinds(contents, locked))
        if locked.builder == "onnx" and "KIND_GPU" not in kinds:
            yield f"{name} runs on the CPU; with gpu.count: 1 its graph runs on a GPU"
