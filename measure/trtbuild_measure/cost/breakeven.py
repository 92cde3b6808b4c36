"""Against an API: from which volume on one's own GPUs are cheaper, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trtbuild_measure.cost.model import Deployment, Mix, SelfHosted, self_hosted
from trtbuild_measure.cost.prices import ApiPrice


@dataclass(frozen=True, slots=True)
class Comparison:
    """One API beside a deployment.

    Attributes:
        api: Its price.
        per_thousand_requests: Dollars for a thousand requests of the mix at the API.
        ratio: Own price over the API's, below 1 when one's own is cheaper.
        breakeven_requests: Requests a month at which both cost the same, None when the API is free.
        breakeven_utilization: The same as a share of what the deployment can do; above 1 it never
            pays on these GPUs.
    """

    api: ApiPrice
    per_thousand_requests: float
    ratio: float | None
    breakeven_requests: float | None
    breakeven_utilization: float | None


def compare(deployment: Deployment, mix: Mix, utilization: float, api: ApiPrice) -> Comparison:
    """The deployment at a utilisation beside one API."""
    own = self_hosted(deployment, mix, utilization)
    request = (mix.input * api.input + mix.output * api.output) / 1e6
    if request <= 0:
        return Comparison(api, 0.0, None, None, None)
    breakeven = deployment.usd_per_month / request
    most = self_hosted(deployment, mix, 1.0).requests_per_month
    return Comparison(
        api=api,
        per_thousand_requests=request * 1e3,
        ratio=own.per_thousand_requests / (request * 1e3),
        breakeven_requests=breakeven,
        breakeven_utilization=breakeven / most,
    )


def sensitivity(
    deployment: Deployment, mix: Mix, utilization: float
) -> Sequence[tuple[str, SelfHosted]]:
    """The price again with one assumption changed at a time."""
    faster, slower = (
        replace(deployment, output_tokens_per_s=deployment.output_tokens_per_s * factor)
        for factor in (1.5, 0.5)
    )
    cheaper, dearer = (
        replace(deployment, usd_per_gpu_hour=deployment.usd_per_gpu_hour * factor)
        for factor in (0.7, 1.3)
    )
    cases = [
        (f"utilization {share:.0%}", deployment, share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)
    ]
    cases += [
        ("throughput + 50 %", faster, utilization),
        ("throughput - 50 %", slower, utilization),
        ("GPU price - 30 %", cheaper, utilization),
        ("GPU price + 30 %", dearer, utilization),
    ]
    return [(name, self_hosted(case, mix, share)) for name, case, share in cases]
