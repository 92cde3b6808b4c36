"""The cost of a benchmark's tokens, if the price of its machine is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtbuild import hardware
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.errors import TrtbuildError, UsageError
from trtbuild_measure import cost
from trtbuild_measure.bench.model import Json
from trtbuild_measure.jobs.costing import layout_price, mix_of

UTILIZATION = 0.5


def prices(result: Json, usd_per_hour: float | None, checkpoint: Path | None = None) -> Json | None:
    """Return sentences and tables for the report; None without a price.

    ``usd_per_hour`` is for the whole machine; without it the GPUs of this machine are looked up.
    The tables are for the fastest target. Layouts are predicted for ``checkpoint`` on those GPUs.
    """
    hour, source = _hour(usd_per_hour)
    if not hour:
        return None
    made = [found for target in result["targets"] if (found := _made(target, hour))]
    if not made:
        return None
    name, deployment, mix, _ = max(made, key=lambda found: found[1].output_tokens_per_s)
    return {
        "usd_per_hour": hour,
        "source": source,
        "utilization": UTILIZATION,
        "target": name,
        "lines": [line for *_, line in made],
        "apis": [
            _api(cost.compare(deployment, mix, UTILIZATION, api)) for api in cost.api_prices()
        ],
        "sensitivity": [
            {"case": case, "per_million_output": own.per_million_output}
            for case, own in cost.sensitivity(deployment, mix, UTILIZATION)
        ],
        "layouts": list(_layouts(checkpoint, mix)) if checkpoint is not None else [],
    }


def _api(beside: cost.Comparison) -> Json:
    return {
        "name": beside.api.name,
        "per_thousand_requests": beside.per_thousand_requests,
        "ratio": beside.ratio,
        "breakeven_requests": beside.breakeven_requests,
        "breakeven_share": beside.breakeven_utilization,
        "source": beside.api.provenance,
    }


def _layouts(checkpoint: Path, mix: cost.Mix) -> Iterator[Json]:
    """Predict TP and PP layouts on this kind of GPU; empty if checkpoint or GPU is unknown."""
    try:
        gpu = next(found.info for found in hardware.detect() if found.info is not None)
        price, spec = cost.gpu_price(gpu.name), inspect(open_checkpoint(str(checkpoint)))
    except (StopIteration, TrtbuildError):
        return
    for one in cost.layouts(spec, gpu, mix):
        yield {
            "tensor": one.tensor,
            "pipeline": one.pipeline,
            "sequences": one.sequences,
            "output_tokens_per_s": one.output_tokens_per_s,
            "per_million_output": layout_price(one, price, mix, UTILIZATION),
        }


def _hour(usd_per_hour: float | None) -> tuple[float, str]:
    if usd_per_hour is not None:
        return usd_per_hour, f"Priced at ${usd_per_hour:g} an hour, as given."
    found = [gpu.info.name for gpu in hardware.detect() if gpu.info is not None]
    try:
        known = [cost.gpu_price(name) for name in found]
    except UsageError:
        return 0.0, ""
    if not known:
        return 0.0, ""
    one = known[0]
    total = sum(price.usd_per_hour for price in known)
    return total, f"{len(known)} GPUs, ${total:g} an hour ({one.offer}, {one.provenance})."


def _made(target: Json, hour: float) -> tuple[str, cost.Deployment, cost.Mix, str] | None:
    """Return a target at its best load, its mean request, and a sentence about both."""
    loads = [one for one in target["loads"] if one["metrics"]["output_tokens_per_s"]]
    best = max(loads, key=lambda one: float(one["metrics"]["output_tokens_per_s"]), default=None)
    mix = mix_of(best) if best is not None else None
    if best is None or mix is None:
        return None
    rate = float(best["metrics"]["output_tokens_per_s"])
    made = cost.Deployment(1, hour, rate, "measured")
    own = cost.self_hosted(made, mix, UTILIZATION)
    line = (
        f"{target['name']}: ${own.per_million_output:.2f} a million output tokens at "
        f"{UTILIZATION:.0%} of {rate:,.0f} tokens/s ({best['load']['label']}, requests of "
        f"{mix.input} + {mix.output} tokens)."
    )
    return target["name"], made, mix, line
