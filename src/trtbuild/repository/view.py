"""All details of one model: its tensors, its parameters, client code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from trtbuild import lockfile, pbtxt
from trtbuild.errors import RepositoryError
from trtbuild.lockfile import LockedModel
from trtbuild.repository.listing import require_repository, unknown_model
from trtbuild.repository.served import served_model
from trtbuild.repository.snippets import GENERIC, TASK, clients, tasks
from trtbuild.resources import data_file
from trtbuild.signature import ServedModel, dialect_of
from trtbuild.signature.reading import read_engine


@dataclass(frozen=True, slots=True)
class TensorView:
    """An input or output. ``dims`` is without the batch dimension; -1 is any size."""

    name: str
    type: str
    dims: tuple[int, ...]
    optional: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """What a client needs to know of a model.

    Attributes:
        kind: ``vllm`` and ``embed`` for vLLM's tensors, ``task`` for those of a task, ``generic``
            for any other model.
        engine: ``model.json`` of the newest version, empty without one.
        locked: Its lock entry, None for a model not written by trtbuild.
        clients: Code by protocol: ``grpc`` and ``http`` (Python), ``curl`` (shell).
    """

    name: str
    kind: str
    backend: str
    decoupled: bool
    max_batch_size: int
    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]
    parameters: Mapping[str, str]
    engine: Mapping[str, Any]
    locked: LockedModel | None
    clients: Mapping[str, str] = field(default_factory=dict)


def show(
    repository: Path,
    name: str,
    *,
    grpc_url: str = "localhost:8001",
    http_url: str = "http://localhost:8000",
) -> ModelView:
    """Describe a model and generate client code for it.

    Raises:
        UsageError: There is no such repository or model.
        RepositoryError: Its config.pbtxt is missing or invalid, or the lock is damaged.
    """
    lock = lockfile.read(require_repository(repository))
    folder = repository / name
    if name not in {path.name for path in repository.iterdir()} or not folder.is_dir():
        raise unknown_model(repository, lock, name)
    config = _config(folder)
    model = served_model(repository, name)
    assert model is not None  # its configuration was just parsed
    engine = read_engine(repository / model.engine_file) if model.engine_file else {}
    inputs, outputs = _tensors(model, "input"), _tensors(model, "output")
    dialect = dialect_of(model)
    kind = dialect.client_of(model) if dialect else GENERIC
    more = dialect.client_values(model) if dialect else {}
    if kind == TASK and more["schema"] not in tasks():
        kind, more = GENERIC, {}
    decoupled = bool(config.model_transaction_policy.decoupled)
    return ModelView(
        name=name,
        kind=kind,
        backend=str(config.backend or config.platform),
        decoupled=decoupled,
        max_batch_size=int(config.max_batch_size),
        inputs=inputs,
        outputs=outputs,
        parameters={k: v.string_value for k, v in sorted(config.parameters.items())},
        engine=engine,
        locked=lock.models.get(lock.owner(name)),
        clients=clients(
            kind,
            name=name,
            decoupled=decoupled,
            batching=config.max_batch_size > 0,
            inputs=[(t.name, t.type, t.dims) for t in inputs if not t.optional],
            outputs=[tensor.name for tensor in outputs],
            grpc_url=grpc_url,
            http_url=http_url,
            **more,
        ),
    )


def _config(folder: Path) -> Any:
    path = folder / "config.pbtxt"
    try:
        return pbtxt.read(path)
    except (OSError, UnicodeDecodeError, pbtxt.PbtxtError) as error:
        raise RepositoryError(
            f"the configuration of {folder.name!r} cannot be read: {error}",
            where=str(path),
            fix=f"trtbuild validate {folder.parent} shows the line",
        ) from None


@cache
def _meanings() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(data_file("tensors.toml").read_text(encoding="utf-8"))


def _tensors(model: ServedModel, kind: str) -> tuple[TensorView, ...]:
    """Return tensors with their meaning, which is known for text models."""
    meanings = _meanings()[kind] if model.request_schema else {}
    return tuple(
        TensorView(
            name=row.name,
            type=f"TYPE_{row.datatype}",
            dims=row.dims,
            optional=row.optional,
            meaning=meanings.get(row.name, ""),
        )
        for row in (model.inputs if kind == "input" else model.outputs)
    )
