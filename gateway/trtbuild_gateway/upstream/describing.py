"""What a server and the repository together say of a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trtbuild.lockfile import Lock
from trtbuild.modelspec import Head, HeadKind, Vision
from trtbuild.signature import ServedModel, dialect_of, of_server, with_files
from trtbuild.wire.failures import UNREADABLE
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.prompts.prompter import Prompter
from trtbuild_gateway.routing_settings import ServerSettings
from trtbuild_gateway.settings import ModelSettings, Settings
from trtbuild_gateway.upstream.open_requests import OpenRequests
from trtbuild_gateway.upstream.servers import (
    Found,
    declared_boxes,
    declared_context,
    declared_labels,
)
from trtbuild_gateway.upstream.triton import TritonModel

_ADMIN_SECONDS = 10.0


async def describe(
    wire: TritonHttp,
    settings: Settings,
    lock: Lock,
    found: tuple[ServerSettings, str, str],
    requests: OpenRequests,
) -> Found | None:
    """Return a model as its server describes it; None for one without a request schema.

    Args:
        wire: Asks the server.
        settings: Of the gateway.
        lock: What the repository says of its models.
        found: The server, the model's public name, and its name there.
        requests: The model's open requests.

    Raises:
        WireError: The server does not describe it.
    """
    server, name, upstream = found
    own = settings.models.get(name, ModelSettings())
    metadata = await wire.metadata(upstream, seconds=_ADMIN_SECONDS)
    config = await wire.config(upstream, seconds=_ADMIN_SECONDS)
    try:
        served = _declared(of_server(metadata, config, lock.card(upstream)), config)
    except UNREADABLE:
        return None
    common = (one.url for one in settings.common)
    if settings.repository is not None and server.url in common:
        served = with_files(settings.repository, served)
    if own.context_length:
        served = replace(served, context_length=own.context_length)
    dialect = dialect_of(served)
    if dialect is None:
        return None
    seconds = own.seconds or settings.seconds
    backend = TritonModel(wire, served, dialect, seconds=seconds, requests=requests)
    prompter = Prompter.of(served, settings.repository, own)
    return Found(server, served, backend, prompter, created=int(time.time()))


def _declared(served: ServedModel, config: Mapping[str, Any]) -> ServedModel:
    """Return a model with what an adapter's worker reports of it."""
    if tokens := declared_context(config):
        served = replace(served, context_length=tokens)
    if served.head is None and (labels := declared_labels(config)):
        served = replace(served, head=Head(HeadKind.LABELS, labels=labels))
    if served.vision is None and (boxes := declared_boxes(config)):
        served = replace(served, vision=Vision(boxes=boxes))
    return served
