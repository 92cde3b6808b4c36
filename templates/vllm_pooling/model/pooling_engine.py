"""vLLM's AsyncLLM with an event loop of its own, and the requests that it pools.

Of vLLM only the raw numbers are asked for: what is done with them (activation, length 1, fewer
dimensions) has one place, and no release's default decides it.
"""

import asyncio
import dataclasses
import gc
import itertools
import threading
import traceback

import numpy as np
import pooling_guard
import pooling_settings
from text_rows import pooled, unit

_WATCH_SECONDS = 0.1
_DEAD = "the vLLM engine is dead; the server's log tells why"
# vLLM's own names of the switch: releases up to 0.13 have another one for each task.
_RAW = ("use_activation", "normalize", "activation", "softmax")


class EngineError(Exception):
    """The engine did not start; the message says why."""


class Engine:
    """AsyncLLM on a thread of its own. ``settings`` has the task and the size of a row."""

    def __init__(self, log, settings, probe):
        self._log = log
        self._settings = settings
        self._probe = probe  # some text's tokens
        self._live = {}  # what is in flight -> its task
        self._numbers = itertools.count(1)
        self._dead = self._stopping = False
        self._llm = self._loop = self._thread = self._guard = self._params = self._watcher = None

    # Called from the stub's thread.

    def start(self, arguments):
        """Start the engine and wait for it; EngineError when that cannot be."""
        self._guard = pooling_guard.Guard()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pooling-loop")
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(self._open(arguments), self._loop)
        failure = self._opened(opening)
        if failure:
            self.stop()
            raise EngineError(failure)
        gc.collect()
        gc.freeze()

    def _opened(self, future):
        """Why the engine did not open; empty when it did."""
        try:
            with self._guard.noting():
                future.result()
        except BaseException as error:
            self._log.log_error("[vllm-pooling] " + "".join(traceback.format_exception(error)))
            return str(error) if isinstance(error, EngineError) else reason(error)
        return ""

    def submit(self, live):
        """Take a prepared request; every outcome is answered through it."""
        self._loop.call_soon_threadsafe(self._begin, live)

    def alive(self):
        """Whether requests are served; only looks, so it may be asked at any time."""
        llm = self._llm
        return llm is not None and not (self._dead or self._stopping or llm.errored)

    def stop(self):
        """Answer what is in flight, end the engine's processes and the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._guard.close()
        self._llm = None
        gc.unfreeze()
        gc.collect()

    # Called on the loop's thread.

    async def _open(self, arguments):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        known = [field.name for field in dataclasses.fields(AsyncEngineArgs)]
        if unknown := pooling_settings.unknown_arguments(arguments, known):
            raise EngineError(f"model.json: this vLLM has no engine argument {unknown}")
        wanted = AsyncEngineArgs(**arguments)
        wanted.disable_log_stats = True  # nobody reads them here
        self._llm = AsyncLLM.from_engine_args(wanted)
        supported = await self._llm.get_supported_tasks()
        self._params = _params(self._settings["pooling_task"], supported)
        await self._require_size()
        self._watcher = self._loop.create_task(self._watch())

    async def _require_size(self):
        """EngineError for a row of another size than the checkpoint's head says.

        vLLM serves a checkpoint without a part of its head where it cannot load that part.
        """
        size = self._settings["row"]
        found = (await self._row(self._probe)).shape[-1]
        if size and found != size:
            raise EngineError(
                f"it computes {found} numbers for a text, and the checkpoint's head {size}: this "
                "vLLM does not load all of the head"
            )

    async def _close(self):
        self._stopping = True
        for live in list(self._live):
            live.refuse("UNAVAILABLE", "the model is being unloaded")
        if self._llm is not None:
            self._llm.shutdown()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _begin(self, live):
        if self._dead or self._stopping:
            state = _DEAD if self._dead else "the model is being unloaded"
            live.refuse("UNAVAILABLE", state)
            return
        self._live[live] = task = self._loop.create_task(self._serve(live))
        task.add_done_callback(lambda _: self._live.pop(live))

    async def _serve(self, live):
        tasks = [self._loop.create_task(self._row(one)) for one in live.tokens]
        try:
            rows = await asyncio.gather(*tasks)
            live.answer(rows)
        except Exception as error:
            self._fail(live, error)
        finally:
            for task in tasks:
                task.cancel()

    async def _row(self, tokens):
        """The numbers of one text; its request is aborted when this task is cancelled."""
        if not tokens.ids:
            raise ValueError("a text has no tokens: send one that is not empty")
        params = self._params.clone()
        if self._settings["types"] and 1 in tokens.type_ids:
            # vLLM's own way to say where the second text begins.
            params.extra_kwargs = {"compressed_token_type_ids": list(tokens.type_ids).index(1)}
        name = f"triton-{next(self._numbers)}"
        found = None
        async for output in self._llm.encode({"prompt_token_ids": list(tokens.ids)}, params, name):
            found = output
        return self._finished(np.atleast_1d(found.outputs.data.float().numpy()), tokens.skip)

    def _finished(self, row, skip):
        """What the checkpoint's head makes of vLLM's numbers for a text or its tokens."""
        modes = self._settings["pooling"]
        if modes:
            kept = (np.arange(len(row)) >= skip).astype(np.int64)
            row = pooled(row[None], kept[None], modes)[0]
        return unit(np.atleast_2d(row)).reshape(row.shape) if self._settings["normalized"] else row

    def _fail(self, live, error):
        """Answer ``error`` with the code a client can act on; no traceback, no text."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "EngineDeadError" in kinds or self._llm.errored:
            live.refuse("UNAVAILABLE", _DEAD)
        elif kinds & {"VLLMClientError", "ValueError", "TypeError"}:
            live.refuse("INVALID_ARG", str(error) or type(error).__name__)
        else:
            lines = "".join(traceback.format_exception(error))
            self._log.log_error(f"[vllm-pooling] a request failed: {lines}")
            live.refuse("INTERNAL", reason(error))

    async def _watch(self):
        """Look for clients that left, and for an engine that died."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._llm.errored and not self._dead:
                self._dead = True
                self._log.log_error("[vllm-pooling] the engine died; requests get UNAVAILABLE")
            for live, task in list(self._live.items()):
                if self._dead:
                    live.refuse("UNAVAILABLE", _DEAD)
                    task.cancel()  # it may wait for what will not come
                elif self._left(live):
                    live.refuse("CANCELLED", "the request was cancelled")
                    task.cancel()

    def _left(self, live):
        try:
            return not live.closed and live.cancelled()
        except Exception as error:
            self._log.log_warn(f"[vllm-pooling] cannot tell whether a client is there: {error}")
            return False


def _params(task, supported):
    """PoolingParams that ask for raw numbers; EngineError where the model has no such task."""
    from vllm.pooling_params import PoolingParams

    older = {"token_embed": "encode", "token_classify": "encode"}  # their name up to vLLM 0.11.0
    named = task if task in supported else older.get(task, task)
    if named not in supported:
        able = ", ".join(supported)
        raise EngineError(f"it does not serve this checkpoint for {task!r}, but for: {able}")
    takes = PoolingParams(task=named).valid_parameters[named]
    raw = next((name for name in _RAW if name in takes), None)
    return PoolingParams(task=named, **({raw: False} if raw else {}))


def reason(error):
    """The message of ``error`` on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
