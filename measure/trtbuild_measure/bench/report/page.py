"""A result as an HTML page."""

from __future__ import annotations

import importlib
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.bench.comparison import find_load
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.report.pictures import charts_of
from trtbuild_measure.bench.report.svg import WIDTH, draw, draw_alone
from trtbuild_measure.bench.results import TITLES
from trtbuild_measure.resources import template_dir

_LATENCIES = ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms")


def render(result: Json) -> str:
    """Return the page; it loads no script, font or image."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template_dir("report")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    # Generated here; labels are escaped where the charts are drawn.
    pictures = {name: Markup(draw(chart)) for name, chart in charts_of(result).items()}  # noqa: S704
    style = Markup(template_dir("report", "style.css").read_text(encoding="utf-8"))  # noqa: S704
    page = environment.get_template("report.html.j2")
    return page.render(
        result=result,
        charts=pictures,
        style=style,
        latencies=[(name, name.removesuffix("_ms").upper(), TITLES[name]) for name in _LATENCIES],
        headline=headline(result),
    )


def headline(result: Json) -> list[str]:
    """Return the summary: the best figure of each target, and the ratio."""
    found = []
    for target in result["targets"]:
        pooling = any(one["metrics"].get("sequences_per_s") for one in target["loads"])
        name, unit = (
            ("sequences_per_s", "sequences") if pooling else ("output_tokens_per_s", "tokens")
        )
        rates = [(one["metrics"][name], one) for one in target["loads"] if one["metrics"].get(name)]
        if rates:
            best, load = max(rates, key=lambda pair: pair[0])
            ttft = load["metrics"]["ttft_ms"]
            late = f", first token after {number(ttft['p50'])} ms (p50)" if ttft else ""
            found.append(
                f"{target['name']}: {number(best)} {unit}/s at {load['load']['label']}{late}."
            )
    rows = result["comparison"]["rows"]
    if rows:
        row = next(one for one in rows if one["load"] == rows[-1]["load"])
        speed, tail = (
            row["ratios"][name]["ratio"] for name in ("output_tokens_per_s", "e2e_ms.p99")
        )
        if speed and tail:
            found.append(
                f"At {row['load']}, {row['target']} has {speed:.2f} times the throughput and "
                f"{tail:.2f} times the p99 latency of {row['reference']}."
            )
        found += _why(result, row)
    return found


def _why(result: Json, row: Json) -> list[str]:
    """Explain a difference by the time that requests wait before the first token."""
    loads = {
        target["name"]: find_load(target, row["load"])
        for target in result["targets"]
        if target["name"] in (row["reference"], row["target"])
    }
    shares = {
        name: load["metrics"]["ttft_ms"]["mean"] / load["metrics"]["e2e_ms"]["mean"]
        for name, load in loads.items()
        if load and load["metrics"]["ttft_ms"] and load["metrics"]["e2e_ms"]
    }
    if len(shares) < 2:
        return []
    told = " and ".join(f"{share:.0%} at {name}" for name, share in shares.items())
    return [f"Of a request's time, {told} pass before its first token."]


def charts(result: Json) -> dict[str, str]:
    """Return each chart as a separate SVG file, by name."""
    style = template_dir("report", "chart.css").read_text(encoding="utf-8")
    return {name: draw_alone(chart, style) for name, chart in charts_of(result).items()}


def pngs(result: Json) -> dict[str, bytes]:
    """Return the charts as PNG, at twice their size for sharp text.

    Raises:
        UsageError: The extra is not installed.
    """
    try:
        renderer: Any = importlib.import_module("resvg_py")
    except ImportError:
        raise UsageError(
            "PNG needs a renderer", fix="pip install 'trtbuild[bench]', or use --svg"
        ) from None
    return {
        name: bytes(renderer.svg_to_bytes(svg_string=text, width=2 * WIDTH))
        for name, text in charts(result).items()
    }


def number(value: float | None) -> str:
    """Format with three significant digits and thousands separators; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
