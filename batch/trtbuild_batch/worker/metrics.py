"""A worker's own metrics, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trtbuild.errors import UsageError
from trtbuild_batch.worker.tally import Tally

_NAME = "trtbuild_worker"


class _Tallied(Collector):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        tally = self._tally
        ends = CounterMetricFamily(f"{_NAME}_messages", "Finished messages.", labels=["result"])
        ends.add_metric(["answered"], tally.answered)
        ends.add_metric(["dead"], tally.dead)
        yield ends
        failed = "Calls without an answer."
        yield CounterMetricFamily(f"{_NAME}_failed_calls", failed, value=tally.failed)
        gauges = [
            ("held", "Messages received and not finished.", tally.held),
            ("limit", "Calls at a time at most.", tally.limit),
            ("oldest_seconds", "Age of the oldest message held.", tally.oldest_s),
            ("broker_up", "Whether the brokers answer.", float(not tally.trouble)),
        ]
        if tally.waiting is not None:
            gauges.append(("waiting", "Messages that nobody holds or finished.", tally.waiting))
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"{_NAME}_{name}", text, value=value)


def address_of(listen: str) -> tuple[str, int]:
    """Return host and port of ``--listen``. UsageError if it has none."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"{listen!r} is not an address", where="--listen", fix="write it as 127.0.0.1:9400"
        )
    return host.strip("[]"), int(port)


@contextmanager
def served(listen: str, tally: Tally) -> Iterator[None]:
    """Serve ``/metrics`` until the end of the block; nothing without an address.

    Raises:
        UsageError: The port is taken.
    """
    if not listen:
        yield
        return
    host, port = address_of(listen)
    registry = CollectorRegistry()
    registry.register(_Tallied(tally))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"{listen} cannot be used: {error.strerror or error}",
            where="--listen",
            fix="choose another port",
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
