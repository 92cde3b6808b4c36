"""Which limiter a job has, and the metrics that it follows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from trtbuild.errors import UsageError
from trtbuild.wire.failures import WireError
from trtbuild.wire.metrics import parse_metrics
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_batch.engine import Aimd, Engine, Fixed, Limiter, Load, Metered, Ours, Yielding
from trtbuild_batch.targets.opening import Address

_PERIOD = 1.0
_TRIES = 3
# Gauges of vLLM's server and backend, of tensorrtllm_backend, and of trtllm-serve.
_WAITING = ("vllm:num_requests_waiting", "trtllm_num_requests_waiting")
_RUNNING = ("vllm:num_requests_running", "trtllm_num_requests_running")
_MEMORY = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "trtllm_kv_cache_utilization")
_FIRST = ("vllm:time_to_first_token_seconds", "trtllm_time_to_first_token_seconds")
_TRTLLM, _TRTLLM_CACHE = "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"
_PENDING = "nv_inference_pending_request_count"


@dataclass(slots=True)
class Pacer:
    """A limiter, and where it learns from.

    Args:
        limiter: Decides until there are metrics.
        metrics_url: Where they are; empty: nowhere.
        model: Whose metrics count; empty: all.
        slowdown: Times as long that other requests may wait for a first token, on average; 0: they
            are not looked at.
    """

    limiter: Limiter
    metrics_url: str = ""
    model: str = ""
    slowdown: float = 0.0

    async def begin(self, engine: Engine[Any]) -> None:
        """Look whether others are at the server before the first call."""
        if self.metrics_url and self.slowdown:
            async with self._open() as http:
                if await self._look(http, engine):
                    await asyncio.sleep(_PERIOD)
                    await self._look(http, engine)

    async def follow(self, engine: Engine[Any]) -> None:
        """Tell the limiter the server's load once a second. Returns if there are no metrics."""
        if not self.metrics_url:
            return
        async with self._open() as http:
            misses = 0
            while misses < _TRIES or isinstance(engine.limiter, Metered):
                misses = 0 if await self._look(http, engine) else misses + 1
                if misses == _TRIES:
                    self._lost(engine)
                await asyncio.sleep(_PERIOD)

    def _open(self) -> TritonHttp:
        root = urlsplit(self.metrics_url)
        return TritonHttp(f"{root.scheme}://{root.netloc}", environment=False)

    async def _look(self, http: TritonHttp, engine: Engine[Any]) -> bool:
        """Tell the limiter the load; False if it is not known."""
        load = await self._load(http)
        if load is None:
            return False
        limiter = engine.limiter
        if not isinstance(limiter, Metered):  # the first answer: from now on metrics decide
            assert isinstance(limiter, Aimd)
            yielding = Yielding(self.slowdown) if self.slowdown else None
            limiter = Metered(limiter.limit, limiter.most, limiter.greedy, yielding)
            engine.limiter = limiter
        now = asyncio.get_running_loop().time()
        ours = Ours(engine.requests_in_flight, engine.asked, now, engine.in_flight)
        limiter.observe(load, ours)
        engine.wake()
        return True

    def _lost(self, engine: Engine[Any]) -> None:
        """Wait no longer for others whom nobody can see."""
        limiter = engine.limiter
        if isinstance(limiter, Metered) and limiter.yielding is not None:
            before, limiter.yielding = limiter.yielding, Yielding(self.slowdown)
            limiter.yielding.limit = max(limiter.yielding.limit, before.limit)
            engine.wake()

    async def _load(self, http: TritonHttp) -> Load | None:
        path = urlsplit(self.metrics_url)._replace(scheme="", netloc="").geturl() or "/metrics"
        try:
            answer = await http.fetch("GET", path, seconds=5)
            text = answer.body.decode("utf-8", "replace")
            return load_of(text, self.model) if answer.good else None
        except (WireError, ValueError):
            return None


class PaceOptions(Protocol):
    """The options of a job or a worker that say how many calls it makes at a time."""

    @property
    def concurrency(self) -> int | None:
        """A fixed number."""

    @property
    def max_concurrency(self) -> int:
        """The highest number."""

    @property
    def greedy(self) -> bool:
        """Whether no room is left for online traffic."""

    @property
    def metrics_url(self) -> str:
        """Where the metrics are; ``none``: nowhere; empty: where they usually are."""


def pacer(options: PaceOptions, address: Address, *, slowdown: float = 0.0) -> Pacer:
    """Return how many calls at a time a job makes, and how much others may notice of it.

    Raises:
        UsageError: The address of the metrics is not a URL.
    """
    if options.concurrency:
        return Pacer(Fixed(options.concurrency))
    limiter = Aimd(most=options.max_concurrency, greedy=options.greedy)
    url = options.metrics_url or address.metrics
    if url == "none" or not url:
        return Pacer(limiter)
    if not _is_http(url):
        raise UsageError(
            f"{url!r} is not a URL",
            where="--metrics-url",
            fix="write it as http://HOST:8002/metrics",
        )
    return Pacer(limiter, url, address.model, 0.0 if options.greedy else slowdown)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, or a port that is none
        return False


def load_of(text: str, model: str) -> Load | None:
    """Return a server's load from its Prometheus metrics; None if they do not tell.

    Raises:
        ValueError: The text is not in the Prometheus format.
    """
    sums: dict[str, float] = {}
    for metric in parse_metrics(text):
        owner = metric.labels.get("model") or metric.labels.get("model_name")
        if math.isfinite(metric.value) and (owner in (None, model) or not model):
            name = _name(metric.name, metric.labels)
            sums[name] = sums.get(name, 0.0) + metric.value
    waiting = _first(sums, (*_WAITING, f"{_TRTLLM}:waiting"))
    running = _first(sums, (*_RUNNING, f"{_TRTLLM}:scheduled"))
    pending = sums.get(_PENDING)
    if waiting is None and pending is None:
        return None
    # An engine that batches in flight empties Triton's own queue at once: both count.
    memory = _first(sums, (*_MEMORY, f"{_TRTLLM_CACHE}:fraction"))
    firsts = _first(sums, [f"{name}_count" for name in _FIRST])
    seconds = _first(sums, [f"{name}_sum" for name in _FIRST])
    queued = (waiting or 0.0) + (pending or 0.0)
    return Load(queued, running, memory, firsts, seconds or 0.0)


def _name(name: str, labels: Any) -> str:
    kind = labels.get("request_type") or labels.get("kv_cache_block_type")
    return f"{name}:{kind}" if kind and name in (_TRTLLM, _TRTLLM_CACHE) else str(name)


def _first(sums: dict[str, float], names: Sequence[str]) -> float | None:
    return next((sums[name] for name in names if name in sums), None)
