"""A measurement as one JSON object; its schema is ``data/bench-result.schema.json``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trtbuild.errors import TrtbuildError, UsageError
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.limits import limited_by
from trtbuild_measure.bench.metrics import LATENCIES
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.running import LoadRun

FORMAT = "trtbuild-bench/1"
_DIGITS = 6


def load_result(run: LoadRun) -> Json:
    """Return everything about one load on one target."""
    ledger = run.ledger
    rates = ledger.throughput.per_second()
    errors = dict(ledger.failures.kinds)
    latencies = {name: one.summary() for name, one in ledger.latencies.items()}
    goodput = _goodput(ledger, rates["requests_per_s"])
    client = {
        **run.client.as_dict(),
        "waited_for_connection": ledger.waited,
        "opening_ms": ledger.opening.percentile(95) if ledger.opening.count else None,
    }
    server = {**run.server.as_dict(), "cores": os.cpu_count()}
    found: Json = {
        "load": run.load.as_dict(),
        "metrics": {**latencies, **rates, "errors": errors},
        # Three figures at the top level, for one-line scripts.
        "output_tokens_per_s": rates["output_tokens_per_s"],
        "requests_per_s": rates["requests_per_s"],
        "errors": errors,
        "error_messages": ledger.failures.messages,
        "requests": {
            "warmup": ledger.warmups,
            "measured": ledger.measured,
            "ok": ledger.ok,
            "failed": ledger.failures.total,
        },
        "window_s": ledger.throughput.seconds,
        "tokens": _tokens(ledger),
        "goodput": goodput,
        "client": client,
        "server": server,
        "distributions": {
            name: ledger.latencies[name].curve(120) for name in ("ttft_ms", "itl_ms", "e2e_ms")
        },
        "series": {"width_s": ledger.series.width, "rows": ledger.series.rows()},
        "partial": run.partial,
    }
    found["limited_by"] = limited_by(found)
    told: Json = rounded(found)
    return told


def _goodput(ledger: Ledger, requests_per_s: float | None) -> Json | None:
    if not ledger.goodput.slo:
        return None
    return {
        "slo": dict(ledger.goodput.slo),
        "share": ledger.goodput.share,
        "goodput_per_s": (requests_per_s or 0.0) * ledger.goodput.share,
        "held": ledger.goodput.held,
        "broken_by": dict(ledger.goodput.broken),
    }


def _tokens(ledger: Ledger) -> Json:
    tokens = ledger.tokens
    return {
        "output": tokens.output,
        "input": tokens.input,
        "asked": ledger.asked_tokens,
        "hidden_reasoning": tokens.hidden,
        "first_chunk": tokens.first / tokens.chunked if tokens.chunked else None,
        "output_per_request": ledger.lengths.summary(),
        "echoes": ledger.counter.echoes,
        "compared_with_server": {
            "requests": tokens.compared,
            "tokenizer": tokens.ours,
            "server": tokens.server,
            "requests_disagreeing": tokens.disagreeing,
        },
    }


def rounded(value: Any) -> Any:
    """Round floats to six significant digits: more are noise, and a third of the file."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def read_result(path: Path, *parts: str) -> Json:
    """Read a result of an earlier run that has these ``parts`` besides its targets.

    Raises:
        UsageError: It is not a result, or incomplete.
    """
    fix = "give a file that `trtbuild bench --out FILE` wrote"
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}", fix=fix) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"{path} is not a benchmark result", fix=fix)
    try:
        _ = [found[part] for part in parts]
        for target in found["targets"]:
            _ = target["name"], [(one["load"]["label"], one["metrics"]) for one in target["loads"]]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is incomplete: {error} is not there", fix=fix) from None
    return found


@contextlib.contextmanager
def believing(*paths: Path) -> Iterator[None]:
    """Report errors inside the block as errors of the result files.

    ``read_result`` checks only the structure, not each of a thousand figures.
    """
    try:
        yield
    except TrtbuildError:
        raise
    except Exception as error:  # a text in place of a number or a list, among many possibilities
        raise UsageError(
            "a result is damaged: it has missing or wrong values",
            where=f"{' or '.join(map(str, paths))}: {type(error).__name__}: {error}",
            fix="give an unchanged file from `trtbuild bench --out FILE`; if it is, report this",
        ) from error


TITLES = {metric.NAME: metric.TITLE for metric in LATENCIES}
