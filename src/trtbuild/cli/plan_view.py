"""How a plan looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.cli.output import console, human_bytes, human_count

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from trtbuild.pipeline.planning import PlannedModel
    from trtbuild.plan import Alternative, BuildPlan, MemoryPlan

_BAR = 40


def print_plan(planned: PlannedModel) -> None:
    """The plan of one model on standard output."""
    out = console()
    for part in _parts(planned):
        out.print(part)


def _parts(planned: PlannedModel) -> Iterator[RenderableType]:
    from rich.text import Text

    spec, plan = planned.spec, planned.plan
    size = f"{human_count(spec.parameters)} parameters" if spec.parameters else ""
    quantized = spec.quantization.method if spec.quantization else ""
    stored = f"weights in {spec.weights_format}" if not spec.parameters else ""
    facts = (spec.architecture, spec.task.value, size, stored, spec.dtype, quantized)
    yield Text.assemble((plan.model, "bold"), f"  {', '.join(filter(None, facts))}")
    yield ""
    yield _decision(plan)
    yield ""
    if plan.memory is None:
        yield Text(f"memory: the builder {plan.builder} gives no estimate", style="dim")
    else:
        yield from _memory(plan.memory)
    for warning in plan.warnings:
        yield Text.assemble(("warning: ", "bold yellow"), warning)


def _decision(plan: BuildPlan) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("builder", Text.assemble((plan.builder, "bold green"), f"  {plan.reason}"))
    for rejection in plan.rejected:
        for reason in rejection.reasons:
            grid.add_row("", Text.assemble((f"not {rejection.builder}: ", "red"), reason))
    grid.add_row("Triton", f"{plan.triton}  {plan.image}")
    for number, step in enumerate(plan.steps, 1):
        grid.add_row("steps" if number == 1 else "", f"{number}. {step.title}")
    return grid


def _memory(memory: MemoryPlan) -> Iterator[RenderableType]:
    from rich.text import Text

    yield _rows(memory)
    if memory.fits is None:
        yield _needs(memory)
        yield Text(memory.nearest, style="bold")
        return
    yield _bar(memory)
    if memory.fits:
        yield Text.assemble(
            ("fits: ", "bold green"),
            f"up to {memory.max_concurrency} concurrent sequences of {memory.length:,} tokens",
        )
        return
    yield _misfit(memory)
    for alternative in memory.alternatives:
        flags = _flags(alternative)
        yield Text.assemble(("  fits if you: ", "green"), alternative.text, (flags, "cyan"))
    if not memory.alternatives:
        yield Text("  none of the alternatives tried fits")


def _misfit(memory: MemoryPlan) -> Text:
    from rich.text import Text

    if memory.world > memory.gpus:
        return Text.assemble(
            ("does not fit: ", "bold red"),
            f"it needs {memory.world} GPUs, but there are {memory.gpus}",
        )
    over = memory.needed_bytes - memory.usable_bytes
    return Text.assemble(("does not fit: ", "bold red"), f"{human_bytes(over)} too much")


def _flags(alternative: Alternative) -> str:
    flags = [f"--set {key}={value}" for key, value in alternative.settings.items()]
    return "  " + " ".join(flags) if flags else ""


def _rows(memory: MemoryPlan) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    share = " (each)" if memory.world > 1 else ""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"memory of a GPU{share}", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("for", overflow="fold", style="dim")
    for row in memory.rows:
        table.add_row(row.item, human_bytes(row.bytes), row.note)
    table.add_section()
    table.add_row("needed", human_bytes(memory.needed_bytes), "", style="bold")
    if memory.capacity_bytes:
        percent = 100 * memory.usable_bytes / memory.capacity_bytes
        note = f"{percent:.0f} % of the {human_bytes(memory.capacity_bytes)} of {memory.gpu}"
        table.add_row("usable", human_bytes(memory.usable_bytes), note)
    return table


def _bar(memory: MemoryPlan) -> Text:
    """A cell of the bar is a share of what is usable, or needed when that is more."""
    from rich.text import Text

    whole = max(memory.usable_bytes, memory.needed_bytes)
    bar = Text()
    styles = ("blue", "magenta", "yellow", "cyan")
    for row, style in zip(memory.rows, styles, strict=False):
        bar.append("█" * round(_BAR * row.bytes / whole), style)
    bar.append("░" * max(_BAR - len(bar), 0), "dim")
    bar.append("\n")
    for row, style in zip(memory.rows, styles, strict=False):
        bar.append(f"■ {row.item}  ", style)
    return bar


def _needs(memory: MemoryPlan) -> Table:
    """Kinds of GPU by how many of them it takes; ``--json`` has a row for each kind."""
    from rich.table import Table

    by_count: dict[int, list[str]] = {}
    for need in memory.needs:
        by_count.setdefault(need.count, []).append(need.gpu)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for count, names in sorted(by_count.items()):
        grid.add_row(f"{count} x", ", ".join(names))
    return grid
