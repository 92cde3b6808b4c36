"""The screen while a benchmark runs: what runs now is on it, whatever its size and the names."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typer.testing import CliRunner

from support.bench import mock, tokenizer_folder
from trtbuild.cli.app import app
from trtbuild.errors import BenchError
from trtbuild_measure.cli.bench.view import _Bars, show
from trtbuild_measure.jobs.bench import BenchOptions, run


def frame(phases: list[str], width: int) -> list[str]:
    """The lines on the screen after these phases have begun, one after another."""
    out = io.StringIO()
    columns = (TextColumn("{task.description}"), BarColumn(5), TextColumn("{task.fields[seen]}"))
    bars = Progress(*columns, console=Console(file=io.StringIO(), width=width))
    shown = _Bars(bars)
    for phase in phases:
        shown.step(phase)
        shown.tell("3/9")
    Console(file=out, width=width).print(bars.get_renderable())
    return [line for line in out.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [40, 100])
def test_what_runs_now_is_on_the_screen(width: int) -> None:
    """Thirty-six turns; a terminal shows the first rows of what is higher than itself."""
    loads = [f"{name}, {count} clients" for count in (1, 4, 8, 16) for name in ("a", "b", "c")]
    found = frame(loads * 3, width)
    assert "c, 16 clients" in found[-1] and "3/9" in found[-1]
    assert len(found) == 8
    assert sum("c, 16" in line for line in found) == 1, "a phase that comes again has one bar"


def test_phases_are_text_and_no_markup() -> None:
    one, other = frame(["[bold]a", "[/x] b"], 80)
    assert "[bold]a" in one and "[/x] b" in other


def test_a_target_may_be_called_as_it_likes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock(role_ms=1, first_ms=3, gap_ms=1, models=["m[/x]"]) as url:
        options = BenchOptions(
            targets=(f"[bold]a=openai:{url}#m[/x]", f"openai:{url}#m[/x]"),
            requests=3,
            tokenizer=tokenizer_folder(tmp_path / "t"),
        )
        outcome = run(options)
    show(outcome.result)
    shown = capsys.readouterr().out
    assert "[bold]a, ms at p50" in shown and "m[/x] (openai)" in shown


def test_a_result_that_cannot_be_written_is_shown_and_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trtbuild_measure.jobs.bench.files.atomic_write", full)
    with mock(role_ms=1, first_ms=3, gap_ms=1) as url:
        args = ["bench", f"openai:{url}#mock", "--requests", "2", "--out", str(tmp_path / "r.json")]
        done = CliRunner().invoke(app, args)
    assert isinstance(done.exception, BenchError)
    assert done.exception.what == "the result could not be written: No space left on device"
    assert done.exception.where == str(tmp_path / "r.json")
    assert "mock (openai), ms at p50" in done.stdout
    assert "wrote" not in done.output


@pytest.mark.parametrize("width", [30, 44, 58, 64, 100])
def test_no_figure_is_cut_on_a_narrow_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    latency = {"p50": 1234.5, "p99": 98765.4}
    metrics = {"output_tokens_per_s": 12345.6, "requests_per_s": 0.123}
    metrics |= dict.fromkeys(("ttft_ms", "itl_ms", "e2e_ms"), latency)
    load = {"load": {"label": "16 clients"}, "metrics": metrics, "partial": "", "goodput": None}
    load |= {"requests": {"failed": 7}, "limited_by": {"what": "queue"}}
    comparison = {"rows": [], "accepted": []}
    result = {"targets": [{"name": "m", "loads": [load]}], "comparison": comparison}
    show(result | {"warnings": [], "partial": ""})
    shown = capsys.readouterr().out
    for figure in ("12346", "0.123", "1234", "98765", "7", "queue"):
        assert figure in shown
    assert "…" not in shown
    assert ("─" in shown) == (width == 100), "a table where there is room for one"
    assert max(map(len, shown.splitlines())) <= width
