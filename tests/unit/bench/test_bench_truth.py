"""Figures against a server whose truth is known to the microsecond: both keep one clock of ours.

Client, wire, tokenizer, ledger and result are the real ones; only time is not. How late the client
is on a real clock is what ``benchmarks/bench_client.py`` measures.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tokenizers import Tokenizer

from support import virtual_time
from support.bench import tokenizer_json
from support.mock_llm_server import Mock, Script, serving_here
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.loads import Control, Limits, Load
from trtbuild_measure.bench.model import Generation, Prompt
from trtbuild_measure.bench.prompts import Trace
from trtbuild_measure.bench.results import load_result
from trtbuild_measure.bench.running import Experiment, Subject, measure
from trtbuild_measure.bench.targets.openai import OpenAITarget


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The result of one load, and the server that it was put on."""

    async def one(
        load: Load,
        limits: Limits,
        script: Script,
        trace: Trace | None = None,
        counter: Counter | None = None,
    ) -> tuple[dict[str, Any], Mock]:
        counter = counter or Counter(Tokenizer.from_str(tokenizer_json()))
        async with serving_here(script) as mock:
            url = f"http://127.0.0.1:{mock.port}/v1"
            target = OpenAITarget("mock", url, "mock", Generation())
            prompt = Prompt("time", 1, script.completion_tokens)
            experiment = Experiment(trace or (lambda _: prompt), (load,), limits)
            run = await measure(
                [Subject(target)], experiment, lambda _: counter, Control(), lambda *_: None
            )
            await target.close()
        return load_result(run.loads[0]), mock

    return lambda *args: virtual_time.run(one(*args), monkeypatch)


def test_the_truth_of_the_script(measured: Any) -> None:
    """First text at 100 ms, then 20 chunks of two tokens, one every 20 ms: 42 tokens in 500 ms."""
    load, mock = measured(Load("closed", concurrency=4), Limits(40, None, 4), Script())
    for sent in mock.sent:
        gaps = [later - sooner for sooner, later in pairwise(sent)]
        assert [sent[0], *gaps] == pytest.approx([0.1, *[0.02] * 20], abs=1e-4), "the script"
    metrics = load["metrics"]
    for part in ("p50", "p90", "p99", "max", "mean"):
        assert metrics["ttft_ms"][part] == pytest.approx(100, abs=1), part
        assert metrics["e2e_ms"][part] == pytest.approx(500, abs=1), part
        assert metrics["icl_ms"][part] == pytest.approx(20, rel=0.01), part
        assert metrics["itl_ms"][part] == pytest.approx(10, rel=0.01), part
        assert metrics["tpot_ms"][part] == pytest.approx(400 / 40, rel=0.002), part
    assert metrics["itl_ms"]["count"] == 40 * 40
    assert metrics["icl_ms"]["count"] == 40 * 20
    assert metrics["requests_per_s"] == pytest.approx(8, rel=0.01)
    assert metrics["output_tokens_per_s"] == pytest.approx(8 * 42, rel=0.01)
    assert load["output_tokens_per_s"] == metrics["output_tokens_per_s"]
    assert load["errors"] == metrics["errors"] == {}
    assert load["requests"] == {"warmup": 4, "measured": 40, "ok": 40, "failed": 0}
    compared = load["tokens"]["compared_with_server"]
    assert (compared["requests"], compared["requests_disagreeing"]) == (40, 0)


@pytest.mark.slow
def test_a_stall_shows_in_an_open_loop(measured: Any) -> None:
    """Two seconds in which nobody is answered: everybody who came in them waited."""
    script = Script(stall=(2.5, 4.5), pieces=(" time",) * 2, completion_tokens=2)
    load = Load("open", rate=40, arrivals="constant")
    found, _ = measured(load, Limits(240, None, 20), script)
    ttft = found["metrics"]["ttft_ms"]
    assert 0.95 * 2000 <= ttft["p99"] <= ttft["max"] <= 2000 + 101
    # Of six seconds a third came while it stalled, and waited for what was left of it.
    assert ttft["p50"] == pytest.approx(100, abs=1)
    assert ttft["mean"] == pytest.approx((100 * 4 + (1050 * 2)) / 6, rel=0.05)
    assert found["requests"]["ok"] == 240


