"""The engine on its own event loop, and the requests that are in flight on it.

One thread does everything after a request was parsed: it admits, detokenises (inside vLLM),
sends and aborts. Hand-overs between threads cost more than the work on a busy machine, so
vLLM's output task appends to the requests directly and one flush per turn of the loop sends.
"""

import asyncio
import collections
import gc
import threading
import time
import traceback

import backend_arguments
import backend_guard
import backend_images
import backend_request
import backend_response
from backend_live import Live

# How often requests that produce nothing (queued, in prefill, not streaming) and the engine's
# health are looked at, and how long a stream may go without being asked.
_WATCH_SECONDS = 0.1
_STREAM_CHECK_SECONDS = 0.5
# How long answers must have ceased before a dead model is unloaded, and how long at most to wait.
_QUIET_SECONDS = 1.0
_MOURN_SECONDS = 3.0
# After this long a flush lets vLLM hand over its next step; what is not sent yet grows.
_FLUSH_SECONDS = 0.005


class EngineError(Exception):
    """The engine did not start; the message says why."""


class Engine:
    """vLLM's AsyncLLM on a thread of its own.

    ``adapters`` maps LoRA names to paths; ``on_death`` is called once, from another thread,
    when the engine died.
    """

    def __init__(self, log, adapters, on_death):
        self._log = log
        self._adapters = adapters
        self._on_death = on_death
        self._live = set()
        self._tasks = set()
        self._ready = collections.deque()
        self._flushing = self._dead = self._stopping = False
        self._counter = 0
        self._refused = 0.0
        self._placeholder = ""
        self._llm = self._metrics = self._loop = self._thread = self._guard = None

    # Called from the stub's thread.

    def start(self, engine_args, metrics):
        """Start the engine and wait for it; EngineError when it cannot."""
        self._metrics = metrics
        self._guard = backend_guard.Guard()
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-loop")
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(self._open(engine_args), self._loop)
        failure = self._opened(opening)
        if failure:
            self._end_loop()
            if metrics:
                metrics.close()
            raise EngineError(failure)
        # What exists now stays: the collector need not walk it between two tokens.
        gc.collect()
        gc.freeze()

    def _opened(self, future):
        """Why the engine did not open. The exception itself is dropped here: its frames hold
        metrics, and the stub crashes when those outlive it."""
        try:
            with self._guard.noting():
                future.result()
        except BaseException as error:
            self._log.log_error("[vllm] " + "".join(traceback.format_exception(error)))
            return backend_arguments.reason(error)
        return ""

    def submit(self, request, sender):
        """Take a parsed request; every outcome is answered through ``sender``."""
        self._loop.call_soon_threadsafe(self._begin, request, sender)

    def alive(self):
        """Whether requests are served; only looks, so it may be asked at any time."""
        llm = self._llm
        return llm is not None and not (self._dead or self._stopping or llm.errored)

    def idle(self):
        """Whether no request is open."""
        return not self._live

    def give_up(self):
        """End the engine's processes: the server keeps the model, but sends it no more requests."""
        self._log.log_error(
            "[vllm] the server has unloaded the model without ending it; its engine ends now, to "
            "free its memory"
        )
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()

    def stop(self):
        """Abort everything, end the engine's processes and the thread."""
        if self._loop is None or self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._end_loop()
        self._llm = None
        gc.unfreeze()
        gc.collect()

    def _end_loop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._guard.close()

    # Called on the loop's thread.

    async def _open(self, engine_args):
        from vllm.v1.engine.async_llm import AsyncLLM

        loggers = [self._metrics.logger] if self._metrics else None
        self._llm = AsyncLLM.from_engine_args(engine_args, stat_loggers=loggers)
        supported = await self._llm.get_supported_tasks()
        self._placeholder = backend_images.placeholder_of(self._llm.model_config)
        self._arguments = backend_arguments.Arguments(self._adapters, supported, self._placeholder)
        await self._arguments.load_adapters(self._llm)
        self._spawn(self._watch())

    async def _shut_down(self):
        if self._stopping:
            return
        self._stopping = True
        for live in list(self._live):
            live.refuse("UNAVAILABLE", "the model is being unloaded")
        self._llm.shutdown()

    async def _close(self):
        await self._shut_down()
        if self._metrics:
            self._metrics.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _spawn(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, request, sender):
        live = Live(self, request, sender)
        self._live.add(live)
        if self._dead or self._stopping:
            state = "dead" if self._dead else "stopping"
            live.refuse("UNAVAILABLE", f"the vLLM engine is {state}")
            self._refused = time.monotonic()
        else:
            self._counter += 1
            self._spawn(self._admit(live, f"triton-{self._counter}"))

    async def _admit(self, live, request_id):
        try:
            await backend_images.decode(live.request)
            prompt, params, lora = self._arguments.of(live.request)
            live.expects(params)
            collector = await self._llm.add_request(
                request_id, prompt, params, lora_request=lora, trace_headers=live.request.trace
            )
        except Exception as error:
            self.fail(live, error)
            return
        live.collector = collector
        if live.closed:
            await self._llm.abort(collector.request_id, internal=True)
            return
        # vLLM hands outputs to the collector; without a task of ours in between each token
        # saves a wake-up. What arrived before this line is taken over.
        early, collector.output = collector.output, None
        collector.put = live.put
        if early is not None:
            live.put(early)

    # Called by Live.

    def queue(self, live, first):
        """Have ``live`` send in the next flush; a first response goes before all others."""
        (self._ready.appendleft if first else self._ready.append)(live)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self):
        until = time.monotonic() + _FLUSH_SECONDS
        ready = self._ready
        while ready:
            live = ready.popleft()
            try:
                live.send()
            except Exception as error:
                self.cancel(live)
                self._log.log_error(f"[vllm] a response was lost: {type(error).__name__}: {error}")
            if ready and time.monotonic() > until:
                self._loop.call_soon(self._flush)
                return
        self._flushing = False

    def forget(self, live):
        """``live`` has had its last response."""
        self._live.discard(live)

    def cancel(self, live):
        """The client is gone: stop generating at once."""
        collector = live.collector
        live.refuse("CANCELLED", "the request was cancelled")
        if collector is not None:
            self._spawn(self._llm.abort(collector.request_id, internal=True))

    def fail(self, live, error):
        """Answer ``error`` with the code a client can act on; no traceback, no prompt."""
        from vllm.exceptions import GracefulHTTPError, VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        mistakes = (
            backend_request.RequestError,
            VLLMClientError,
            ValueError,
            TypeError,
            OverflowError,
        )
        if isinstance(error, EngineDeadError):
            live.refuse("UNAVAILABLE", "the vLLM engine is dead; its log tells why")
        elif isinstance(error, GracefulHTTPError):
            live.refuse("UNAVAILABLE", str(error) or type(error).__name__)
        elif backend_images.is_unplaced(error):
            said = backend_images.unplaced(len(live.request.images), self._placeholder)
            live.refuse("INVALID_ARG", said)
        elif isinstance(error, mistakes):
            live.refuse("INVALID_ARG", backend_arguments.said(error))
        else:
            live.refuse("INTERNAL", f"{type(error).__name__}: {error}")
            lines = backend_response.sendable("".join(traceback.format_exception(error)))
            self._log.log_error(f"[vllm] a request failed: {lines}")

    # The watcher.

    async def _watch(self):
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._llm.errored and not (self._dead or self._stopping):
                self._mourn()
            now = time.monotonic()
            for live in list(self._live):
                patience = _STREAM_CHECK_SECONDS if live.flowing else _WATCH_SECONDS
                if now - live.checked >= patience:
                    self._look(live)
            if self._metrics:
                self._metrics.tick(now, idle=not self._live)

    def _look(self, live):
        try:
            live.check()
        except Exception as error:
            self._log.log_warn(f"[vllm] cannot tell whether a client is there: {error}")

    def _mourn(self):
        self._dead = True
        self._refused = time.monotonic()
        self._log.log_error("[vllm] the engine died; requests are answered UNAVAILABLE")
        for live in list(self._live):
            live.refuse("UNAVAILABLE", "the vLLM engine is dead; its log tells why")
        threading.Thread(target=self._report_death, name="vllm-death", daemon=True).start()

    def _report_death(self):
        """Tell the model once no request is being answered, or after a few seconds.

        A server that frees a model's last request while it unloads that model waits for itself,
        forever: the stub and its shared memory would stay.
        """
        until = time.monotonic() + _MOURN_SECONDS
        while time.monotonic() < until and time.monotonic() - self._refused < _QUIET_SECONDS:
            time.sleep(_WATCH_SECONDS)
        # An unload goes by name: one that is being unloaded already may have a successor.
        if not self._stopping:
            self._on_death()


def _new_loop():
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
