"""The commands of other tools: everything that was asked for is in them, or they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from trtbuild.cli.app import app
from trtbuild.errors import UsageError

TARGET = "openai:http://h:9000/v1#m"


def exported(*args: str) -> Any:
    return CliRunner().invoke(app, ["bench", *args, "--export", "aiperf"])


def test_each_load_is_a_command_as_long_as_ours() -> None:
    one, many = exported(TARGET, "--concurrency", "1,16").stdout.splitlines()
    assert "--concurrency 1 --request-count 50 --warmup-request-count 1" in one
    assert "--concurrency 16 --request-count 128 --warmup-request-count 16" in many
    assert "--url http://h:9000 --endpoint-type chat" in one


def test_what_was_asked_for_is_in_the_command() -> None:
    args = ["--rate", "3", "--duration", "10", "--shared-prefix", "32", "--timeout", "9"]
    args += ["--slo", "ttft=0.5s,itl=50ms,tpot=40ms", "--api-key-env", "KEY", "--natural"]
    (line,) = exported("openai:http://h/api#m", *args).stdout.splitlines()
    for part in (
        "--custom-endpoint /api/chat/completions",
        "--request-rate 3 --request-rate-mode poisson",
        "--benchmark-duration 10 --benchmark-grace-period inf --warmup-request-count 3",
        "--synthetic-input-tokens-mean 96 ",  # 128 with the prefix
        "--num-prefix-prompts 1 --prefix-prompt-length 32",
        "--request-timeout-seconds 9",
        "--goodput 'time_to_first_token:500 inter_token_latency:40'",
    ):
        assert part in line
    assert line.endswith('--api-key "$KEY"')
    assert "ignore_eos" not in line and "--request-count" not in line


def test_a_trace_is_one_of_mooncakes() -> None:
    (line,) = exported(TARGET, "--trace", "t.jsonl").stdout.splitlines()
    assert "--input-file t.jsonl --custom-dataset-type mooncake-trace --fixed-schedule" in line
    assert "synthetic" not in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "nothing to export"),
        (("triton:grpc://h:1/m",), "AIPerf cannot measure triton:grpc"),
        ((TARGET, "--prompts", "p.jsonl"), "cannot read the format"),
        ((TARGET, "--prompt-tokens", "uniform:1:9"), "cannot draw lengths"),
        ((TARGET, "--shared-prefix", "128"), "cannot begin with 128"),
        ((TARGET, "--slo", "icl=5ms"), "no objective for icl"),
        ((TARGET, "--rate", "1", "--slo", "ttft=1s", "--sweep"), "a sweep cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_refused(args: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["bench", "run", *args, "--export", "aiperf"])
    assert isinstance(result.exception, UsageError)
    assert said in result.exception.what and result.exception.fix
    assert result.stdout == ""
