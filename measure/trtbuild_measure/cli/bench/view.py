"""How a benchmark looks on a terminal, while it runs and after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trtbuild.progress import Progress
from trtbuild_measure.bench.running import LoadRun, OnTick

_EVERY = 0.25
_ROWS = 8
_GENERATING = {
    "tok/s": "output_tokens_per_s", "req/s": "requests_per_s", "TTFT": "ttft_ms", "ITL": "itl_ms",
    "E2E": "e2e_ms",
}  # fmt: skip
_POOLING = {
    "seq/s": "sequences_per_s", "tok/s": "total_tokens_per_s", "req/s": "requests_per_s",
    "E2E": "e2e_ms",
}  # fmt: skip


@contextmanager
def display() -> Iterator[tuple[Progress, OnTick]]:
    """Progress of a benchmark: each load as it runs, with what was measured of it so far."""
    from trtbuild.cli.output import console, progress

    if not sys.stderr.isatty():
        with progress() as lines:
            yield lines, _Ticker(lines)
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[seen]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console(stderr=True)) as bars:
        shown = _Bars(bars)
        yield shown, _Ticker(shown, shown.tell)


class _Bars:
    """A bar for each of the newest phases, and words beside the last one.

    Targets take turns, so a phase comes again: its old bar goes. A terminal shows the first rows of
    what is higher than itself, and what runs now is in the last one.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._task: Any = None

    def step(self, text: str) -> None:
        from rich.markup import escape

        if self._task is not None:
            self._bars.update(self._task, total=1, completed=1)
        if text in self._tasks:
            self._bars.remove_task(self._tasks.pop(text))
        while len(self._tasks) >= _ROWS:
            self._bars.remove_task(self._tasks.pop(next(iter(self._tasks))))
        self._task = self._tasks[text] = self._bars.add_task(escape(text), total=None, seen="")

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        del unit
        if self._task is not None:
            self._bars.update(self._task, total=total or None, completed=done)

    def tell(self, text: str) -> None:
        """What was measured so far."""
        if self._task is not None:
            self._bars.update(self._task, seen=text)


class _Ticker:
    """Called with every request that ends; speaks a few times a second."""

    def __init__(self, progress: Progress, tell: Callable[[str], None] | None = None) -> None:
        self._progress = progress
        self._tell = tell
        self._last = 0.0
        self._shown: LoadRun | None = None

    def __call__(self, run: LoadRun, done: int, total: int) -> None:
        if run is not self._shown:
            self._shown = run
            self._progress.step(f"{run.subject.target.name}, {run.load.label}")
        now = time.monotonic()
        if now - self._last > _EVERY:
            self._last = now
            self._progress.advance(done, total, "requests")
            if self._tell is not None:
                self._tell(f"{done}/{total} {_so_far(run)}" if total else f"{done} {_so_far(run)}")


def _so_far(run: LoadRun) -> str:
    """Of this load, over all its blocks."""
    ledger = run.ledger
    found = ["requests"]
    pooling = ledger.throughput.sequences
    for name in ("e2e_ms",) if pooling else ("ttft_ms", "itl_ms"):
        if ledger.latencies[name].count:
            middle = ledger.latencies[name].percentile(50)
            found.append(f"{name.removesuffix('_ms').upper()} {_number(middle)} ms")
    if ledger.failures.total:
        found.append(f"{ledger.failures.total} failed")
    return " · ".join(found)


def show(result: dict[str, Any]) -> None:
    """The result as tables."""
    from rich.markup import escape

    from trtbuild.cli.output import console

    out = console()
    for target in result["targets"]:
        table = _table(target)
        if _fits(table, out):
            out.print(table)
        else:
            _list(target, out)
        if sweep := target.get("sweep"):
            out.print(_swept(sweep))
    if rows := result["comparison"]["rows"]:
        out.print(_ratios(rows))
    for text in (*result["comparison"]["accepted"], *result["warnings"]):
        out.print(f"[yellow]![/] {escape(text)}")
    if result["partial"]:
        out.print(f"[red]partial:[/] {escape(result['partial'])}")


