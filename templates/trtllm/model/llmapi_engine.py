"""LLM() with an event loop of its own, and the requests that are in flight on it."""

import asyncio
import gc
import threading
import traceback

import llmapi_arguments
import llmapi_guard
import llmapi_response
import triton_python_backend_utils as pb_utils

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# A stream that sends asks at every fourth response whether its client is there; asking is a
# round trip to the server.
_CHECK_EVERY = 4
_DEAD = "the engine is dead; the server's log tells why"


class EngineError(Exception):
    """The engine did not start; the message says why."""


class Live:
    """One request, from its admission to its last response."""

    def __init__(self, request, sender):
        self.request = request
        self.result = None
        self.closed = False
        self.sent = 0
        self._sender = sender

    def send(self, response, *, last):
        """Send a response; nothing comes after the ``last``."""
        if self.closed:
            return
        self.closed = last
        self.sent += 1
        self._sender.send(response, _FINAL if last else 0)

    def refuse(self, code, message):
        """End with an error."""
        try:
            self.send(llmapi_response.failure(code, message), last=True)
        except Exception:
            pb_utils.Logger.log_warn(f"[trtllm] an answer was lost: {traceback.format_exc()}")

    def cancelled(self):
        """Whether the client is gone."""
        return self._sender.is_cancelled()


class Engine:
    """LLM() of TensorRT-LLM. ``adapters`` maps the names of LoRA adapters to directories."""

    def __init__(self, log, settings):
        self._log = log
        self._settings = settings
        self._live = {}  # what is in flight -> its task
        self._stopping = False
        self._llm = self._arguments = self._loop = self._thread = self._guard = None

    # Called from the stub's thread.

    def start(self):
        """Load the model and wait for it; EngineError when that cannot be."""
        try:
            # Never closed: it comes when this process ends, after LLM() ended its own workers.
            self._guard = llmapi_guard.Guard()
            with self._guard.noting():
                self._llm = llmapi_arguments.open_llm(self._settings.arguments)
            self._arguments = llmapi_arguments.Arguments(self._llm, self._settings.adapters)
        except Exception as error:
            self._log.log_error("[trtllm] " + "".join(traceback.format_exception(error)))
            raise EngineError(llmapi_arguments.reason(error)) from None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="trtllm-loop")
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._watch(), self._loop)
        # What exists now stays: the collector need not walk it between two tokens.
        gc.collect()
        gc.freeze()

    def submit(self, request, sender):
        """Take a parsed request; every outcome is answered through ``sender``."""
        self._loop.call_soon_threadsafe(self._begin, Live(request, sender))

    def alive(self):
        """Whether requests are served; only looks, so it may be asked at any time."""
        llm = self._llm
        return llm is not None and not self._stopping and not llmapi_arguments.is_dead(llm)

    def stop(self):
        """Answer what is in flight, end the engine's processes and the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._llm.shutdown()
        self._llm = self._arguments = None
        gc.unfreeze()
        gc.collect()

    # Called on the loop's thread.

    async def _close(self):
        self._stopping = True
        for live in list(self._live):
            self._abort(live, "UNAVAILABLE", "the model is being unloaded")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _begin(self, live):
        if live.request.cancels:
            self._cancel_named(live)
            return
        if self._stopping:
            live.refuse("UNAVAILABLE", "the model is being unloaded")
            return
        if llmapi_arguments.is_dead(self._llm):
            live.refuse("UNAVAILABLE", _DEAD)
            return
        self._live[live] = task = self._loop.create_task(self._serve(live))
        task.add_done_callback(lambda _: self._live.pop(live))

    def _cancel_named(self, asker):
        for live in [live for live in self._live if live.request.id == asker.request.id]:
            self._abort(live, "CANCELLED", "the request was stopped by its id")
        asker.refuse("CANCELLED", "the requests of this id were stopped")

    async def _serve(self, live):
        try:
            prompt, params, lora = self._arguments.of(live.request)
            prefix = live.request.prompt if live.request.echo and live.request.prompt else ""
            assembler = llmapi_response.Assembler(live.request, prefix)
            live.result = self._llm.generate_async(
                prompt, params, lora_request=lora, streaming=live.request.streaming
            )
            async for output in live.result:
                if not live.closed:
                    self._answer(live, output, assembler)
        except Exception as error:
            self._fail(live, error)

    def _answer(self, live, output, assembler):
        """Send what is new; end early at a stop string that TensorRT-LLM has not seen."""
        if output.finished and any(item.finish_reason == "cancelled" for item in output.outputs):
            live.refuse("CANCELLED", "the request was cancelled")
            return
        if not live.request.streaming and not output.finished:
            return
        response = assembler.response(output, output.finished)
        early = not output.finished and assembler.stopped(output)
        if response is None and early:
            response = assembler.response(output, last=True)
        if response is None:
            return
        live.send(response, last=output.finished or early)
        if early:
            live.result.abort()
        elif not live.closed and live.sent % _CHECK_EVERY == 0:
            self._look(live)

    def _abort(self, live, code, message):
        live.refuse(code, message)
        if live.result is not None:
            live.result.abort()

    def _fail(self, live, error):
        """Answer ``error`` with the code a client can act on; no traceback, no prompt."""
        if llmapi_arguments.is_clients_fault(error):
            live.refuse("INVALID_ARG", str(error) or type(error).__name__)
            return
        lines = "".join(traceback.format_exception(error))
        self._log.log_error(f"[trtllm] a request failed: {lines}")
        code = "UNAVAILABLE" if llmapi_arguments.is_dead(self._llm) else "INTERNAL"
        live.refuse(code, llmapi_arguments.reason(error))

    async def _watch(self):
        """Look for clients that left, and for an engine that died."""
        while True:
            await asyncio.sleep(self._settings.cancellation_seconds)
            for live in list(self._live):
                if not live.closed:
                    self._look(live)
            if self._live and llmapi_arguments.is_dead(self._llm):
                for live, task in self._live.items():
                    live.refuse("UNAVAILABLE", _DEAD)
                    task.cancel()  # it waits for what will not come

    def _look(self, live):
        try:
            gone = live.cancelled()
        except Exception as error:
            self._log.log_warn(f"[trtllm] cannot tell whether a client is there: {error}")
            return
        if gone and not live.closed:
            self._abort(live, "CANCELLED", "the request was cancelled")
