"""The price of tokens that one makes oneself.

A deployment costs its GPUs by the hour whether it works or not. ``utilization`` is the share of its
throughput that is asked for, over day and night.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trtbuild.errors import UsageError

HOURS_A_MONTH = 730.0
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Mix:
    """A typical request in tokens."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """GPUs that serve one model.

    ``output_tokens_per_s`` is what they make together under full load, ``source`` says who says so.
    """

    gpus: int
    usd_per_gpu_hour: float
    output_tokens_per_s: float
    source: str

    @property
    def usd_per_hour(self) -> float:
        """Of all GPUs."""
        return self.gpus * self.usd_per_gpu_hour

    @property
    def usd_per_month(self) -> float:
        """Of 730 hours."""
        return self.usd_per_hour * HOURS_A_MONTH


@dataclass(frozen=True, slots=True)
class SelfHosted:
    """Dollars: for a million output tokens (prompts included), and for a thousand requests."""

    per_million_output: float
    per_thousand_requests: float
    requests_per_month: float


def self_hosted(deployment: Deployment, mix: Mix, utilization: float) -> SelfHosted:
    """What tokens cost at a utilisation.

    The throughput is of output tokens while prompts are read too, so their price is inside:
    ``usd/hour / (tokens/s x 3600 x utilization)``.

    Raises:
        UsageError: A utilisation outside of 0 to 1, no throughput, or a price without an end.
    """
    if not 0 < utilization <= 1:
        raise UsageError(
            f"utilization is {utilization:g}", fix="a share above 0 and up to 1, such as 0.4"
        )
    rate = deployment.output_tokens_per_s
    if not 0 < rate < math.inf:
        raise UsageError(
            f"the throughput is {rate:g} tokens/s", fix="measure one, or give --throughput"
        )
    if not 0 <= deployment.usd_per_hour < math.inf:
        raise UsageError(
            f"the price is {deployment.usd_per_hour:g} $/h", fix="give one with --gpu-price"
        )
    per_hour = deployment.output_tokens_per_s * 3600 * utilization
    per_token = deployment.usd_per_hour / per_hour
    return SelfHosted(
        per_million_output=per_token * _MILLION,
        per_thousand_requests=per_token * mix.output * 1e3,
        requests_per_month=per_hour / mix.output * HOURS_A_MONTH,
    )
