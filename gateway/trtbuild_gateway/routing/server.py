"""One server of a model: what it is doing, and how it has done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from trtbuild_gateway.routing.breaker import Breaker
from trtbuild_gateway.seams import Backend


@dataclass(slots=True, eq=False)
class Server:
    """A model on one server.

    Attributes:
        server: Its address, with the model's name there if that is another.
        backend: Asks it.
        breaker: Whether it may be asked.
        weight: Its share of the requests.
        streams: Whether it answers a streaming request token by token.
        reports_reason: Whether its last response says why the answer ended.
        up: Whether it answered when it was last asked for its models.
        in_flight: Requests that it has not answered.
        sent: Requests that it has got.
        turns: The same, as if it had been there from the beginning.
        errors: Failures by the code of their error.
        retries: Requests that went on to another server.
    """

    server: str
    backend: Backend
    breaker: Breaker
    weight: float = 1.0
    streams: bool = True
    reports_reason: bool = False
    up: bool = True
    in_flight: int = 0
    sent: int = 0
    turns: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    retries: int = 0

    @property
    def healthy(self) -> bool:
        """Whether a request should be sent."""
        return self.up and self.breaker.allows

    @property
    def worth_trying(self) -> bool:
        """Whether a request may be sent if no server is healthy: it answers, though with errors,
        or it may have come back since it was last asked."""
        return not self.breaker.silent if self.breaker.state == "open" else self.breaker.allows
