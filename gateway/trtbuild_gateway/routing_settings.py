"""The section ``routing`` of ``gateway.yaml``, and the servers that it chooses from."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several servers.

    Attributes:
        url: Its HTTP address.
        weight: Its share of the requests, compared with the others'.
        upstream: The model's name there, if it is another; only below a model.
    """

    url: str
    weight: Annotated[float, Meta(gt=0)] = 1.0
    upstream: str = ""


Servers = tuple[str | ServerSettings, ...]


def servers_from(url: str, servers: Servers) -> tuple[ServerSettings, ...]:
    """Return several servers, or the only one."""
    given = servers or ((url,) if url else ())
    return tuple(ServerSettings(one) if isinstance(one, str) else one for one in given)


class BreakerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a server gets no more requests for a while.

    Attributes:
        failures: Failed answers in a row after which it opens.
        share: The share of failures among the last ``window`` answers after which it opens.
        window: Answers that are remembered.
        seconds: How long it is open before a request may try.
    """

    failures: Count = 5
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    window: Count = 20
    seconds: Seconds = 10.0


class RoutingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which server gets a request, and what happens when one fails.

    Attributes:
        choice: ``least`` requests in flight; ``prefix``: the server that has seen the beginning of
            the prompt, unless it is busy; ``sticky``: one server for each user or session.
        prefix_characters: The beginning of the prompt that ``prefix`` looks at.
        imbalance: How many times its share of the requests a server may have before ``prefix``
            takes the next.
        retries: Other servers that are tried if one fails before the first token.
        retry_share: The share of the requests that may be retries.
        connect_seconds: To connect to a server.
        first_token_seconds: Until the first token of a stream.
        token_seconds: Between two tokens of a stream.
        most_in_flight: Requests of one model on one server; more wait. None: no limit.
        most_waiting: Requests of one model that wait; more are refused.
        waiting_seconds: How long a request waits for a server before it is refused.
        breaker: When a server gets no more requests for a while.
    """

    choice: Literal["least", "prefix", "sticky"] = "least"
    prefix_characters: Count = 512
    imbalance: Annotated[float, Meta(ge=1)] = 1.5
    retries: Annotated[int, Meta(ge=0)] = 1
    retry_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    connect_seconds: Seconds = 2.0
    first_token_seconds: Seconds = 120.0
    token_seconds: Seconds = 60.0
    most_in_flight: Count | None = None
    most_waiting: Annotated[int, Meta(ge=0)] = 100
    waiting_seconds: Seconds = 10.0
    breaker: BreakerSettings = BreakerSettings()
