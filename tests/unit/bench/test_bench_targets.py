"""How targets are written, and what of them and of keys may be seen."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from trtbuild.client import AsyncLLMClient
from trtbuild.client.failures import timed_out
from trtbuild.errors import ServerError, UsageError
from trtbuild_measure.bench.model import Generation
from trtbuild_measure.bench.targets import Address, parse_target
from trtbuild_measure.bench.targets.openai import OpenAITarget
from trtbuild_measure.bench.targets.triton import find_model
from trtbuild_measure.jobs.bench.targets import prepare


@pytest.mark.parametrize(
    "text",
    [
        "openai:http://user:hunter2@h:1/v1#m",
        "A=openai:https://user:hun@hunter2@h/v1#m",
        "openai:http://user:hunter2#@h:1/v1",  # whose password ends the address
        "triton:grpc://user:hunter2@h:8001/m",
        "triton:http://hunter2@[::1/m",
    ],
)
def test_a_password_is_refused_and_not_printed(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_target(text)
    assert "hunter2" not in str(error.value.as_dict())


@pytest.mark.parametrize(
    ("text", "url", "model"),
    [
        ("openai:http://[::1]:9/v1/#org/m#1", "http://[::1]:9/v1", "org/m#1"),
        ("openai:http://h:9/v1#m@main", "http://h:9/v1", "m@main"),
        ("A=B=openai:http://h:9/v1#m", None, None),
        ("openai:http://a..b:9/v1#m", None, None),
        ("triton:grpc://[::1]:8001/m", "[::1]:8001", "m"),
    ],
)
def test_what_a_target_is(text: str, url: str | None, model: str | None) -> None:
    if url is None:
        with pytest.raises(UsageError, match="not a target"):
            parse_target(text)
    else:
        found = parse_target(text)
        assert (found.url, found.model) == (url, model)


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "schlüssel-東"])
def test_what_is_no_key_is_said_and_not_printed(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", key)
    with pytest.raises(UsageError) as error:
        prepared(monkeypatch)
    assert "KEY is not a valid key" in error.value.what
    assert not key.strip() or key.strip() not in str(error.value.as_dict())


def test_a_line_end_after_a_key_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "abc\r\n")
    request = prepared(monkeypatch).pool.request("GET", "/models")
    assert b"\r\nAuthorization: Bearer abc\r\nContent-Type" in request


def test_a_baseline_needs_no_key_of_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "abcdefgh")
    baseline = Address("baseline:fastapi", "baseline", "http://127.0.0.1:9/v1", "m", "b")
    asked = [parse_target("openai:http://127.0.0.1:9/v1#m"), baseline]
    options: dict[str, Any] = {"endpoint": "auto", "chat": False, "timeout": 1.0}
    made = prepare(asked, Generation(), api_key_env="KEY", **options)
    requests = [one.target.pool.request("GET", "/models") for one in made]  # type: ignore[attr-defined]
    assert [b"abcdefgh" in request for request in requests] == [True, False]


def prepared(monkeypatch: pytest.MonkeyPatch) -> Any:
    addresses = [parse_target("openai:http://127.0.0.1:9/v1#m")]
    options: dict[str, Any] = {"endpoint": "auto", "chat": False, "timeout": 1.0}
    return prepare(addresses, Generation(), api_key_env="KEY", **options)[0].target


def test_a_triton_that_takes_no_notice_is_told_in_the_words_of_a_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It accepts and never answers: no fewer tokens would help, and bench has no --max-tokens."""

    async def late(*_: object) -> None:
        raise timed_out("127.0.0.1:9", 10)

    monkeypatch.setattr(AsyncLLMClient, "served", late)
    with pytest.raises(ServerError) as error:
        asyncio.run(find_model("127.0.0.1:9", "m", "http", Generation(), timeout=10))
    assert error.value.what == "nothing answers at 127.0.0.1:9"
    assert "within 10 s" in error.value.where and "--max-tokens" not in error.value.fix


@pytest.mark.parametrize(
    ("failure", "what", "fix"),
    [
        (ssl.SSLCertVerificationError(1, "self-signed"), "is not trusted", "SSL_CERT_FILE"),
        (ssl.SSLError(1, "wrong version number"), "no TLS connection to", "http://"),
    ],
)
def test_a_server_that_is_there_and_not_trusted(
    failure: ssl.SSLError, what: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To start it, as one does with a server that is not there, would not help."""
    target = OpenAITarget("a", "https://127.0.0.1:9/v1", "m", Generation())

    async def fetch(*_: object) -> None:
        if isinstance(failure, ssl.SSLCertVerificationError):
            failure.verify_message = "self-signed certificate"
        raise failure

    monkeypatch.setattr(target.pool, "fetch", fetch)
    with pytest.raises(ServerError) as error:
        asyncio.run(target.open())
    assert what in error.value.what and fix in error.value.fix
    assert error.value.where
