"""Prepared targets: what each is, where to watch it, what is known of its checkpoint."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild import process
from trtbuild.errors import UsageError
from trtbuild.repository import served_model
from trtbuild.server_records import ServerRecord, running_servers
from trtbuild.signature import ServedModel
from trtbuild.signature.reading import read_engine
from trtbuild.wire.sockets import connections_allowed
from trtbuild_measure.bench.model import BenchTarget, Endpoint, Generation
from trtbuild_measure.bench.targets import Address
from trtbuild_measure.bench.targets.openai import OpenAITarget
from trtbuild_measure.bench.targets.openai_tasks import TASKS, OpenAITaskTarget
from trtbuild_measure.bench.watching.prometheus import read_metrics
from trtbuild_measure.bench.watching.server import Watched

if TYPE_CHECKING:
    from trtbuild_measure.bench.targets.triton import Exchange


@dataclass(frozen=True, slots=True)
class Prepared:
    """A target, where to watch its server, and its precision.

    ``twin`` counts earlier targets with the same model on the same server. ``endpoint`` is what an
    OpenAI target is asked.
    """

    address: Address
    target: BenchTarget
    watched: Watched
    precision: str = ""
    twin: int = 0
    endpoint: Endpoint = "chat"


def prepare(
    addresses: Sequence[Address],
    generation: Generation,
    *,
    endpoint: str,
    chat: bool,
    timeout: float,
    api_key_env: str = "",
    metrics_url: str = "",
) -> list[Prepared]:
    """Return a :class:`BenchTarget` for each address; baselines are running services by now."""
    chosen = choose_endpoint(addresses, endpoint, chat=chat)
    if metrics_url and read_metrics(metrics_url, "") is None:
        raise UsageError(
            "no metrics at that URL",
            where=f"--metrics-url {metrics_url}",
            fix="give the URL of the server's Prometheus page, such as http://HOST:8002/metrics",
        )
    each = max(1, connections_allowed() // max(1, len(addresses)))
    seen: Counter[tuple[object, str]] = Counter()
    found = []
    for address in addresses:
        key = _api_key(api_key_env) if address.kind == "openai" else ""
        target = _target(address, generation, chosen, timeout, api_key=key, connections=each)
        watched = _watched(address, metrics_url)
        server = (watched.pid or address.url, address.model)
        found.append(Prepared(address, target, watched, _precision(address), seen[server], chosen))
        seen[server] += 1
    return found


def choose_endpoint(addresses: Sequence[Address], endpoint: str, *, chat: bool) -> Endpoint:
    """Choose chat if requested or if all targets support it; plain completions next to Triton.

    Raises:
        UsageError: An unknown endpoint.
    """
    only_openai = all(address.kind == "openai" for address in addresses)
    known: dict[str, Endpoint] = {
        "auto": "chat" if chat or only_openai else "completions",
        "chat": "chat",
        "completions": "completions",
        "embeddings": "embeddings",
        "rerank": "rerank",
    }
    if endpoint not in known:
        raise UsageError(
            f"unknown endpoint {endpoint!r}", fix=f"use --endpoint with one of {', '.join(known)}"
        )
    return known[endpoint]


def _api_key(variable: str) -> str:
    if not variable:
        return ""
    if variable not in os.environ:
        raise UsageError(
            f"the environment variable {variable} is not set",
            where="--api-key-env",
            fix=f"export {variable}=…",
        )
    key = os.environ[variable].strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(
            f"{variable} is not a valid key: it is empty, or has characters not allowed in headers",
            where="--api-key-env",
            fix=f"export {variable}=…",
        )
    return key


def _target(
    address: Address,
    generation: Generation,
    endpoint: Endpoint,
    timeout: float,
    *,
    api_key: str,
    connections: int,
) -> BenchTarget:
    described = _described(address)
    card = described[1] if described else None
    if address.kind in ("triton-grpc", "triton-http"):
        from trtbuild_measure.bench.targets.triton import TritonTarget

        return TritonTarget(
            address.name,
            address.url,
            address.model,
            generation,
            _exchange(address, timeout, connections),
            timeout=timeout,
            card=card,
        )
    if address.kind == "openai" and endpoint in TASKS:
        return OpenAITaskTarget(
            address.name,
            address.url,
            address.model,
            endpoint=endpoint,
            timeout=timeout,
            api_key=api_key,
            connections=connections,
        )
    return OpenAITarget(
        address.name,
        address.url,
        address.model,
        generation,
        endpoint=endpoint,
        timeout=timeout,
        api_key=api_key,
        connections=connections,
    )


def _exchange(address: Address, timeout: float, connections: int) -> Exchange:
    if address.kind == "triton-grpc":
        from trtbuild_measure.bench.targets.triton_grpc import GrpcExchange

        return GrpcExchange(address.url, address.model, timeout)
    from trtbuild_measure.bench.targets.triton_http import HttpExchange

    return HttpExchange(address.url, address.model, timeout, connections)


def _watched(address: Address, metrics_url: str) -> Watched:
    if not address.local:
        return Watched(0, metrics_url, address.model)
    record = server_of(address)
    if record is not None:
        url = metrics_url or f"http://{record.host}:{record.metrics_port}/metrics"
        return Watched(record.pid, url, address.model)
    return Watched(process.listener(address.port), metrics_url, address.model)


def server_of(address: Address) -> ServerRecord | None:
    """Return the server that trtbuild started on this machine and that listens there."""
    if address.kind == "openai" or not address.local:
        return None
    ports = (address.port,)
    return next(
        (one for one in running_servers() if one.grpc_port in ports or one.http_port in ports),
        None,
    )


def _described(address: Address) -> tuple[Path, ServedModel] | None:
    """Return the local repository that the target serves, with the model's description."""
    record = server_of(address)
    if record is None:
        return None
    root = Path(record.repo)
    model = served_model(root, address.model)
    return None if model is None else (root, model)


def tokenizer_directory(address: Address) -> Path | None:
    """Return the directory of the served model's tokenizer on this machine, or None."""
    described = _described(address)
    return described[0] / described[1].tokenizer if described and described[1].tokenizer else None


def weights_directory(address: Address) -> Path | None:
    """Return the directory of the served checkpoint on this machine, or None."""
    described = _described(address)
    return described[0] / described[1].weights if described and described[1].weights else None


def _precision(address: Address) -> str:
    """Return the precision (``float32`` …) from the repository; ``""`` if unknown."""
    described = _described(address)
    if described is None:
        return ""
    root, model = described
    files = [model.engine_file, f"{model.weights}/config.json" if model.weights else ""]
    for settings in (read_engine(root / file) for file in files if file):
        value = settings.get("dtype") or settings.get("torch_dtype")
        if value and value != "auto":
            return str(value)
    return ""
