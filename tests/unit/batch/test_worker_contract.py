"""What a worker promises, on each broker: real ones, and real workers that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from support.batch_server import BatchServer
from support.brokers import BROKERS, NIGHTLY, Broker, Sent, broker
from support.waiting import wait_for
from trtbuild.errors import UsageError
from trtbuild.process import free_ports
from trtbuild.progress import SILENT
from trtbuild.wire.blocking import fetch
from trtbuild_batch.worker.addresses import parse
from trtbuild_batch.worker.model import Outgoing, TooLargeError
from trtbuild_batch.worker.opening import open_sink, open_source
from trtbuild_batch.worker.options import WorkerOptions
from trtbuild_batch.worker.run import run

_AT_ONCE = 8
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_NAMES = itertools.count()
# Without the command line, which takes longer to start than the rest of a life here.
_CHILD = """
import json, sys
from trtbuild.process import free_ports
from trtbuild.progress import SILENT
from trtbuild.wire.blocking import fetch
from trtbuild_batch.worker.run import run
from trtbuild_batch.worker.options import WorkerOptions
end = run(WorkerOptions(**json.loads(sys.argv[1])), SILENT, lambda now: None)
print(end.answered, end.dead, end.returned)
"""


_LANES = {"kafka": [pytest.mark.long], **{name: [pytest.mark.nightly] for name in NIGHTLY}}
_ON_ALL = pytest.mark.parametrize(
    "running",
    [pytest.param(one, marks=_LANES.get(one, [])) for one in sorted(BROKERS)],
    indirect=True,
    scope="module",
)
"""Kafka's mock makes each worker wait for the session of the one before."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(one, marks=[pytest.mark.nightly] * (one in NIGHTLY)) for one in sorted(BROKERS)
    ],
)
def running(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with broker(request.param) as found:
        yield found


def chat(text: str, **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


class Queues:
    """Three queues of their own for a test, and workers on them."""

    def __init__(self, on: Broker, target: str) -> None:
        self.on = on
        number = next(_NAMES)
        self.names = [f"{name}{number}-{os.getpid()}" for name in ("requests", "answers", "dead")]
        for name in self.names:
            on.create(name)
        source, to, dead = map(on.url, self.names)
        self.options = {
            "source": source, "to": to, "dead": dead, "target": target,
            "concurrency": _AT_ONCE, "lease": 1.0, "attempts": 3,
        }  # fmt: skip

    def send(self, *messages: Sent) -> None:
        self.on.send(self.names[0], messages)

    def work(self, **more: Any) -> Any:
        given = self.options | {"until_empty": True} | more
        return run(WorkerOptions(**given), SILENT, lambda _: None)

    def start(self, **more: Any) -> subprocess.Popen[str]:
        given = json.dumps({**self.options, **more})
        command = [sys.executable, "-c", _CHILD, given]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def answers(self) -> Counter[str]:
        """The answers by the id of the request, each checked."""
        found: Counter[str] = Counter()
        for body, headers in self.on.read(self.names[1]):
            line = json.loads(body)
            assert line["error"] is None
            assert line["response"]["status_code"] == 200
            assert line["custom_id"] == headers["x-request-id"]
            found[line["custom_id"]] += 1
        return found

    def dead(self) -> list[Sent]:
        return self.on.read(self.names[2])


@pytest.fixture
def queues(running: Broker, server: BatchServer) -> Queues:
    return Queues(running, server.url)


def numbered(count: int) -> list[Sent]:
    return [(chat(f"text {n}"), {"x-request-id": f"r{n}"}) for n in range(count)]


@pytest.mark.slow
def test_a_message_becomes_an_answer_or_a_dead_letter(queues: Queues, server: BatchServer) -> None:
    server.decide = lambda text, _: {"poison": 500, "refused": 400}.get(text, 200)
    line = {"custom_id": "line", "method": "POST", "url": "/v1/embeddings",
            "body": {"model": "m", "input": "e"}}  # fmt: skip
    queues.send(
        (chat("traced"), {"x-request-id": "a", "traceparent": _TRACE, "x-deadline": "9e9"}),
        (json.dumps(line).encode(), {"x-other": "kept", "x-request-id": "line"}),
        (chat("poison"), {"x-request-id": "poison"}),
        (chat("refused"), {"x-request-id": "refused"}),
        (b"not JSON", {"x-request-id": "format"}),
        (b'{"temperature": 1}', {"x-request-id": "endpoint"}),
        (chat("late"), {"x-request-id": "late", "x-deadline": "2020-01-01T00:00:00Z"}),
        (chat("when"), {"x-request-id": "when", "x-deadline": "soon"}),
        (chat("never"), {"x-request-id": "never", "x-deadline": "nan"}),
        (chat("x" * 5000), {"x-request-id": "large"}),
    )
    end = queues.work(max_bytes=5000)
    assert (end.answered, end.dead, end.waiting or 0, end.returned) == (2, 8, 0, 0)
    assert queues.answers() == {"a": 1, "line": 1}
    assert any(f"traceparent: {_TRACE}\r\n" in head for head in server.heads)
    dead = {headers["x-request-id"]: (body, headers) for body, headers in queues.dead()}
    kinds = {name: headers["x-error-kind"] for name, (_, headers) in dead.items()}
    assert kinds == {
        "poison": "server_error", "refused": "refused", "format": "input", "endpoint": "input",
        "late": "expired", "when": "input", "never": "input", "large": "input",
    }  # fmt: skip
    assert server.asked == {"traced": 1, "e": 1, "poison": 3, "refused": 1}
    body, history = dead["poison"]
    assert body == chat("poison")
    assert (history["x-attempts"], history["x-deliveries"]) == ("3", "1")
    assert [one["kind"] for one in json.loads(history["x-errors"])] == ["server_error"] * 3
    assert history["x-source"] == str(queues.options["source"]).partition("?")[0]
    assert history["x-first-seen"].startswith("20")
    assert "5,0" in dead["large"][1]["x-error"]


@pytest.mark.slow
def test_killed_workers_lose_nothing_and_repeat_what_was_in_flight(
    queues: Queues, server: BatchServer
) -> None:
    count = 200
    queues.send(*numbered(count))

    def decide(text: str, times: int) -> float:
        if text == "text 0" and times == 1:
            return 1.5
        return 0.02 if server.most > _AT_ONCE else 0.5  # there is work left for the second worker

    server.decide = decide
    # Longer than one of them is held up by whatever else the machine does.
    workers = [queues.start(lease=4.0) for _ in range(2)]
    try:
        wait_for(lambda: server.most > _AT_ONCE)  # both work
        workers[0].kill()
        wait_for(lambda: len(server.asked) == count)
        workers[1].terminate()
        codes = [worker.wait(180) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes == [-signal.SIGKILL, 0]
    end = queues.work()  # what the killed worker held, unless the other one has it
    assert (end.dead, end.waiting or 0, end.returned) == (0, 0, 0)
    assert set(queues.answers()) == {f"r{n}" for n in range(count)}
    assert count <= sum(server.asked.values()) <= count + _AT_ONCE
    assert not queues.dead()


@pytest.mark.slow
@_ON_ALL
def test_a_worker_finishes_its_messages_after_sigterm(queues: Queues, server: BatchServer) -> None:
    queues.send(*numbered(40))
    server.decide = lambda _text, _times: "hold"
    (port,) = free_ports(1)
    worker = queues.start(listen=f"127.0.0.1:{port}")
    try:
        wait_for(lambda: len(server.asked) == _AT_ONCE)
        metrics = fetch(f"http://127.0.0.1:{port}/metrics", seconds=30).body.decode()
        assert "trtbuild_worker_broker_up 1.0" in metrics
        assert 'trtbuild_worker_messages_total{result="dead"} 0.0' in metrics
        worker.send_signal(signal.SIGTERM)
        server.holds = False
        said, _ = worker.communicate(timeout=180)
    finally:
        worker.kill()
    assert worker.returncode == 0
    answered = sum(queues.answers().values())
    assert said == f"{answered} 0 0\n"
    assert _AT_ONCE <= answered <= 2 * _AT_ONCE
    assert sum(server.asked.values()) == answered
    assert queues.work().answered == 40 - answered


@pytest.mark.slow
@_ON_ALL
def test_what_is_not_finished_in_the_grace_goes_back(queues: Queues, server: BatchServer) -> None:
    queues.send(*numbered(1))
    server.decide = lambda _text, times: "hold" if times == 1 else 200
    lease = 600 if queues.on.leaves else 1
    worker = queues.start(grace=0, lease=lease)
    try:
        wait_for(lambda: server.asked)
        worker.send_signal(signal.SIGTERM)
        assert worker.communicate(timeout=180)[0] == "0 0 1\n"
    finally:
        worker.kill()
    assert queues.work(lease=lease, attempts=1 if queues.on.uncounts else 2).answered == 1


@pytest.mark.slow
@_ON_ALL
def test_a_message_that_ends_its_workers_is_a_dead_letter(
    queues: Queues, server: BatchServer
) -> None:
    if not queues.on.counts:
        pytest.skip("the broker counts no deliveries")
    queues.send(*numbered(1))
    server.decide = lambda *_: "hold"
    queues.options["attempts"] = 1
    worker = queues.start()
    try:
        wait_for(lambda: server.asked)
    finally:
        worker.kill()
        worker.wait()
    assert queues.work().dead == 1
    ((_, history),) = queues.dead()
    assert history["x-error-kind"] == "deliveries"
    assert history["x-deliveries"] == "2"
    assert sum(server.asked.values()) == 1


def test_whatever_headers_a_message_has_it_is_published_or_too_large(running: Broker) -> None:
    """Another broker may have taken them, and a message must not keep a worker forever."""
    name = f"headers{os.getpid()}"
    running.create(name)
    odd = {"user id": "a\nb", "größe": "ü", "correlation_id": "c" * 300, "n" * 300: "long"}
    sent = [
        Outgoing("odd", b"{}", odd),
        Outgoing("headers", b"{}", {"note": "x" * 200_000}),
        Outgoing("body", b" " * ((1 << 20) - 50), {"note": "x" * 60}),
        Outgoing("last", b"{}", {}),
    ]

    async def published() -> list[str]:
        sink, taken = open_sink(parse(running.url(name), "--to")), []
        await sink.open(create=False)
        for one in sent:
            with contextlib.suppress(TooLargeError):
                await sink.publish(one)
                taken.append(one.id)
        await sink.close()
        return taken

    taken = asyncio.run(published())
    assert taken[0] == "odd" and taken[-1] == "last"
    assert len(running.read(name)) == len(taken)


def test_a_queue_that_is_missing_is_an_error_or_is_created(running: Broker) -> None:
    async def opened(name: str, *, create: bool) -> None:
        for one in (open_source(parse(running.url(name), "--from"), 60.0),
                    open_sink(parse(running.url(f"{name}b"), "--to"))):  # fmt: skip
            try:
                await one.open(create=create)
            finally:
                await one.close()

    name = f"missing{os.getpid()}"
    with pytest.raises(UsageError, match=f"{name}' does not exist|has the subject '{name}'"):
        asyncio.run(opened(name, create=False))
    if running.creates:
        asyncio.run(opened(name, create=True))
        running.send(f"{name}b", numbered(1))
        assert len(running.read(f"{name}b")) == 1
