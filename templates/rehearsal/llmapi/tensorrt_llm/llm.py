"""LLM(): vLLM's AsyncLLM on a thread of its own, behind TensorRT-LLM's interface."""

import asyncio
import itertools
import json
import os
import threading
from pathlib import Path

from tensorrt_llm.executor.utils import RequestError
from tensorrt_llm.result import RequestOutput
from tensorrt_llm.sampling_params import SamplingParams

# TensorRT-LLM's defaults suit a GPU: 2048 sequences would take the CPU's KV cache for nothing.
_MOST_SEQUENCES = 64
# What a rehearsal takes over, by vLLM's name; everything else is TensorRT-LLM's own matter.
_SAME = {
    "tokenizer": "tokenizer",
    "trust_remote_code": "trust_remote_code",
    "revision": "revision",
    "tokenizer_revision": "tokenizer_revision",
    "max_seq_len": "max_model_len",
    "enable_lora": "enable_lora",
}


class LLM:
    """What Triton models call; the rest of TensorRT-LLM's LLM is not here."""

    def __init__(self, model, **arguments):
        plan = rehearsal_plan(model)
        self._max_input = arguments.get("max_input_len")
        self._counter = itertools.count()
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rehearsal-loop")
        self._thread.start()
        try:
            self._vllm = self._run(_open(engine_arguments(arguments, plan)))
        except BaseException:
            self._end_loop()
            raise
        self.tokenizer = self._vllm.get_tokenizer()

    def generate_async(self, inputs, sampling_params=None, lora_request=None, streaming=False):
        """A RequestOutput at once. Called on a running event loop.

        Raises:
            RequestError: The prompt is too long, or asks for what is not rehearsed.
        """
        params = sampling_params or SamplingParams()
        theirs = params.for_vllm()
        ids = self.tokenizer.encode(inputs, add_special_tokens=params.add_special_tokens)
        if self._max_input is not None and len(ids) > self._max_input:
            raise RequestError(f"{len(ids)} tokens of prompt are above max_input_len")
        stops = {
            stop: tuple(self.tokenizer.encode(stop, add_special_tokens=False))
            for stop in params.stops
        }
        name = f"rehearsal-{next(self._counter)}"
        result = RequestOutput(name, params, stops, lambda: self._post(self._vllm.abort(name)))
        job = {"prompt": {"prompt_token_ids": ids}, "sampling_params": theirs, "request_id": name}
        job["lora_request"] = _lora(lora_request)
        self._post(self._serve(result, job, streaming))
        return result

    def shutdown(self):
        """End vLLM's processes and the thread."""
        self._run(_close(self._vllm))
        self._end_loop()

    def _post(self, coroutine):
        self._loop.call_soon_threadsafe(self._spawn, coroutine)

    def _spawn(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, result, job, streaming):
        try:
            if result.aborted():
                result.cancelled()
                return
            async for output in self._vllm.generate(**job):
                if output.finished and output.outputs[0].finish_reason == "abort":
                    result.cancelled()
                    return
                if result.take(output, streaming):
                    await self._vllm.abort(job["request_id"])
                    return
            if result.aborted():
                result.cancelled()
        except ValueError as error:
            result.fail(RequestError(str(error)))
        except Exception as error:
            result.fail(error)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_loop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def rehearsal_plan(model):
    """The file that the launcher wrote, as ``{"checkpoint": …, "engine": …}`` for this model.

    A model is known by its directory: ``<repository>/<name>/<version>/weights``.
    """
    document = json.loads(Path(os.environ["TRTBUILD_REHEARSAL"]).read_text(encoding="utf-8"))
    names = {parent.name for parent in Path(model).parents}
    own = next((row for name, row in document["models"].items() if name in names), {})
    return {"checkpoint": own.get("checkpoint") or str(model), "engine": document["engine"]}


def engine_arguments(arguments, plan):
    """vLLM's engine arguments for those of LLM()."""
    chosen = {theirs: arguments[ours] for ours, theirs in _SAME.items() if arguments.get(ours)}
    chosen["max_num_seqs"] = min(arguments.get("max_batch_size") or 2048, _MOST_SEQUENCES)
    if arguments.get("max_num_tokens"):
        chosen["max_num_batched_tokens"] = arguments["max_num_tokens"]
    if arguments.get("enable_lora"):
        lora = arguments.get("lora_config") or {}
        chosen["max_lora_rank"] = lora.get("max_lora_rank") or 64
        chosen["max_loras"] = lora.get("max_loras") or max(1, len(lora.get("lora_dir") or ()))
    return {**chosen, **plan["engine"], "model": plan["checkpoint"]}


async def _open(arguments):
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments, disable_log_stats=True))


async def _close(vllm):
    vllm.shutdown()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _lora(request):
    if request is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(request.lora_name, request.lora_int_id, request.lora_path)
