"""What each model uses, sampled every few seconds: its queue, its processes, its GPU memory.

Only what somebody reports is there: a server on another machine has no processes here, and without
the address of its metrics no queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trtbuild.server_records import ServerRecord, running_servers
from trtbuild.wire.failures import WireError
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.control.figures import ServerFigures, read_figures
from trtbuild_gateway.control.processes import Figures, by_model, of_process
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.seams import ADAPTER

_SECONDS = 2.0  # for a server's metrics
_HELP = {
    "queued": "Requests that wait in the server.",
    "engine_waiting": "Requests that wait in the engine.",
    "engine_running": "Requests that the engine works on.",
    "kv_cache_usage": "Share of the KV cache that is in use.",
    "processes": "Processes.",
    "rss_bytes": "Resident memory of the processes; shared pages count for each.",
    "gpu_memory_bytes": "GPU memory of the processes.",
    "cpu_seconds": "CPU time of the processes that live now.",
}
_OWN = ("queued", "engine_waiting", "engine_running", "kv_cache_usage")
"""What an adapter may report of its model."""


@dataclass
class Sample:
    """One look at a server. ``processes`` has its models, and the whole under the empty name."""

    at: float
    figures: ServerFigures = field(default_factory=ServerFigures)
    processes: Mapping[str, Figures] = field(default_factory=dict)


class Watchdog(Collector):
    """Samples the servers, and reports the last sample as metrics and in states.

    Args:
        gateway: What it watches.
        looked: Called after each look.
    """

    def __init__(self, gateway: Gateway, looked: Callable[[], None]) -> None:
        self._gateway = gateway
        self._looked = looked
        self._samples: dict[str, Sample] = {}
        self._before: dict[str, Sample] = {}
        gateway.metrics.registry.register(self)

    async def run(self) -> None:
        """Sample forever."""
        while True:
            with contextlib.suppress(Exception):  # a look that fails is repeated
                await self.look()
                self._looked()
            await asyncio.sleep(self._gateway.settings.refresh_seconds)

    async def look(self) -> None:
        """Sample every server once."""
        urls = self._gateway.catalog.urls
        records = await asyncio.to_thread(running_servers)
        here = {record.url("http"): record for record in reversed(records)}
        samples = await asyncio.gather(*(self._look_at(url, here.get(url)) for url in urls))
        self._before, self._samples = self._samples, dict(zip(urls, samples, strict=True))

    def of_model(self, url: str, model: str, names: Sequence[str]) -> dict[str, Any]:
        """Return what is known of a server's model.

        Args:
            url: The server.
            model: Its name there.
            names: Its names here.
        """
        made: dict[str, Any] = dict(self._gateway.metrics.recent.of(names))
        if sample := self._samples.get(url):
            made |= sample.figures.models.get(model, {})
            made |= self._processes(url, model)
        return made

    def of_server(self, url: str) -> dict[str, Any]:
        """Return what is known of a server."""
        sample = self._samples.get(url)
        if sample is None:
            return {}
        made: dict[str, Any] = self._processes(url, "")
        if gpus := sample.figures.gpus:
            made["gpus"] = [{"uuid": uuid, **values} for uuid, values in sorted(gpus.items())]
        return made

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last sample."""
        gauges = {
            name: GaugeMetricFamily(
                f"trtbuild_gateway_model_{name}", text, labels=("model", "server")
            )
            for name, text in _HELP.items()
            if name != "cpu_seconds"
        }
        cpu = CounterMetricFamily(
            "trtbuild_gateway_model_cpu_seconds", _HELP["cpu_seconds"], labels=("model", "server")
        )
        for url, sample in self._samples.items():
            for model in {*sample.figures.models, *sample.processes}:
                values = sample.figures.models.get(model, {}) | sample.processes.get(model, {})
                for name, value in values.items():
                    (cpu if name == "cpu_seconds" else gauges[name]).add_metric((model, url), value)
        yield from (family for family in (*gauges.values(), cpu) if family.samples)

    def _processes(self, url: str, model: str) -> dict[str, Any]:
        """Return the figures of processes, with the CPUs in use since the look before."""
        sample, before = self._samples[url], self._before.get(url)
        now = sample.processes.get(model)
        if now is None:
            return {}
        then = before.processes.get(model) if before else None
        if before is None or then is None or now["cpu_seconds"] < then["cpu_seconds"]:
            return dict(now)
        used = (now["cpu_seconds"] - then["cpu_seconds"]) / (sample.at - before.at)
        return {**now, "cpus": round(used, 3)}

    async def _look_at(self, url: str, record: ServerRecord | None) -> Sample:
        workers = self._gateway.catalog.workers
        if workers is None or not url.startswith(ADAPTER):
            return await self._sample(url, record)
        sample, name = Sample(time.monotonic()), url.removeprefix(ADAPTER)
        sample.figures.models[name] = {
            key: value
            for key, value in workers.usage(url).items()
            if key in _OWN and isinstance(value, int | float)
        }
        if pid := workers.pid(url):
            figures = await asyncio.to_thread(of_process, pid)
            sample.processes = {name: figures, "": figures}
        return sample

    async def _sample(self, url: str, record: ServerRecord | None) -> Sample:
        sample = Sample(time.monotonic())
        if address := self._metrics_address(url, record):
            with contextlib.suppress(WireError, ValueError):  # a server that is busy or gone
                async with TritonHttp(address, seconds=_SECONDS) as wire:
                    response = await wire.fetch("GET", "/metrics")
                if response.good:
                    page = response.body.decode("utf-8", "replace")
                    sample.figures = await asyncio.to_thread(read_figures, page)
        if record is not None:
            models = {row.name for row in self._gateway.catalog.indexes.get(url, ())}
            sample.processes = await asyncio.to_thread(by_model, record.pid, models)
        return sample

    def _metrics_address(self, url: str, record: ServerRecord | None) -> str:
        configured = self._gateway.settings.control.metrics
        if configured and url == self._gateway.catalog.urls[0]:
            return configured
        return f"{record.host}:{record.metrics_port}" if record is not None else ""