def test_a_window_of_time_ends_when_the_time_is_up(measured: Any) -> None:
    """One client, half a second a request, 1.75 s: the fourth request is half inside, no more."""
    found, _ = measured(Load("closed", concurrency=1), Limits(None, 1.75, 0), Script())
    assert found["requests"]["ok"] == 4
    assert found["window_s"] == pytest.approx(1.75, abs=1e-3)
    assert found["requests_per_s"] == pytest.approx(2, rel=0.01)
    # Of 42 tokens each: three whole answers, and of the fourth what came in a quarter of a second.
    assert found["output_tokens_per_s"] == pytest.approx((3 * 42 + 2 * 8) / 1.75, rel=0.01)


def test_a_trace_is_counted_until_its_last_request(measured: Any) -> None:
    """Ten a second for two seconds; what runs on after the last one is no time of the load."""
    moments = tuple(number / 10 for number in range(21))
    trace = Trace(moments, (Prompt("time", 1, 42),) * 21)
    found, _ = measured(Load("trace"), Limits(None, None, 0), Script(), trace)
    assert found["requests"]["ok"] == 21
    assert found["window_s"] == pytest.approx(2, abs=1e-3)
    # Sixteen lie in it whole, and four fifths, three, two, one and none of the last five.
    assert found["requests_per_s"] == pytest.approx((16 + 2) / 2, rel=0.01)


@pytest.mark.parametrize("moments", [(0.0,), (0.0, 0.0, 0.0)])
def test_requests_of_one_moment_have_a_throughput(
    measured: Any, moments: tuple[float, ...]
) -> None:
    trace = Trace(moments, (Prompt("time", 1, 42),) * len(moments))
    found, _ = measured(Load("trace"), Limits(None, None, 0), Script(), trace)
    assert found["requests_per_s"] == pytest.approx(len(moments) / 0.5, rel=0.01)
    one, _ = measured(Load("open", rate=5), Limits(1, None, 0), Script())
    assert one["requests_per_s"] == pytest.approx(2, rel=0.01)


def test_a_server_that_says_no_is_not_asked_in_a_spin(measured: Any) -> None:
    """Two clients, a second of refusals that take no time: 20 a client, not thousands."""
    script = Script(fault="http_500", every_nth=1)
    found, mock = measured(Load("closed", concurrency=2), Limits(None, 1.0, 0), script)
    assert found["errors"] == {"http 500": mock.requests}
    assert 36 <= mock.requests <= 42


def test_tokens_that_nobody_counts_are_no_tokens_a_second(measured: Any) -> None:
    """Neither a tokenizer nor usage: text came, so a rate of 0 would be a lie."""
    script = Script(usage=False)
    load = Load("closed", concurrency=1)
    found, _ = measured(load, Limits(4, None, 1), script, None, Counter())
    assert found["output_tokens_per_s"] is None
    assert found["metrics"]["total_tokens_per_s"] is None
    assert found["requests_per_s"] == pytest.approx(2, rel=0.01)
    assert found["tokens"]["output_per_request"] is None
    counted, _ = measured(load, Limits(4, None, 1), Script(), None, Counter())
    assert counted["output_tokens_per_s"] == pytest.approx(84, rel=0.01)


def test_a_closed_loop_hides_the_same_stall(measured: Any) -> None:
    """Why the open loop is there: two clients stop asking, so two requests of 300 show it."""
    script = Script(stall=(2.5, 4.5), pieces=(" time",), completion_tokens=1)
    found, _ = measured(Load("closed", concurrency=2), Limits(300, None, 2), script)
    assert found["metrics"]["ttft_ms"]["p99"] == pytest.approx(100, abs=1)
    assert found["metrics"]["ttft_ms"]["max"] > 1900
