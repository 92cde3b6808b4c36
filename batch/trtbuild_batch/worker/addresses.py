"""Addresses of queues, as ``--from``, ``--to`` and ``--dead`` name them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from trtbuild.errors import UsageError

FORMS = (
    "redis://HOST:PORT/STREAM, kafka://HOST:PORT/TOPIC, nats://HOST:PORT/SUBJECT or "
    "amqp://HOST:PORT/QUEUE"
)
_PORTS = {
    "redis": 6379, "rediss": 6379, "kafka": 9092, "nats": 4222, "tls": 4222, "amqp": 5672,
    "amqps": 5671,
}  # fmt: skip
_SETTINGS = {
    "redis": ("db",), "rediss": ("db",), "kafka": (), "nats": ("stream",), "tls": ("stream",),
    "amqp": ("vhost",), "amqps": ("vhost",),
}  # fmt: skip
_PARTS = {"db": "0", "vhost": "/"}
"""Settings that name a part of a broker with queues of its own, and their defaults."""
_SEVERAL = ("kafka", "nats", "tls")
_GROUP = "trtbuild"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: a Redis stream, a Kafka topic, a subject of a NATS stream, a RabbitMQ queue.

    ``str`` has neither user nor password.

    Attributes:
        scheme: Which broker, such as ``kafka``.
        hosts: ``HOST:PORT``, for Kafka and NATS also several with commas.
        name: The stream, topic, subject or queue.
        group: The name that all workers on the queue share.
        settings: What is in the query of the URL beside the group.
    """

    scheme: str
    hosts: str
    name: str
    group: str = _GROUP
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.hosts}/{self.name}"

    def is_same(self, other: Queue) -> bool:
        """Whether both name one queue, whatever the group and the user."""
        return str(self) == str(other) and all(
            self.settings.get(name, least) == other.settings.get(name, least)
            for name, least in _PARTS.items()
        )


def parse(text: str, option: str) -> Queue:
    """Return the queue of a URL, or of the environment variable that ``env:NAME`` names.

    Raises:
        UsageError: It is none. The URL is not shown: it may have a password.
    """
    where = option
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        where = f"{option} {text}"
        text = os.environ.get(name, "")
        if not text:
            raise UsageError(f"the variable {name} is not set", where=where, fix="export it first")
    try:
        parts = urlsplit(text)
        known = parts.scheme in _PORTS
        user, _, hosts = parts.netloc.rpartition("@")
        queue = unquote(parts.path.strip("/"))
        given = (
            dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
            if parts.query
            else {}
        )
        sound = known and bool(hosts) and bool(queue) and "/" not in queue and not parts.fragment
        hosts = (
            ",".join(_with_port(host, parts.scheme) for host in hosts.split(",")) if sound else ""
        )
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            "the URL names no queue", where=where, fix=f"write {FORMS}, or env:NAME for a variable"
        )
    group = given.pop("group", _GROUP) or _GROUP
    name, _, password = user.partition(":")
    _require_known(parts.scheme, given, where)
    if "," in hosts and parts.scheme not in _SEVERAL:
        raise UsageError(
            f"{parts.scheme}:// takes one host",
            where=where,
            fix="kafka:// and nats:// take several",
        )
    if not given.get("db", "0").isdecimal():
        raise UsageError(
            "the number of the database is none", where=where, fix="write ?db=1, or leave it out"
        )
    return Queue(parts.scheme, hosts, queue, group, unquote(name), unquote(password), given)


def _with_port(host: str, scheme: str) -> str:
    """Return ``HOST:PORT``. ValueError if there is no host, or no valid port."""
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(host)
    return f"{host}:{_PORTS[scheme]}" if parts.port is None else host


def _require_known(scheme: str, given: Mapping[str, str], where: str) -> None:
    known = ("group", *_SETTINGS[scheme])
    for name in given:
        if name not in known and not (scheme == "kafka" and "." in name):
            more = ", and settings of librdkafka such as security.protocol"
            raise UsageError(
                f"{scheme} has no setting {name!r}",
                where=where,
                fix=f"use {', '.join(known)}{more if scheme == 'kafka' else ''}",
            )
