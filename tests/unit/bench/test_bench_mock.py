"""The benchmark against a server whose truth is known, through the command line."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.bench import mock, tokenizer_folder
from support.command_line import trtbuild
from support.ports import refusing


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return tokenizer_folder(tmp_path / "tokenizer")


def bench(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """``trtbuild bench``; its exit code is checked."""
    done = trtbuild("bench", *args)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def measured(url: str, tokenizer: Path, *args: object, code: int = 0) -> dict[str, Any]:
    """The only load of a run."""
    target = url if "#" in url else f"openai:{url}#mock"
    done = bench(target, "--tokenizer", tokenizer, "--json", *args, code=code)
    result = json.loads(done.stdout)
    found: dict[str, Any] = result["targets"][0]["loads"][0]
    return found


def truth(url: str) -> list[list[float]]:
    """What the server did: of each request the seconds until each of its pieces was sent."""
    with urllib.request.urlopen(url.replace("/v1", "/truth"), timeout=60) as answer:
        return [one for one in json.loads(answer.read())["sent"] if one]


@pytest.mark.slow
def test_no_figure_is_sooner_than_the_truth(tokenizer: Path) -> None:
    """On a real clock a client can only be late: how late is for a script, not for a test."""
    with mock() as url:
        load = measured(url, tokenizer, "--concurrency", 4, "--requests", 16, "--warmup", 0)
        sent = truth(url)
    metrics = load["metrics"]
    for name, values in (
        ("ttft_ms", [one[0] for one in sent]),
        ("e2e_ms", [one[-1] for one in sent]),
    ):
        assert metrics[name]["mean"] >= 1e3 * statistics.fmean(values) * 0.9999, name
        assert metrics[name]["max"] >= 1e3 * max(values) * 0.9999, name
    lasted = metrics["ttft_ms"]["mean"] + 40 * metrics["tpot_ms"]["mean"]
    assert metrics["e2e_ms"]["mean"] == pytest.approx(lasted, rel=1e-4)
    assert metrics["itl_ms"]["count"] == 16 * 40
    assert metrics["requests_per_s"] <= 4 / 0.5 * 1.001
    assert load["requests"] == {"warmup": 0, "measured": len(sent), "ok": 16, "failed": 0}
    assert load["tokens"]["compared_with_server"]["requests_disagreeing"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("http_500", "http 500"),
        ("drop", "dropped"),
        ("error_event", "server error"),
        ("cut", "dropped"),
    ],
)
def test_failures_are_counted_by_kind_and_in_no_latency(
    tokenizer: Path, fault: str, kind: str
) -> None:
    fast = {"first_ms": 5, "role_ms": 1, "gap_ms": 1, "pieces": [" time"] * 4}
    with mock(**fast, completion_tokens=4, fault=fault, every_nth=4) as url:
        load = measured(url, tokenizer, "--requests", 40, "--warmup", 4, "--output-tokens", 4)
    assert load["errors"] == {kind: 10}
    assert load["requests"] == {"warmup": 4, "measured": 40, "ok": 30, "failed": 10}
    assert load["metrics"]["e2e_ms"]["count"] == 30


def test_every_request_failing_is_an_error(tokenizer: Path) -> None:
    with mock(fault="http_500", every_nth=1) as url:
        done = bench(f"openai:{url}#mock", "--requests", 5, code=8)
    assert "no request to mock (openai) succeeded" in done.stderr
    assert "http 500: out of luck" in done.stderr


def test_no_server() -> None:
    done = bench("openai:http://127.0.0.1:9/v1#mock", code=7)
    assert "nothing answers at http://127.0.0.1:9/v1" in done.stderr


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_triton_is_told_in_the_words_of_a_target(protocol: str) -> None:
    with refusing() as port:
        done = bench(f"triton:{protocol}://127.0.0.1:{port}/m", code=7)
    assert f"nothing answers at 127.0.0.1:{port}" in done.stderr
    assert "correct the target" in done.stderr
    assert "--url" not in done.stderr


def test_another_model() -> None:
    with mock() as url:
        done = bench(f"openai:{url}#mok", code=7)
    assert "did you mean 'mock'?" in done.stderr


def test_a_tokenizer_that_is_not_the_served_one(tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with mock(completion_tokens=60, first_ms=5, gap_ms=1) as url:
        done = bench(
            f"openai:{url}#mock", "--tokenizer", tokenizer, "--requests", 3, "--out", out, code=8
        )
    assert "the tokenizer is not the served one" in done.stderr
    assert json.loads(out.read_text())["targets"][0]["loads"], "what was measured is kept"


def test_a_template_around_prompts_is_no_other_tokenizer(tokenizer: Path) -> None:
    """The chat endpoint counts it in, and an end that was forced away has no text."""
    args = ("--tokenizer", tokenizer, "--requests", 6, "--prompt-tokens", 5)
    with mock(completion_tokens=60, first_ms=5, gap_ms=1) as url:  # says 8 tokens of each prompt
        done = bench(f"openai:{url}#mock", *args)
    assert "have no text, such as an end that was forced away" in done.stdout


def started(url: str, tokenizer: Path, out: Path, *args: str) -> subprocess.Popen[str]:
    """A benchmark in its second load: the result of the first one is written."""
    argv = [sys.executable, "-m", "trtbuild", "bench", f"openai:{url}#mock", *args]
    argv += ["--tokenizer", str(tokenizer), "--out", str(out)]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 180
    while not out.exists():
        if running.poll() is not None or time.monotonic() > until:
            running.kill()
            pytest.fail(f"no result of the first load: {running.communicate()}")
        time.sleep(0.02)
    return running


# The first load takes half a second, the second one forty.
TWO_LOADS = ("--rate", "40,0.5", "--arrivals", "constant", "--requests", "20", "--warmup", "0")


@pytest.mark.slow
def test_a_server_that_dies_leaves_what_was_measured(tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with mock(first_ms=20, gap_ms=1) as url:
        running = started(url, tokenizer, out, "--concurrency", "1,2", "--duration", "4")
    _, said = running.communicate(timeout=300)
    assert running.returncode == 8
    assert "the server is gone" in said
    result = json.loads(out.read_text())
    assert "the server is gone" in result["partial"]
    first, second = result["targets"][0]["loads"]
    assert not first["partial"] and first["requests"]["ok"] > 0
    assert first["metrics"]["ttft_ms"]["p50"] > 15
    assert second["partial"] and second["requests"]["failed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "its terminal was closed"),
    ],
)
def test_a_signal_leaves_what_was_measured(
    tokenizer: Path, tmp_path: Path, number: int, code: int, word: str
) -> None:
    out, html = tmp_path / "r.json", tmp_path / "r.html"
    with mock(first_ms=20, gap_ms=1) as url:
        running = started(url, tokenizer, out, *TWO_LOADS, "--html", str(html))
        os.kill(running.pid, number)
        shown, said = running.communicate(timeout=300)
    assert running.returncode == code
    assert "Traceback" not in said
    assert f"partial: {word}" in shown
    result = json.loads(out.read_text())
    assert result["partial"] == word
    first, second = result["targets"][0]["loads"]
    assert (first["partial"], second["partial"]) == ("", word)
    assert first["requests"]["ok"] == 20
    assert f"Partial: {word}" in html.read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_its_finished_loads(tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with mock(first_ms=20, gap_ms=1) as url:
        running = started(url, tokenizer, out, *TWO_LOADS)
        running.kill()
        running.communicate(timeout=300)
    result = json.loads(out.read_text())
    assert result["partial"].startswith("unfinished")
    (load,) = result["targets"][0]["loads"]
    assert load["partial"] == "" and load["requests"]["ok"] == 20
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == [out.name]


@pytest.mark.slow
def test_sigterm_before_the_measurement_ends_quietly(tokenizer: Path, tmp_path: Path) -> None:
    """While the targets are still compared: nothing was measured, nothing is written."""
    with mock(first_ms=60_000) as url:
        argv = [sys.executable, "-m", "trtbuild", "bench", "--tokenizer", str(tokenizer)]
        argv += [f"A=openai:{url}#mock", f"B=openai:{url}#mock"]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        assert "comparing the targets' answers" in running.stderr.readline()
        running.terminate()
        shown, said = running.communicate(timeout=300)
    assert (running.returncode, shown) == (143, "")
    assert "Traceback" not in said and "fix:" not in said


@pytest.mark.slow
def test_an_objective_that_nobody_meets(tokenizer: Path) -> None:
    args = ("--rate", 20, "--sweep", "--requests", 4, "--warmup", 1, "--output-tokens", 2)
    with mock(first_ms=20, gap_ms=0, pieces=[" time"] * 2, completion_tokens=2) as url:
        done = bench(f"openai:{url}#mock", "--slo", "e2e=5ms", *args, code=8)
    assert "meets the objectives at no rate" in done.stderr
    assert "no rate meets the objectives, not even" in done.stdout
    assert "in SLO" in done.stdout and "0%" in done.stdout


def test_a_share_of_the_requests_is_required() -> None:
    with mock(first_ms=20, gap_ms=0) as url:
        args = (f"openai:{url}#mock", "--min-in-slo", "0.9", "--requests", 4)
        missed = bench(*args, "--slo", "e2e=1ms", code=8)
        bench(*args, "--slo", "e2e=500s")
        senseless = bench(*args, code=2)
    assert "less than 90.0% of the requests met the objectives" in missed.stderr
    assert "--slo" in senseless.stderr


def test_an_objective_that_nobody_can_judge() -> None:
    """Without a tokenizer there is no inter-token latency: it is not met, and it is said why."""
    with mock(first_ms=5, gap_ms=1) as url:
        args = ("--slo", "itl=1s", "--requests", 5, "--json")
        done = bench(f"openai:{url}#mock", *args, code=8)
        judged = bench(f"openai:{url}#mock", "--slo", "tpot=100s,e2e=500s", *args[2:])
    assert "cannot tell whether mock (openai) meets the objective of itl" in done.stderr
    assert "--tokenizer" in done.stderr
    load = json.loads(done.stdout)["targets"][0]["loads"][0]
    assert load["goodput"]["share"] == 0
    # The server says how many tokens the whole answer has, so TPOT is known.
    load = json.loads(judged.stdout)["targets"][0]["loads"][0]
    assert load["goodput"]["share"] == 1
    # And they are spread over the time in which they came.
    width = load["series"]["width_s"]
    made = sum(row["output_tokens_per_s"] * width for row in load["series"]["rows"])
    assert made == pytest.approx(42 * (5 + load["requests"]["warmup"]), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "'nonsense' is not a target"),
        (("openai:http://127.0.0.1:1/v1",), "is not a target"),
        (("triton:grpc://127.0.0.1/m",), "is not a target"),
        (("openai:http://h:1/v1#m", "openai:http://h:2/v1#m"), "two targets are called"),
        (("openai:http://h:1/v1#m", "--requests", "0"), "--requests"),
        (("openai:http://h:1/v1#m", "--concurrency", "0"), "not a number above 0"),
        (("openai:http://h:1/v1#m", "--concurrency", "2", "--rate", "1"), "a closed loop, an open"),
        (("openai:http://h:1/v1#m", "--slo", "ttft=5"), "is not an objective"),
        (("openai:http://h:1/v1#m", "--sweep"), "a sweep needs objectives"),
        (("openai:http://h:1/v1#m", "--usd-per-hour", "inf"), "the price must be finite"),
        (("openai:http://h:1/v1#m", "--prompt-tokens", "many"), "is not a length"),
        (("openai:http://h:1/v1#m", "--tokenizer", "/nowhere"), "no tokenizer at"),
        (("openai:http://h:1/v1#m", "--allow", "anything"), "unknown kind of difference"),
        (
            ("openai:http://h:1/v1#m", "--out", "/nowhere/r.json"),
            "the directory /nowhere does not exist",
        ),
        (
            ("openai:http://h:1/v1#m", "--html", "/nowhere/r.html"),
            "the directory /nowhere does not exist",
        ),
        (("openai:http://h:1/v1#m", "--out", "/"), "/ is a directory"),
        (
            ("openai:http://h:1/v1#m", "--metrics-url", "http://127.0.0.1:9/metrics"),
            "no metrics at that URL",
        ),
        (("openai:http://h:1/v1#m", "--metrics-url", "metrics"), "no metrics at that URL"),
        (("baseline:fastapi",), "needs a checkpoint"),
        ((), "nothing to measure"),
    ],
)
def test_what_cannot_be_asked_for(arguments: tuple[str, ...], said: str) -> None:
    from typer.testing import CliRunner

    from trtbuild.cli.app import app
    from trtbuild.errors import UsageError

    result = CliRunner().invoke(app, ["bench", "run", *arguments])
    if isinstance(result.exception, UsageError):
        assert said in result.exception.what
        assert result.exception.fix
    else:
        assert result.exit_code == 2
        assert said in result.output
