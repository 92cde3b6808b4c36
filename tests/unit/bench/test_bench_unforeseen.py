"""What nobody foresaw ends a benchmark, and takes nothing that was measured with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trtbuild.errors import TrtbuildError, UsageError
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.loads import Control, Limits, Load
from trtbuild_measure.bench.model import Prompt, Stream
from trtbuild_measure.bench.results import load_result
from trtbuild_measure.bench.running import Experiment, Run, Subject, measure
from trtbuild_measure.bench.targets import parse_target
from trtbuild_measure.bench.watching.server import Watched
from trtbuild_measure.jobs.bench import write_files
from trtbuild_measure.jobs.bench.outcome import Measured, ask_once, server_log
from trtbuild_measure.jobs.bench.session import kept
from trtbuild_measure.jobs.bench.targets import Prepared

OPENAI = parse_target("openai:http://127.0.0.1:9000/v1#m")
TRITON = parse_target("triton:grpc://127.0.0.1:8001/smollm2")
BASELINE = parse_target("baseline:fastapi")


class Answering:
    """A target that answers a word, or fails, without a server."""

    name = "a"
    ignored: tuple[str, ...] = ()

    def __init__(self, error: str = "") -> None:
        self.error = error

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ask(self, stream: Stream) -> None:
        await asyncio.sleep(0)
        stream.started = stream.intended
        stream.piece(stream.intended + 0.01, "a", 1)
        stream.ended = stream.intended + 0.01
        if self.error:
            stream.fail(stream.ended, self.error, "engine died")


class Failing(Counter):
    """Counts three answers and fails at the next."""

    def timeline(self, stream: Stream) -> Any:
        self.echoes += 1
        if self.echoes > 3:
            raise TypeError("an answer that nobody foresaw")
        return super().timeline(stream)


def ran(target: Any, counter: Counter, load: Load) -> Run:
    prompt = Prompt("?", 1, 1)
    experiment = Experiment(lambda _: prompt, (load,), Limits(10, None, 0))
    return asyncio.run(
        measure([Subject(target)], experiment, lambda _: counter, Control(), lambda *_: None)
    )


def outcome(target: Any, run: Run, address: Any) -> Measured:
    return Measured([Prepared(address, target, Watched())], run, {}, [], frozenset())


@pytest.mark.parametrize(
    "load", [Load("closed", concurrency=1), Load("open", rate=500.0, arrivals="constant")]
)
def test_what_was_measured_before_a_mistake_iskept(load: Load) -> None:
    target = Answering()
    run = ran(target, Failing(), load)
    found = load_result(run.loads[0])
    assert found["requests"]["ok"] == 3
    assert found["partial"] == run.lost
    assert run.lost == "internal error in trtbuild: TypeError: an answer that nobody foresaw"
    measured = outcome(target, run, OPENAI)
    error = measured.error(measured.result({}, {}))
    assert error is not None
    assert "marked partial" in str(error.where)
    assert error.fix == "please report this with the result (--out FILE)"


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        (OPENAI, "send one request: curl http://127.0.0.1:9000/v1/chat/completions"),
        (TRITON, "`trtbuild infer smollm2 -p Hi` sends a single request"),
        (BASELINE, "see the server's log: `trtbuild logs`"),
    ],
)
def test_advice_is_for_the_kind_of_target(address: Any, fix: str) -> None:
    target = Answering("server error")
    measured = outcome(target, ran(target, Counter(), Load("closed", concurrency=1)), address)
    error = measured.error(measured.result({}, {}))
    assert error is not None
    assert error.where == "server error: engine died"
    assert error.fix.startswith(fix)


def test_the_question_for_an_openai_target_is_one_that_a_shell_takes() -> None:
    import shlex

    words = shlex.split(ask_once(OPENAI).removeprefix("send one request: "))
    assert words[:2] == ["curl", "http://127.0.0.1:9000/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "m"


def test_a_server_that_is_gone_is_looked_for_where_it_is() -> None:
    target = Answering("dropped")
    measured = outcome(target, ran(target, Counter(), Load("closed", concurrency=1)), OPENAI)
    error = measured.error(measured.result({}, {}))
    assert error is not None
    assert error.what.startswith("the server is gone")
    assert error.fix == "see the log of the server at http://127.0.0.1:9000/v1"
    assert server_log(TRITON) == "see the server's log: `trtbuild logs`"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("odd"), "the cost could not be computed (ValueError: odd): please report"),
        (UsageError("no price", fix="give one"), "the cost could not be computed: no price"),
    ],
)
def test_a_part_that_cannot_be_worked_out_costs_nothing_else(raised: Exception, told: str) -> None:
    result: dict[str, Any] = {"warnings": []}
    with kept(result, "cost"):
        raise raised
    assert result["warnings"][0].startswith(told)
    assert isinstance(raised, TrtbuildError) or "report" in result["warnings"][0]


def test_a_report_that_cannot_be_drawn_leaves_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> str:
        raise KeyError("targets")

    draw: Callable[[Any], str] = broken
    monkeypatch.setattr("trtbuild_measure.bench.report.render", draw)
    out, page = tmp_path / "o.json", tmp_path / "o.html"
    unwritten = write_files({"format": "x"}, out, page)
    assert json.loads(out.read_text()) == {"format": "x"}
    assert unwritten == {page: "KeyError: 'targets'"}
