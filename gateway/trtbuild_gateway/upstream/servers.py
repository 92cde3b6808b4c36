"""A model as each of its servers has it, and the pool that they make."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtbuild.signature import ServedModel
from trtbuild_gateway.prompts.prompter import Prompter
from trtbuild_gateway.routing.breaker import Breaker
from trtbuild_gateway.routing.pool import Pool
from trtbuild_gateway.routing.server import Server
from trtbuild_gateway.routing_settings import BreakerSettings, ServerSettings
from trtbuild_gateway.seams import Backend

_log = logging.getLogger("trtbuild.gateway")


@dataclass(frozen=True, slots=True)
class Found:
    """A model that a server has.

    Attributes:
        server: The server's settings.
        served: The model's description there.
        backend: Asks it.
        prompter: Its tokenizer and chat template.
        created: When the gateway first saw it, in seconds since 1970.
        up: Whether the server answered when it was last asked.
    """

    server: ServerSettings
    served: ServedModel
    backend: Backend
    prompter: Prompter
    created: int
    up: bool = True

    @property
    def place(self) -> str:
        """The server, with the model's name there if the settings give one."""
        named = f"/{self.server.upstream}" if self.server.upstream else ""
        return self.server.url + named


def alike(name: str, found: Sequence[Found]) -> list[Found]:
    """Return the servers that take the same requests as the first.

    A request is checked once, whichever server gets it.
    """
    kept = [one for one in found if _form(one.served) == _form(found[0].served)]
    for one in found:
        if one not in kept:
            _log.warning(
                "%s is left out of the servers of %r: its task, request schema or inputs differ "
                "from those on %s",
                one.place,
                name,
                found[0].place,
            )
    return kept


def _form(served: ServedModel) -> tuple[object, ...]:
    inputs = frozenset(tensor.name for tensor in served.inputs)
    return served.task, served.request_schema, inputs


def shortest_context(found: Sequence[Found]) -> int:
    """Return the context length that every server has; 0 if none is known."""
    return min((one.served.context_length for one in found if one.served.context_length), default=0)


def declared_context(config: Mapping[str, Any]) -> int:
    """Return the context length that an adapter's worker reports; 0 if it is unknown."""
    value = (config.get("parameters") or {}).get("context_length") or {}
    text = str(value.get("string_value", ""))
    return int(text) if text.isdecimal() else 0


def declared_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the labels that an adapter's worker reports, if it does."""
    value = (config.get("parameters") or {}).get("labels") or {}
    try:
        found = json.loads(value.get("string_value", "[]"))
    except (ValueError, TypeError, AttributeError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def declared_boxes(config: Mapping[str, Any]) -> str:
    """Return how the answers of an adapter's model mark boxes; empty for not at all."""
    value = (config.get("parameters") or {}).get("boxes") or {}
    return str(value.get("string_value", ""))


def fill(pool: Pool, found: Sequence[Found], settings: BreakerSettings) -> None:
    """Give a pool the servers of the last look; those that it had keep their state."""
    had = {one.server: one for one in pool.servers}
    share = min((one.turns / one.weight for one in pool.servers), default=0.0)
    servers = []
    for one in found:
        server = had.get(one.place)
        if server is None or server.backend is not one.backend:  # new, or loaded again
            server = Server(one.place, one.backend, Breaker(settings))
            server.turns = share * one.server.weight
        elif server.breaker.settings != settings:
            server.breaker = Breaker(settings)
        server.weight, server.up = one.server.weight, one.up
        server.streams = bool(one.served.decoupled)
        server.reports_reason = one.served.has_output("finish_reason")
        servers.append(server)
    pool.servers = servers
    pool.serve_waiting()