def _swept(sweep: dict[str, Any]) -> str:
    broke = sweep["broke_at"]
    if not sweep["highest_rate"]:
        return f"no rate meets the objectives, not even {broke:g}/s" if broke else ""
    after = f", missed them at {broke:g}" if broke else ""
    return f"highest rate that meets the objectives: {sweep['highest_rate']:g}/s{after}"


def _fits(table: Any, out: Any) -> bool:
    """Whether each figure is whole on this screen; rich cuts what is not."""
    lines = out.render_lines(table, out.options.update(max_width=10_000), pad=False)
    widest = max(len("".join(part.text for part in line).rstrip()) for line in lines)
    return bool(widest <= out.width)


def _table(target: dict[str, Any]) -> Any:
    table = empty_table(f"{target['name']}, ms at p50 / p99")
    judged = any(load["goodput"] for load in target["loads"])
    failed = any(load["requests"]["failed"] for load in target["loads"])
    table.add_column("load", no_wrap=True)
    extra = [title for title, shown in (("in SLO", judged), ("failed", failed)) if shown]
    columns = _columns(target)
    for title in (*columns, *extra):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("limit", min_width=6)
    for load in target["loads"]:
        metrics = load["metrics"]
        table.add_row(
            load["load"]["label"].removesuffix(" poisson") + (" *" if load["partial"] else ""),
            *(_cell(metrics[name]) for name in columns.values()),
            *([_share(load["goodput"])] if judged else []),
            *([str(load["requests"]["failed"])] if failed else []),
            load["limited_by"]["what"].replace("unknown", ""),
        )
    return table


def _list(target: dict[str, Any], out: Any) -> None:
    """The same on a screen with less room: a table would cut figures into others."""
    from rich.text import Text

    out.print(Text(f"{target['name']}, ms at p50 / p99", style="bold"))
    for load in target["loads"]:
        metrics = load["metrics"]
        told = [
            f"{_cell(metrics[name])} {title}" if "/" in title else f"{title} {_cell(metrics[name])}"
            for title, name in _columns(target).items()
        ]
        if load["goodput"]:
            told.append(f"{_share(load['goodput'])} in SLO")
        if load["requests"]["failed"]:
            told.append(f"{load['requests']['failed']} failed")
        if load["limited_by"]["what"] != "unknown":
            told.append(f"limit: {load['limited_by']['what']}")
        out.print(Text(load["load"]["label"] + (" *" if load["partial"] else "")))
        for line in told:
            out.print(Text(f"  {line}"))


def _share(goodput: dict[str, Any] | None) -> str:
    return f"{goodput['share']:.0%}" if goodput else "–"


def _columns(target: dict[str, Any]) -> dict[str, str]:
    """The metrics by title: a model that generates no text has no first token."""
    if any(load["metrics"].get("sequences_per_s") for load in target["loads"]):
        return _POOLING
    return _GENERATING


def _cell(value: dict[str, Any] | float | None) -> str:
    """A rate, or a latency at p50 and p99."""
    if isinstance(value, dict):
        return f"{_number(value['p50'])} / {_number(value['p99'])}"
    return _number(value)


def _ratios(rows: list[dict[str, Any]]) -> Any:
    from rich.markup import escape

    table = empty_table(f"times {rows[0]['reference']}, p50 / p99")
    pooling = any(row["ratios"].get("sequences_per_s", {}).get("ratio") for row in rows)
    rate = ("seq/s", "sequences_per_s") if pooling else ("tok/s", "output_tokens_per_s")
    latencies = {"E2E": "e2e_ms"} if pooling else {"TTFT": "ttft_ms", "E2E": "e2e_ms"}
    for title in ("load", "target", rate[0], *latencies):
        table.add_column(title, justify="left" if title in ("load", "target") else "right")
    for row in rows:
        cells = [
            " / ".join(_ratio(row["ratios"][f"{name}.{part}"]["ratio"]) for part in ("p50", "p99"))
            for name in latencies.values()
        ]
        speed = _ratio(row["ratios"][rate[1]]["ratio"])
        table.add_row(row["load"], escape(row["target"]), speed, *cells)
    return table


def empty_table(title: str) -> Any:
    """Under its title, without columns yet."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    return Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=escape(title),
        title_justify="left",
        title_style="bold",
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"×{value:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
