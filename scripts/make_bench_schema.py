"""Write the schema of a benchmark's result: ``python scripts/make_bench_schema.py``."""

from __future__ import annotations

import json
from typing import Any

from trtbuild_measure.bench.metrics import LATENCIES
from trtbuild_measure.bench.results import FORMAT
from trtbuild_measure.resources import data_file

NUMBER: dict[str, Any] = {"type": "number"}
NUMBER_OR_NULL: dict[str, Any] = {"type": ["number", "null"]}
TEXT: dict[str, Any] = {"type": "string"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
PARTS = ("mean", "p50", "p90", "p95", "p99")
RATES = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s")
POOLING = "sequences_per_s"  # not in results of older versions


def of(properties: dict[str, Any], *, more: bool = True) -> dict[str, Any]:
    """An object that must have all of ``properties``."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": more,
    }


def many(items: dict[str, Any]) -> dict[str, Any]:
    """A list."""
    return {"type": "array", "items": items}


def schema() -> dict[str, Any]:
    """The whole."""
    pair = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
    interval = of(dict.fromkeys(PARTS, pair))
    values = dict.fromkeys((*PARTS, "max"), NUMBER)
    latency = {
        "description": "Milliseconds; null without any value.",
        "anyOf": [of({**values, "count": COUNT, "interval": interval}), {"type": "null"}],
    }
    errors = {"type": "object", "additionalProperties": COUNT}
    metrics = of(
        {
            **{metric.NAME: {**latency, "title": metric.TITLE} for metric in LATENCIES},
            **dict.fromkeys(RATES, NUMBER_OR_NULL),
            "errors": errors,
        }
    )
    metrics["properties"][POOLING] = {
        **NUMBER_OR_NULL,
        "description": "Texts or pairs; null for a model that generates text.",
    }
    load = of(
        {
            "load": of({"kind": {"enum": ["closed", "open", "trace"]}, "label": TEXT}),
            "metrics": metrics,
            "output_tokens_per_s": NUMBER_OR_NULL,
            "requests_per_s": NUMBER_OR_NULL,
            "errors": errors,
            "requests": of(dict.fromkeys(("warmup", "measured", "ok", "failed"), COUNT)),
            "window_s": NUMBER,
            "tokens": of({"output": COUNT, "input": COUNT}),
            "goodput": {"type": ["object", "null"]},
            "client": of(
                {
                    "cpu_share": NUMBER,
                    "saturated": {"type": "boolean"},
                    "waited_for_connection": COUNT,
                    "opening_ms": NUMBER_OR_NULL,
                }
            ),
            "server": {"type": "object"},
            "distributions": {"type": "object", "additionalProperties": many(pair)},
            "series": of({"width_s": NUMBER, "rows": many({"type": "object"})}),
            "limited_by": of({"what": TEXT, "why": TEXT}),
            "partial": TEXT,
        }
    )
    target = of(
        {
            "name": TEXT,
            "address": TEXT,
            "kind": {"enum": ["triton-grpc", "triton-http", "openai", "baseline"]},
            "model": TEXT,
            "precision": TEXT,
            "loads": many(load),
        }
    )
    comparison = of({"refused": many(TEXT), "accepted": many(TEXT), "rows": many(of({}))})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Result of trtbuild bench",
        **of(
            {
                "format": {"const": FORMAT},
                "environment": of({"date": TEXT, "command": TEXT, "trtbuild": TEXT, "cpu": TEXT}),
                "settings": {"type": "object"},
                "targets": many(target),
                "comparison": comparison,
                "warnings": many(TEXT),
                "partial": TEXT,
            }
        ),
    }


if __name__ == "__main__":
    text = json.dumps(schema(), indent=1) + "\n"
    data_file("bench-result.schema.json").write_text(text, encoding="utf-8")
