"""What ``trtbuild cost`` is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtbuild.cli.fields import option


@dataclass(frozen=True, slots=True)
class CostOptions:
    """The deployment, and what to compare it with; each field is a flag."""

    source: str = option("", "Checkpoint whose throughput to predict.", argument=True)
    result: Path | None = option(None, "Benchmark result; its best throughput is used.")
    throughput: float | None = option(None, "Output tokens/s of the deployment, if known.")
    gpu: str = option("h100", "GPU: h100, h200, a100-80, l40s, l4, …")
    gpus: int | None = option(
        None, "Number of GPUs; default: as the layout needs.", min=1, max=1_000_000
    )
    gpu_price: float | None = option(None, "Dollars per GPU-hour, instead of the table's.", min=0)
    utilization: float = option(0.5, "Average share of the throughput that is used.")
    input_tokens: int | None = option(
        None, "Input tokens per request; default as measured, or 1000.", min=1
    )
    output_tokens: int | None = option(
        None, "Output tokens per request; default as measured, or 300.", min=1
    )
    apis: tuple[str, ...] = option(
        (),
        "API to compare with: a name from the table, or INPUT/OUTPUT prices; repeatable.",
        flag="--api",
    )
    dtype: str = option(
        "auto", "Number format of the served weights: auto (as stored), bfloat16, fp8."
    )
