"""Bad input of workers: each has its message, its fix and its exit code; no secret is shown."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from support import virtual_time
from support.batch_server import BatchServer
from support.brokers import Broker, broker
from support.command_line import trtbuild
from support.ports import refusing
from support.valkey import valkey
from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import SILENT
from trtbuild.wire.response import Response
from trtbuild_batch.asking import Question
from trtbuild_batch.engine import CallError, Fixed, Kind, Outcome
from trtbuild_batch.jobs.pacing import Pacer
from trtbuild_batch.targets.openai import _refusal
from trtbuild_batch.worker.addresses import parse
from trtbuild_batch.worker.model import LostError, Message, Outgoing, TooLargeError
from trtbuild_batch.worker.opening import open_sink, open_source
from trtbuild_batch.worker.options import WorkerOptions
from trtbuild_batch.worker.tally import Tally
from trtbuild_batch.worker.working import Worker


@pytest.fixture(scope="module")
def redis() -> Iterator[Broker]:
    with broker("redis") as found:
        for name in ("q", "a", "d"):
            found.create(name)
        yield found


def work(**options: Any) -> Any:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return trtbuild("worker", *words)


REFUSED = {
    "no URL": ({"from": "q"}, "the URL names no queue", "redis://HOST:PORT/STREAM"),
    "scheme": ({"from": "sqs://h/q"}, "the URL names no queue", "kafka://HOST:PORT/TOPIC"),
    "no queue": ({"to": "redis://h:1/"}, "the URL names no queue", "env:NAME"),
    "port": ({"to": "redis://h:x/q"}, "the URL names no queue", "--to"),
    "setting": ({"dead": "redis://h/q?pw=1"}, "redis has no setting 'pw'", "use group, db"),
    "hosts": ({"to": "redis://a,b/q"}, "redis:// takes one host", "kafka://"),
    "database": ({"to": "redis://a/q?db=x"}, "the number of the database", "?db=1"),
    "kafka": ({"to": "kafka://a/q?no.such=1"}, "librdkafka refuses a setting: No such", "URL"),
    "ours": ({"from": "kafka://a/q?group.id=1"}, "group.id is set by the worker", "leave it out"),
    "variable": ({"from": "env:NO_QUEUE"}, "the variable NO_QUEUE is not set", "export it"),
    "same": ({"to": "{q}"}, "cannot be both the source", "name another queue"),
    "group": ({"from": "{q}?group=llm", "to": "{q}?db=0"}, "cannot be both the", "another queue"),
    "stream": ({"from": "{no}"}, "the stream 'no' does not exist", "--create"),
    "unopened": ({"from": "nats://h/q", "to": "nats://h/a", "dead": "{no}"}, "stream 'no'", "name"),
    "metrics": ({"metrics-url": "http://[x"}, "'http://[x' is not a URL", "http://HOST:8002"),
    "metrics port": ({"metrics-url": "http://h:99999/m"}, "is not a URL", "http://HOST:8002"),
    "sink": ({"dead": "{no}"}, "the stream 'no' does not exist", "--create"),
    "endpoint": ({"endpoint": "/v1/x"}, "unknown endpoint '/v1/x'", "/v1/chat/completions"),
    "listen": ({"listen": "9400"}, "'9400' is not an address", "127.0.0.1:9400"),
    "taken": ({"listen": "{server}"}, "cannot be used: Address already in use", "another port"),
    "triton": ({"target": "triton:grpc://h:1/m"}, "which Triton does not speak", "gateway"),
    "key": ({"api-key-env": "NO_KEY"}, "the variable NO_KEY is not set", "export it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str, redis: Broker, server: BatchServer) -> None:
    given, what, fix = REFUSED[name]
    queues = {name: redis.url(name) for name in ("q", "a", "d", "no")}
    queues["server"] = f"127.0.0.1:{server.port}"
    options = {
        "from": queues["q"], "to": queues["a"], "dead": queues["d"], "target": server.url, **given,
    }  # fmt: skip
    found = work(**{name: text.format(**queues) for name, text in options.items()})
    assert found.returncode == 2
    assert what in found.stderr
    assert fix in found.stderr


def test_the_command_answers_until_the_queue_is_empty(redis: Broker, server: BatchServer) -> None:
    for name in ("in", "out", "none"):
        redis.create(name)
    redis.send("in", [(CHAT, {"x-request-id": "r1"})])
    words = ("--from", "env:IN", "--to", redis.url("out"), "--dead", redis.url("none"))
    more = ("--target", server.url, "--until-empty", "--endpoint", "v1/chat/completions")
    env = {**os.environ, "IN": redis.url("in")}
    found = trtbuild("worker", *words, *more, "--model", "m", "--json", env=env)
    assert found.returncode == 0, found.stderr
    assert f"answering messages of {redis.url('in')}" in found.stderr
    end = json.loads(found.stdout)
    assert (end["answered"], end["dead"], end["waiting"]) == (1, 0, 0)
    assert server.bodies[0]["model"] == "m"
    found = trtbuild("worker", *words, *more, env=env)
    assert found.stdout == "0 answered · 0 dead · 0 waiting\n"


def test_a_password_is_never_shown(server: BatchServer) -> None:
    with valkey(password="s3cret") as real:
        for said in ("s3cret", "wr0ng"):
            url = f"redis://:{said}@127.0.0.1:{real.port}/missing"
            found = work(**{"from": url, "to": f"{url}2", "dead": f"{url}3", "target": server.url})
            assert found.returncode == (2 if said == "s3cret" else 7)
            assert said not in found.stderr + found.stdout
            assert f"redis://127.0.0.1:{real.port}/missing" in found.stderr
    assert "s3cret" not in repr(parse("kafka://u:s3cret@h/q?sasl.password=s3cret", "--from"))


SCHEMES = {"redis": "redis", "kafka": "confluent_kafka", "nats": "nats", "amqp": "aio_pika"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_client_that_is_not_installed_is_named(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(name: str) -> Any:
        if name == SCHEMES[scheme]:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UsageError, match=f"the client for {scheme}:// is not installed") as found:
        open_sink(parse(f"{scheme}://h/q", "--to"))
    assert found.value.fix.startswith("pip install 'trtbuild[")


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme",
    ["redis", "amqp", *(pytest.param(name, marks=pytest.mark.long) for name in ("kafka", "nats"))],
)
def test_a_broker_that_does_not_answer_is_an_error_at_the_start(scheme: str) -> None:
    async def opened(port: int) -> None:
        source = open_source(parse(f"{scheme}://127.0.0.1:{port}/q", "--from"), 60)
        try:
            await source.open(create=False)
        finally:
            await source.close()

    with refusing() as port, pytest.raises(ServerError, match="cannot be used") as found:
        asyncio.run(opened(port))
    assert found.value.where == f"{scheme}://127.0.0.1:{port}/q"


class Scripted:
    """A queue, two sinks and a target in virtual time, which fail when a test says so."""

    def __init__(self, *bodies: bytes) -> None:
        self.left = [
            Message(str(n), body, {"x-request-id": str(n)}) for n, body in enumerate(bodies)
        ]
        self.sent: dict[str, Outgoing] = {}
        self.buried: dict[str, Outgoing] = {}
        self.done_with: list[str] = []
        self.released: list[str] = []
        self.calls = 0
        self.target_fails: Callable[[float], CallError | None] = lambda _: None
        self.broker_fails: Callable[[float, Outgoing | None], Exception | None] = lambda *_: None
        self.begun = 0.0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.begun

    def _maybe_lost(self, message: Outgoing | None = None) -> None:
        if error := self.broker_fails(self.now, message):
            raise error

    async def open(self, *, create: bool = False) -> Mapping[str, Any]:
        return {}

    async def receive(self, most: int) -> Sequence[Message]:
        self._maybe_lost()
        await asyncio.sleep(0 if self.left else 1)
        found, self.left = self.left[:most], self.left[most:]
        return found

    async def keep(self, held: Collection[Message]) -> None:
        self._maybe_lost()

    async def done(self, message: Message) -> None:
        self._maybe_lost()
        assert message.id in self.sent or message.id in self.buried  # published first
        self.done_with.append(message.id)

    async def release(self, held: Collection[Message]) -> None:
        self.released = sorted(one.id for one in held)

    async def waiting(self) -> int | None:
        return len(self.left)

    async def alive(self) -> bool:
        error = self.target_fails(self.now)
        return error is None or error.kind is not Kind.CONNECTION

    async def ask(self, question: Question) -> Outcome:
        self.calls += 1
        await asyncio.sleep(0.1)
        if error := self.target_fails(self.now):
            raise error
        return Outcome('{"choices": []}')

    async def embed(self, request: Any) -> list[Outcome]:
        raise AssertionError(request)

    async def close(self) -> None: ...


class ScriptedSink:
    """Where answers or dead letters go."""

    def __init__(self, queue: Scripted, into: dict[str, Outgoing]) -> None:
        self._queue, self._into = queue, into

    async def open(self, *, create: bool = False) -> None: ...

    async def publish(self, message: Outgoing) -> None:
        self._queue._maybe_lost(message)
        assert message.id not in self._into
        self._into[message.id] = message

    async def close(self) -> None: ...


def played(queue: Scripted, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Tally:
    given = {"source": "", "to": "", "dead": "", "target": "t", "until_empty": True, **more}

    async def main() -> Tally:
        queue.begun = asyncio.get_running_loop().time()
        answers, dead = ScriptedSink(queue, queue.sent), ScriptedSink(queue, queue.buried)
        worker = Worker(
            WorkerOptions(**given), queue, answers, dead, queue, Pacer(Fixed(4)), SILENT,
            lambda _: None, "scripted",
        )  # fmt: skip
        return await worker.run()

    return virtual_time.run(main(), monkeypatch)


CHAT = json.dumps({"model": "x", "messages": [{"role": "user", "content": "t"}]}).encode()


@pytest.mark.parametrize("kind", [Kind.CONNECTION, Kind.UNAVAILABLE, Kind.RATE])
def test_a_target_that_is_away_for_ten_minutes_costs_no_try(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Scripted(*[CHAT] * 20)
    queue.target_fails = lambda now: CallError(kind, "away") if 0.2 < now < 600 else None
    end = played(queue, monkeypatch, attempts=2)
    assert (end.answered, end.dead) == (20, 0)
    assert queue.calls < 20 + 4 * 80  # it does not hammer
    assert not queue.buried


def test_a_target_that_is_not_there_at_the_start_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Scripted(CHAT)
    queue.target_fails = lambda now: CallError(Kind.CONNECTION, "away") if now < 600 else None
    assert played(queue, monkeypatch, attempts=1).answered == 1
    assert queue.calls == 1


def test_a_worker_that_cannot_keep_its_messages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the broker would give them to another one as well."""
    queue = Scripted(*[CHAT] * 1000)

    async def refuse(_: Collection[Message]) -> None:
        raise ZeroDivisionError("in a client library")

    monkeypatch.setattr(queue, "keep", refuse)
    with pytest.raises(ZeroDivisionError):
        played(queue, monkeypatch)
    assert len(queue.sent) < 1000


