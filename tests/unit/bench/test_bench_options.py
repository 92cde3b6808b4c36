"""The options of a benchmark: one spelling for the command line, programs and results."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trtbuild.cli.fields import from_fields
from trtbuild.errors import UsageError
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.cli.bench.command import Output, run


def test_a_result_records_every_option_that_is_not_about_printing() -> None:
    options = BenchOptions(
        targets=("openai:http://h:1/v1#m",), baseline="fastapi", rate="2,4", arrivals="constant",
        requests=7, prompts=Path("p.jsonl"), temperature=0.5, seed=3, slo="ttft=0.5s",
        allow=("inputs",),
    )  # fmt: skip
    found = options.settings()
    assert found["targets"] == [
        "openai:http://h:1/v1#m", "baseline:fastapi", "baseline:fastapi-batched",
    ]  # fmt: skip
    assert [(load["kind"], load["rate"], load["arrivals"]) for load in found["loads"]] == [
        ("open", 2.0, "constant"),
        ("open", 4.0, "constant"),
    ]
    assert found["limits"] == {"requests": 7, "seconds": None, "warmup": None}
    assert found["generation"] == {"temperature": 0.5, "seed": 3, "forced": True}
    assert found["slo"] == {"ttft_ms": 500.0}
    assert (found["prompts"]["file"], found["prompts"]["seed"]) == ("p.jsonl", 3)
    assert found["allow"] == ["inputs"]
    # Whatever option is added is recorded, without another list of names.
    groups = {"targets", "loads", "limits", "prompts", "generation", "slo"}
    assert {one.name for one in fields(BenchOptions)} >= found.keys() - groups


def test_a_greedy_run_has_no_seed_of_its_own() -> None:
    assert BenchOptions(seed=3).settings()["generation"]["seed"] is None


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"concurrency": "2", "rate": "1"}, "a closed loop, an open loop or a trace"),
        ({"rate": "1", "arrivals": "sometimes"}, "no arrivals 'sometimes'"),
        ({"concurrency": "1.5"}, "'1.5' clients"),
        ({"baseline": "flask"}, "no baseline 'flask'"),
        ({"sweep": True, "rate": "1"}, "a sweep needs objectives"),
        ({"trace": Path("t"), "chat": True}, "a trace has plain prompts"),
        ({"slo": "ttft=fast"}, "'ttft=fast'"),
        ({"usd_per_hour": float("inf")}, "the price must be finite"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        BenchOptions(**options)  # type: ignore[arg-type]
    assert what in caught.value.what
    assert caught.value.fix


def test_the_command_has_a_flag_for_each_field() -> None:
    import inspect

    names = [one.name for made in (BenchOptions, Output) for one in fields(made)]
    assert list(inspect.signature(run).parameters) == names


def test_flags_become_an_object() -> None:
    @dataclass(frozen=True)
    class Wanted:
        paths: tuple[str, ...] = field(default=(), metadata={"help": "Where.", "argument": True})
        at_most: int | None = field(default=None, metadata={"help": "How many.", "min": 1})
        loud: bool = field(default=False, metadata={"help": "Whether to shout."})
        as_json: bool = field(default=False, metadata={"help": "JSON.", "flag": "--json"})

    seen: list[Wanted] = []
    app = typer.Typer()

    @app.command()
    @from_fields(Wanted)
    def command(wanted: Wanted) -> None:
        seen.append(wanted)

    assert CliRunner().invoke(app, []).exit_code == 0
    done = CliRunner().invoke(app, ["a", "b", "--at-most", "2", "--loud", "--json"])
    assert done.exit_code == 0, done.output
    assert seen == [Wanted(), Wanted(("a", "b"), 2, True, True)]
    assert CliRunner().invoke(app, ["--at-most", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["--no-loud"]).exit_code == 2
