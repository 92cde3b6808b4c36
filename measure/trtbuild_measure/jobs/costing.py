"""``trtbuild cost``: the cost of tokens, from a checkpoint or a benchmark result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild import hardware
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.errors import UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild_measure import cost
from trtbuild_measure.bench.results import believing, read_result
from trtbuild_measure.cost.options import CostOptions

_USUAL = cost.Mix(1000, 300)
DTYPES = ("auto", "bfloat16", "float16", "fp8")


@dataclass(frozen=True, slots=True)
class CostReport:
    """Everything that is printed, in dollars.

    ``layouts`` is empty if nothing was predicted; ``notes`` say what a measured throughput
    should not be taken for.
    """

    gpu: str
    gpu_price: cost.GpuPrice
    deployment: cost.Deployment
    mix: cost.Mix
    utilization: float
    own: cost.SelfHosted
    comparisons: tuple[cost.Comparison, ...]
    sensitivity: tuple[tuple[str, cost.SelfHosted], ...]
    layouts: tuple[tuple[cost.ParallelLayout, float | None], ...]
    notes: tuple[str, ...] = ()


def report(options: CostOptions, *, progress: Progress = SILENT) -> CostReport:
    """Compute the report.

    Raises:
        UsageError: No known throughput, an unknown GPU, price or API, or an invalid share.
        UnsupportedError: A checkpoint that cannot be described.
    """
    if options.dtype not in DTYPES:
        raise UsageError(
            f"unknown dtype {options.dtype!r}", fix=f"use --dtype with one of {', '.join(DTYPES)}"
        )
    gpu = hardware.gpu(options.gpu)
    price = _price(options, gpu.name)
    measured = _best(options.result) if options.result is not None else None
    mix = _mix(options, measured)
    found: tuple[cost.ParallelLayout, ...] = ()
    if options.source:
        progress.step(f"opening {options.source}")
        spec = inspect(open_checkpoint(options.source, progress=progress))
        found = tuple(cost.layouts(spec, gpu, mix, options.dtype))
    deployment = _deployment(options, price, found, measured)
    apis = [cost.api_price(text) for text in options.apis] or list(cost.api_prices())
    return CostReport(
        gpu=gpu.title,
        gpu_price=price,
        deployment=deployment,
        mix=mix,
        utilization=options.utilization,
        own=cost.self_hosted(deployment, mix, options.utilization),
        comparisons=tuple(cost.compare(deployment, mix, options.utilization, api) for api in apis),
        sensitivity=tuple(cost.sensitivity(deployment, mix, options.utilization)),
        layouts=tuple((one, layout_price(one, price, mix, options.utilization)) for one in found),
        notes=tuple(_notes(mix, gpu.title, measured)) if options.throughput is None else (),
    )


def _mix(options: CostOptions, measured: BestLoad | None) -> cost.Mix:
    """Return the mix as given, else the one that the throughput was measured with."""
    usual = (measured.mix if measured else None) or _USUAL
    return cost.Mix(options.input_tokens or usual.input, options.output_tokens or usual.output)


def _notes(mix: cost.Mix, gpu: str, measured: BestLoad | None) -> Iterator[str]:
    if measured is None:
        return
    if measured.mix is not None and measured.mix != mix:
        yield (
            f"the throughput was measured with requests of {measured.mix.input} + "
            f"{measured.mix.output} tokens and is not the same for other lengths"
        )
    if not measured.gpus:
        yield f"the benchmark ran on a machine without a GPU; the price is for {gpu}"


def _price(options: CostOptions, name: str) -> cost.GpuPrice:
    if options.gpu_price is None:
        return cost.gpu_price(name)
    return cost.GpuPrice(name, options.gpu_price, "as given", "given", "--gpu-price")


def _deployment(
    options: CostOptions,
    price: cost.GpuPrice,
    layouts: tuple[cost.ParallelLayout, ...],
    measured: BestLoad | None,
) -> cost.Deployment:
    """Return the deployment by the given throughput, else the measured or predicted one."""
    gpus = options.gpus or 1
    if options.throughput is not None:
        return cost.Deployment(gpus, price.usd_per_hour, options.throughput, "as given")
    if measured is not None:
        where = f"measured: {measured.where}"
        return cost.Deployment(gpus, price.usd_per_hour, measured.rate, where)
    fitting = [one for one in layouts if one.sequences and options.gpus in (None, one.gpus)]
    if fitting:
        best = min(fitting, key=lambda one: one.gpus / one.output_tokens_per_s)
        where = f"predicted for TP {best.tensor}, PP {best.pipeline}"
        return cost.Deployment(best.gpus, price.usd_per_hour, best.output_tokens_per_s, where)
    if layouts:
        raise UsageError(
            f"the model does not fit on the given {options.gpu} GPUs",
            fix="raise --gpus, or choose another --gpu",
        )
    raise UsageError(
        "the throughput of the deployment is unknown",
        fix="name a checkpoint, --result FILE of a benchmark, or --throughput TOKENS_PER_S",
    )


@dataclass(frozen=True, slots=True)
class BestLoad:
    """The best load of a result's first target; ``mix`` is that of its requests, if known."""

    rate: float
    where: str
    mix: cost.Mix | None
    gpus: bool


def _best(path: Path) -> BestLoad:
    """Return the load with the highest throughput.

    Raises:
        UsageError: It is not a result, or has no throughput.
    """
    result = read_result(path)
    with believing(path):
        return _best_of(result)


def _best_of(result: dict[str, Any]) -> BestLoad:
    target: dict[str, Any] = next(iter(result["targets"]), {"loads": []})
    loads = [one for one in target["loads"] if one["metrics"].get("output_tokens_per_s")]
    if not loads:
        raise UsageError("the result has no throughput", fix="measure again, or give --throughput")
    best = max(loads, key=lambda one: float(one["metrics"]["output_tokens_per_s"]))
    environment = result.get("environment", {})
    said = (str(environment.get("date", ""))[:10], environment.get("cpu", ""))
    where = ", ".join([f"{target['name']} at {best['load']['label']}", *filter(None, said)])
    rate = float(best["metrics"]["output_tokens_per_s"])
    return BestLoad(rate, where, mix_of(best), bool(environment.get("gpus")))


def mix_of(load: dict[str, Any]) -> cost.Mix | None:
    """Return the mean request of a load; None if its tokens are unknown."""
    tokens, ok = load.get("tokens", {}), load.get("requests", {}).get("ok", 0)
    counts = [round(tokens.get(side, 0) / ok) if ok else 0 for side in ("input", "output")]
    return cost.Mix(*counts) if all(counts) else None


def layout_price(
    layout: cost.ParallelLayout, price: cost.GpuPrice, mix: cost.Mix, utilization: float
) -> float | None:
    """Return dollars per million output tokens of a predicted layout; None if it does not fit."""
    if not layout.sequences:
        return None
    made = cost.Deployment(layout.gpus, price.usd_per_hour, layout.output_tokens_per_s, "predicted")
    return cost.self_hosted(made, mix, utilization).per_million_output