def test_a_broker_that_is_away_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Scripted(*[CHAT] * 40)
    queue.broker_fails = lambda now, _: LostError("away") if now % 7 < 5 else None
    end = played(queue, monkeypatch)
    assert (end.answered, end.dead, end.trouble) == (40, 0, "")
    assert sorted(queue.done_with) == sorted(queue.sent)
    assert queue.calls == 40


def test_a_message_of_50_mb_is_a_dead_letter_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 50 << 20
    queue = Scripted(b" " * size, CHAT)

    def refuse(_now: float, message: Outgoing | None) -> Exception | None:
        large = message is not None and len(message.body) > 1 << 20
        return TooLargeError("too large") if large else None

    queue.broker_fails = refuse
    end = played(queue, monkeypatch)
    assert (end.answered, end.dead, queue.calls) == (1, 1, 1)
    letter = queue.buried["0"]
    assert letter.body == b""
    assert letter.headers["x-body-bytes"] == str(size)
    assert letter.headers["x-error"] == (
        "the message has 52,428,800 bytes, more than the 8,388,608 of --max-bytes"
    )


def test_a_dead_letter_with_large_headers_is_published_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Scripted(b"no JSON")
    queue.left[0].headers = {"note": "x" * (1 << 20)}
    queue.left[0].sent = 1.7e15  # of a sender that counts microseconds
    queue.broker_fails = lambda _now, one: (
        TooLargeError("too large") if one and "note" in one.headers else None
    )
    assert played(queue, monkeypatch).dead == 1
    letter = queue.buried["0"]
    assert letter.headers["x-error-kind"] == "input"
    assert letter.headers["x-first-seen"].startswith("9999-12-31")
    queue = Scripted(b"no JSON")
    queue.broker_fails = lambda _now, one: TooLargeError("too large") if one else None
    with pytest.raises(ServerError, match="--dead takes no dead letter: too large"):
        played(queue, monkeypatch)
    assert not queue.done_with and queue.released == ["0"]


