"""Goodput (``goodput_per_s``): requests a second that meet every objective.

``requests/s x share of the measured requests that met all``. A failed request meets none. An
objective of ``itl`` is held against the mean of the request's own inter-token latencies; the others
have one value for each request. What is unknown (without token counts there is no ``itl``) is not
met. A load holds an SLO when at least 99 % of its requests meet it (the share MLPerf's server
scenarios ask for).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trtbuild.errors import UsageError
from trtbuild_measure.bench.shares import share_interval

HELD = 0.99
_UNITS = {"ms": 1.0, "s": 1e3, "us": 1e-3}
_NAMES = ("ttft", "itl", "icl", "tpot", "e2e")
_ONE = re.compile(r"(?P<name>\w+)=(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|us)")


def parse_slo(text: str) -> dict[str, float]:
    """Parse ``ttft=500ms,itl=50ms`` into milliseconds by metric (``ttft_ms``…).

    Raises:
        UsageError: An unknown name, no unit, no time, a duplicate limit, or no limit.
    """
    found: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",") if text):
        match = _ONE.fullmatch(part)
        known = match is not None and match["name"] in _NAMES and float(match["number"]) > 0
        if match is None or not known or f"{match['name']}_ms" in found:
            raise UsageError(
                f"{part!r} is not an objective, or is there twice",
                where=f"--slo {text}",
                fix=f"write NAME=TIME with {', '.join(_NAMES)}, such as --slo ttft=500ms,itl=50ms",
            )
        found[f"{match['name']}_ms"] = float(match["number"]) * _UNITS[match["unit"]]
    return found


def _meets(values: Mapping[str, tuple[float, ...]], name: str, limit: float) -> bool:
    found = values.get(name)
    if not found:  # one token has no ITL; several chunks without counts have an unknown one
        return not values.get("icl_ms")
    return sum(found) / len(found) <= limit


@dataclass(slots=True)
class Goodput:
    """Counts requests that met ``slo`` (limits in ms by metric)."""

    slo: Mapping[str, float]
    asked: int = 0
    met: int = 0
    broken: dict[str, int] = field(default_factory=dict)

    def add(self, values: Mapping[str, tuple[float, ...]]) -> None:
        """Add a successful request with its values by metric."""
        self.asked += 1
        late = [name for name, limit in self.slo.items() if not _meets(values, name, limit)]
        self.met += not late
        for name in late:
            self.broken[name] = self.broken.get(name, 0) + 1

    def fail(self) -> None:
        """Add a failed request."""
        self.asked += 1

    @property
    def share(self) -> float:
        """The share of requests that met every objective."""
        return self.met / self.asked if self.asked else 0.0

    @property
    def held(self) -> bool:
        """Whether the load as a whole holds the SLO."""
        return self.asked > 0 and self.share >= HELD

    @property
    def undecided(self) -> bool:
        """Whether the miss is within chance: one request of fifty is already 2 %."""
        return not self.held and share_interval(self.met, self.asked)[1] >= HELD
