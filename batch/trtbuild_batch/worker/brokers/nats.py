"""NATS JetStream, with a durable pull consumer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.model import LostError, Message, Outgoing, TooLargeError

_WAIT = 1.0
_SECONDS = 6.0
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header, as in HTTP
_TOO_LARGE = (10054, 10097)
"""JetStream's errors for a message larger than the stream's max_msg_size, and headers of more than
64 KiB (errors.json of github.com/nats-io/nats-server)."""
_LINE = len(b"NATS/1.0\r\n\r\n")


class NatsSource:
    """A subject of a stream; the durable consumer has the name of the group."""

    def __init__(self, queue: Queue, lease: float) -> None:
        self._queue = queue
        self._lease = lease
        self._client = _client()
        self._jetstream: Any = None
        self._messages: Any = None
        self._stream = queue.settings.get("stream", "")
        self._held = 0

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. A new consumer begins with the oldest
        message, and never gives a message up by itself."""
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
        from nats.js.errors import NotFoundError

        self._jetstream, self._stream = await _opened(self._client, self._queue, create)
        with _opening(self._queue):
            try:
                await self._jetstream.consumer_info(self._stream, self._queue.group)
            except NotFoundError:
                wanted = ConsumerConfig(
                    durable_name=self._queue.group,
                    filter_subject=self._queue.name,
                    ack_policy=AckPolicy.EXPLICIT,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_wait=self._lease,
                    max_deliver=-1,
                    max_ack_pending=100_000,
                )
                await self._jetstream.add_consumer(self._stream, wanted)
            self._messages = await self._jetstream.pull_subscribe_bind(
                self._queue.group, self._stream
            )

    async def receive(self, most: int) -> Sequence[Message]:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        from nats.errors import TimeoutError as LateError

        with _running():
            try:
                found = await self._messages.fetch(most, _WAIT)
            except LateError:
                return []
        self._held += len(found)
        return [self._message(one) for one in found]

    def _message(self, one: Any) -> Message:
        about = one.metadata
        headers = {name.lower(): text for name, text in (one.headers or {}).items()}
        return Message(
            f"{self._stream}-{about.sequence.stream}",
            one.data,
            headers,
            one,
            about.num_delivered,
            about.timestamp.timestamp(),
        )

    async def keep(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        with _running():
            for one in held:
                if not one.handle.is_acked:
                    await one.handle.in_progress()

    async def done(self, message: Message) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        with _running():
            if not message.handle.is_acked:
                await message.handle.ack_sync()
        self._held -= 1

    async def release(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. NATS counts the delivery."""
        with _running():
            await self._messages.unsubscribe()  # or an open pull would get them back
            await self._client.flush()
            for one in held:
                await one.handle.nak()
            await self._client.flush()

    async def waiting(self) -> int | None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        with _running():
            found = await self._jetstream.consumer_info(self._stream, self._queue.group)
        return (found.num_pending or 0) + (found.num_ack_pending or 0) - self._held

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        await self._client.close()


class NatsSink:
    """A subject of a stream. The stream drops repeats by their id for its window (2 minutes)."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._client = _client()
        self._jetstream: Any = None

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        self._jetstream, _ = await _opened(self._client, self._queue, create)

    async def publish(self, message: Outgoing) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        from nats.errors import MaxPayloadError
        from nats.js.errors import APIError

        headers = _headers(message) | {"Nats-Msg-Id": message.id}
        size = len(message.body) + _LINE + sum(len(n) + len(t) + 4 for n, t in headers.items())
        # The server counts the headers, too, and ends a connection whose message is too large.
        if size > self._client.max_payload:
            raise TooLargeError(f"{self._queue} takes no {size:,} bytes")
        with _running():
            try:
                await self._jetstream.publish(self._queue.name, message.body, headers=headers)
            except MaxPayloadError:  # that of a server to which we have just moved
                raise TooLargeError(f"{self._queue} takes no {size:,} bytes") from None
            except APIError as error:
                if error.err_code not in _TOO_LARGE:
                    raise
                raise TooLargeError(f"{self._queue}: {error.description}") from None

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await self._client.close()


def _headers(message: Outgoing) -> dict[str, str]:
    """Return the headers that the client takes: a name of another broker may have a space."""
    return {
        name: text.encode("ascii", "backslashreplace").decode("ascii")
        for name, text in message.headers.items()
        if _NAME.fullmatch(name) and not name.startswith("nats-")
    }


def _client() -> Any:
    from nats.aio.client import Client

    return Client()


async def _opened(client: Any, queue: Queue, create: bool) -> tuple[Any, str]:
    """Connect; return JetStream and the name of the stream that has the subject."""
    from nats.js.errors import NotFoundError

    secure = "tls" if queue.scheme == "tls" else "nats"
    with _opening(queue):
        hosts = [f"{secure}://{host}" for host in queue.hosts.split(",")]
        async with asyncio.timeout(_SECONDS):  # it would try forever
            await client.connect(
                hosts,
                user=queue.user or None,
                password=queue.password or None,
                name="trtbuild worker",
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,
                connect_timeout=5,
                error_cb=_told_elsewhere,
            )
        jetstream = client.jetstream()
        given = queue.settings.get("stream", "")
        try:
            if given:
                await jetstream.stream_info(given)
            return jetstream, given or await jetstream.find_stream_name_by_subject(queue.name)
        except NotFoundError:
            pass
        if create:
            made = await jetstream.add_stream(
                name=given or _plain(queue.name), subjects=[queue.name]
            )
            return jetstream, str(made.config.name)
    raise UsageError(
        f"no stream has the subject {queue.name!r}",
        where=str(queue),
        fix="correct the subject or ?stream=NAME, create the stream, or add --create",
    )


def _plain(subject: str) -> str:
    """Return a name for a stream, which may not have the dots of a subject."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in subject)


async def _told_elsewhere(_error: Exception) -> None:
    """The client would log it; the call that fails tells."""


@contextmanager
def _opening(queue: Queue) -> Iterator[None]:
    import nats.errors

    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise ServerError(
            f"NATS cannot be used: {error or 'no answer'}",
            where=str(queue),
            fix="check the address and password, and that JetStream is enabled",
        ) from None


@contextmanager
def _running() -> Iterator[None]:
    import nats.errors

    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise LostError(f"NATS: {error or type(error).__name__}") from None