def test_a_queue_of_unknown_length_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Scripted(CHAT)
    known = iter([None, None, 1, 0])

    async def waiting() -> int | None:
        return next(known)

    monkeypatch.setattr(queue, "waiting", waiting)
    assert played(queue, monkeypatch).answered == 1
    assert next(known, "asked until it was 0") == "asked until it was 0"


def test_what_another_worker_holds_counts_after_messages_were_deleted(redis: Broker) -> None:
    async def main() -> list[int | None]:
        one, other = (open_source(parse(redis.url("gaps"), "--from"), 60) for _ in range(2))
        await one.open(create=True)
        await other.open(create=False)
        redis.send("gaps", [(CHAT, {})] * 3)
        await one.receive(1)
        client: Any = getattr(one, "_redis")  # noqa: B009
        ids = [id for id, _ in await client.xrange("gaps")]
        found = []
        for id in ids[:0:-1]:  # a group whose last messages are gone has no lag
            await client.xdel("gaps", id)
            found.append(await other.waiting())
        await one.close()
        await other.close()
        return found

    assert asyncio.run(main()) == [None, 1]


@pytest.mark.parametrize(
    ("status", "error", "model", "fatal"),
    [
        (401, {"message": "wrong key"}, "", True),
        (403, {"message": "no"}, "m", True),
        (403, {"message": "withheld", "code": "content_refused"}, "m", False),
        (403, {"message": "not this", "code": "endpoint_not_allowed"}, "m", False),
        (404, {"message": "the model 'm' does not exist"}, "m", True),
        (404, {"message": "/v1/rerank does not exist"}, "m", False),
    ],
)
def test_one_message_that_is_refused_does_not_end_a_worker(
    status: int, error: dict[str, str], model: str, fatal: bool
) -> None:
    body = json.dumps({"error": error}).encode()
    assert _refusal(Response(status, body=body), model, own=True).fatal is fatal


def test_an_answer_that_the_broker_does_not_take_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Scripted(CHAT)
    queue.broker_fails = lambda _now, one: (
        TooLargeError("q takes no 9 bytes") if one and b"choices" in one.body else None
    )
    end = played(queue, monkeypatch)
    assert (end.answered, end.dead) == (0, 1)
    assert queue.buried["0"].headers["x-error"] == "q takes no 9 bytes"
    assert queue.buried["0"].body == CHAT


def test_a_target_that_refuses_the_key_ends_the_worker_and_no_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Scripted(*[CHAT] * 10)
    queue.target_fails = lambda _: CallError(Kind.REFUSED, "401: no", fatal=True)
    with pytest.raises(ServerError, match="the target refuses every request") as found:
        played(queue, monkeypatch)
    assert "its messages are back in the queue" in found.value.fix
    assert not queue.sent
    assert not queue.buried
    assert queue.released == ["0", "1", "2", "3"]
    assert not queue.done_with
