"""Errors by kind (``errors``).

Kinds: ``http NNN`` and ``grpc NAME`` (the server's status), ``server error`` (an error inside the
stream or in an answer of status 200, or a ``finish_reason`` that says so), ``dropped`` (the
connection ended before the answer), ``timeout``, ``refused`` (no connection), ``malformed`` (not
what the protocol says), ``empty`` (a complete answer without any text). A failed request is in no
latency and no throughput.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_KEPT = 3


@dataclass(slots=True)
class Failures:
    """Counts of each kind, with the first message of each."""

    kinds: dict[str, int] = field(default_factory=dict)
    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, message: str) -> None:
        """Add a failed request."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        kept = self.messages.setdefault(kind, [])
        if message and message not in kept and len(kept) < _KEPT:
            kept.append(message)

    def most(self) -> str:
        """The most frequent kind, with its first message."""
        kind = max(self.kinds, key=lambda one: self.kinds[one], default="")
        return ": ".join([kind, *self.messages.get(kind, [])[:1]])

    def counted(self) -> str:
        """Every kind with its count, the most frequent first."""
        ordered = sorted(self.kinds.items(), key=lambda one: -one[1])
        return ", ".join(f"{count} {kind}" for kind, count in ordered)

    @property
    def total(self) -> int:
        """The count of all kinds."""
        return sum(self.kinds.values())
