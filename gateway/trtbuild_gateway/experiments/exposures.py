"""A request that a variant answers, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trtbuild_gateway.seams import Call, Outcome

LEFT = "client_left"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A request that a variant answers.

    Attributes:
        experiment, variant: Their names.
        model: The variant's model.
        unit: The hash of the user; empty: nothing is recorded.
        override: Whether the variant was only tried.
    """

    experiment: str
    variant: str
    model: str
    unit: str
    override: bool = False

    @property
    def header(self) -> str:
        """What the answer says of it."""
        return f"{self.experiment}={self.variant}"


def record_of(exposure: Exposure, call: Call, outcome: Outcome, fallback: str) -> dict[str, Any]:
    """Return the line of an exposure: numbers and truth values are metrics of a report."""
    left = outcome.error == LEFT
    made: dict[str, Any] = {
        "experiment": exposure.experiment,
        "variant": exposure.variant,
        "unit": exposure.unit,
        "id": call.id,
        "time": now(),
        "endpoint": call.endpoint,
        "model": call.model or exposure.model,
        "error": bool(outcome.error) and not left,
        "left": left,
        "fell_back": bool(fallback),
    }
    if not left:
        made["latency_ms"] = _milliseconds(call, outcome.ended)
    if outcome.first_token:
        made["ttft_ms"] = _milliseconds(call, outcome.first_token)
    if outcome.prompt_tokens or outcome.completion_tokens:
        made["prompt_tokens"] = outcome.prompt_tokens
        made["completion_tokens"] = outcome.completion_tokens
    if outcome.finish_reasons:
        made["finish"] = ",".join(outcome.finish_reasons)
    if outcome.error:
        made["code"] = outcome.error
    if exposure.override:
        made["override"] = True
    return made


def _milliseconds(call: Call, moment: float) -> float:
    return round(1000 * (moment - call.started), 3)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
