"""``trtbuild eval``: how well an embedding model or a reranker ranks, and against what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_measure.evaluation.options import EvalOptions

_EPILOG = """
Targets

  MODEL, grpc://HOST:PORT/MODEL, http://HOST:PORT/MODEL, vectors:FILE, run:FILE, bm25; NAME= before
  one gives it a name of its own.

Examples

  trtbuild eval minilm

  trtbuild eval minilm minilm-int8 --max-drop ndcg@10=0.02 --out result.json

  trtbuild eval fp32=grpc://gpu1:8001/bge int8=grpc://gpu2:8001/bge --data ./scifact

  trtbuild eval bm25 reranker --data ./scifact --candidates bm25.run --measure ndcg@10

  trtbuild eval minilm --baseline result.json --min ndcg@10=0.6 --max-drop ndcg@10=0.02 --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rank", epilog=_EPILOG)(evaluate)


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes."""

    out: Path | None = option(None, "Write the result as JSON.")
    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


@from_fields(EvalOptions, Output)
def evaluate(options: EvalOptions, output: Output) -> None:
    """Measure how well an embedding model or a reranker ranks: NDCG, MRR, recall.

    Exits with 9 if a limit (--min, --max-drop) is not met.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import QualityError
    from trtbuild_measure.evaluation.result import failed
    from trtbuild_measure.jobs import evaluate as stage
    from trtbuild_measure.jobs.bench import require_writable

    require_writable("--out", output.out)
    with progress() as shown:
        result = stage.evaluate(options, shown)
    if output.as_json:
        print_json(result)
    else:
        _show(result)
    if output.out is not None:
        stage.write_result(output.out, result)
    reasons = tuple(failed(result))
    if reasons:
        raise QualityError(
            "the ranking is not good enough" if len(reasons) == 1 else "several limits do not hold",
            details=reasons,
            fix="deploy the reference, or a less quantized variant; more queries give a narrower "
            "interval",
        )


def _show(result: dict[str, Any]) -> None:
    """A table of the targets, and one for each comparison."""
    from trtbuild.cli.output import console
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    about = result["collection"]
    names = list(result["targets"][0]["measures"])
    title = "{name}: {documents} documents, {queries} queries, {judgements} judgements"
    table = empty_table(title.format(**about))
    for name in ("target", *names):
        table.add_column(name, overflow="fold")
    for target in result["targets"]:
        cells = [target["measures"][name] for name in names]
        table.add_row(target["name"], *(_cell(one["mean"], one["interval"]) for one in cells))
    out.print(table)
    for row in result["comparisons"]:
        table = empty_table(f"{row['target']} against {row['reference']}")
        for name in ("measure", "difference (95 %)", "better", "worse", "same"):
            table.add_column(name, overflow="fold")
        for name, one in row["measures"].items():
            counts = (str(one[kind]) for kind in ("better", "worse", "same"))
            table.add_row(name, _cell(one["difference"], one["interval"], sign="+"), *counts)
        out.print(table)
        if row["top_overlap"] is not None:
            out.print(f"{100 * row['top_overlap']:.0f} % of the best ten documents are the same")
    if about["without_relevant"]:
        out.print(f"left out: {about['without_relevant']} queries without a relevant document")


def _cell(value: float, interval: list[float] | None, sign: str = "") -> str:
    shown = f"{value:{sign}.4f}"
    return f"{shown} ({interval[0]:{sign}.4f} to {interval[1]:{sign}.4f})" if interval else shown
