"""vLLM's AsyncLLM on a thread of its own, answering as the C++ backend does.

As there, the end token is not part of an answer: its response has no tokens. Stop words are.
"""

import asyncio
import itertools
import threading
import traceback

import numpy as np
import standin_guard
import triton_python_backend_utils as pb_utils

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# How often it is asked whether a client is still there.
_WATCH_SECONDS = 0.1


class EngineError(Exception):
    """The engine did not start; the message says why."""


class Request:
    """A client's request: where its answers go, and whether it still wants them.

    ``names`` are the outputs that were asked for; ``send`` takes a response and whether it is
    the last one.
    """

    def __init__(self, request_id, names, stream_key, send, is_cancelled):
        self.id = request_id
        self.names = names
        self.stream_key = stream_key
        self.send = send
        self.is_cancelled = is_cancelled
        self.cancelled = False
        self.vllm_ids = []
        self.left = 0


class Engine:
    """Serves jobs; every method but those with an underscore is called from the stub's thread."""

    def __init__(self, log):
        self._log = log
        self._counter = itertools.count()
        self._live = {}
        self._tasks = set()
        self._guard = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rehearsal-loop")

    def start(self, arguments):
        """Start vLLM and wait for it; EngineError when it cannot."""
        self._thread.start()
        try:
            self._guard = standin_guard.Guard()
            with self._guard.noting():
                self._run(self._open(arguments))
        except BaseException as error:
            self._log.log_error("".join(traceback.format_exception(error)))
            self._end_loop()
            raise EngineError(f"{type(error).__name__}: {error}") from None

    def submit(self, request, jobs):
        """Serve the rows of a request; every outcome goes through ``request.send``."""
        request.left = len(jobs) * jobs[0].sampling.get("n", 1)
        for row, job in enumerate(jobs):
            self._loop.call_soon_threadsafe(self._begin, request, job, row, len(jobs))

    def cancel(self, request_id):
        """What the input ``stop`` means: end the request of that id."""
        self._loop.call_soon_threadsafe(self._cancel_id, request_id)

    def stop(self):
        """End vLLM's processes and the thread."""
        self._run(self._close())
        self._end_loop()

    async def _open(self, arguments):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        known = AsyncEngineArgs(**arguments, disable_log_stats=True)
        self._llm = AsyncLLM.from_engine_args(known)
        self._spawn(self._watch())

    async def _close(self):
        self._llm.shutdown()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _spawn(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, request, job, row, rows):
        name = f"rehearsal-{next(self._counter)}"
        request.vllm_ids.append(name)
        self._live[name] = request
        self._spawn(self._serve(name, Answers(request, job, row, rows)))

    async def _serve(self, name, answers):
        request = answers.request
        prompt = {"prompt_token_ids": answers.job.prompt}
        try:
            if not request.cancelled:
                params = sampling_params(answers.job)
                async for output in self._llm.generate(prompt, params, name):
                    if request.cancelled or answers.take(output):
                        break
            answers.finish()
        except ValueError as error:
            answers.fail("INVALID_ARG", str(error))
        except Exception as error:
            self._log.log_error("".join(traceback.format_exception(error)))
            answers.fail("INTERNAL", f"{type(error).__name__}: {error}")
        finally:
            del self._live[name]

    async def _watch(self):
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for request in set(self._live.values()):
                if not request.cancelled and request.is_cancelled():
                    await self._cancel(request)

    async def _cancel(self, request):
        request.cancelled = True
        for name in request.vllm_ids:
            await self._llm.abort(name)

    def _cancel_id(self, request_id):
        for request in set(self._live.values()):
            if request.id == request_id:
                self._spawn(self._cancel(request))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_loop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Answers:
    """The responses of one row, from vLLM's outputs, for each returned sequence."""

    def __init__(self, request, job, row, rows):
        self.request = request
        self.job = job
        self._row = row if rows > 1 else None
        self._sequences = [_Sequence() for _ in range(job.sampling.get("n", 1))]
        self._longest = max([1, *map(len, job.stops)])

    def ended(self):
        """Whether every sequence had its last response."""
        return all(sequence.ended for sequence in self._sequences)

    def take(self, output):
        """Send what an output of vLLM brings; True when nothing more is wanted."""
        for item in output.outputs:
            self._item(self._sequences[item.index], item)
        return self.ended()

    def finish(self):
        """End what goes on still, as the C++ backend ends what was stopped: with what there is.

        An error would not do: Triton 24.10 loses one that comes late to a BLS model, which then
        waits for it forever.
        """
        for index, sequence in enumerate(self._sequences):
            if not sequence.ended:
                self._send(
                    sequence, index, [] if self.job.streaming else self._whole(sequence), True
                )

    def fail(self, code, message):
        """End the request with an error; once, whatever its rows do."""
        request = self.request
        if request.left > 0:
            request.left = 0
            error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
            request.send(pb_utils.InferenceResponse(error=error), True)

    def _item(self, sequence, item):
        if sequence.ended:
            return
        ids, finished = list(item.token_ids), item.finish_reason is not None
        at_end = bool(ids) and ids[-1] == self.job.end_id
        if at_end:
            ids.pop()
        ids, stopped = self._up_to_stop(sequence, ids)
        sequence.add(ids, item)
        if not self.job.streaming:
            if finished or stopped:
                self._send(sequence, item.index, self._whole(sequence), last=True)
            return
        # An end token comes by itself, as the step of an engine that makes it has no other.
        last = (finished and not at_end) or stopped
        if ids or last:
            self._send(sequence, item.index, ids, last)
        if at_end and not last:
            self._send(sequence, item.index, [], last=True)

    def _whole(self, sequence):
        return [*(self.job.prompt if self.job.echo_prompt else ()), *sequence.ids]

    def _up_to_stop(self, sequence, ids):
        # As there, a stop sequence may begin in the prompt.
        known = [*self.job.prompt[-self._longest :], *sequence.ids[-self._longest :]]
        tail = known[-self._longest :]
        for count, token in enumerate(ids, 1):
            tail.append(token)
            if any(tail[-len(stop) :] == stop for stop in self.job.stops):
                return ids[:count], True
        return ids, False

    def _send(self, sequence, index, ids, last):
        request, names = self.request, self.request.names
        if request.left <= 0:
            return
        sequence.ended = last
        request.left -= last
        values = {
            "output_ids": np.array([[ids]], dtype=np.int32).reshape(1, 1, len(ids)),
            "sequence_length": np.array([[len(ids)]], dtype=np.int32),
        }
        if self.job.log_probs:
            values["cum_log_probs"] = np.array([[sum(sequence.log_probs)]], dtype=np.float32)
            values["output_log_probs"] = np.array([[sequence.log_probs]], dtype=np.float32)
        if self._row is not None:
            values["batch_index"] = np.array([[self._row]], dtype=np.int32)
        if len(self._sequences) > 1:
            values["sequence_index"] = np.array([[index]], dtype=np.int32)
        if request.stream_key is not None:
            values["stream_key"] = request.stream_key[:1].reshape(1, 1)
        tensors = [pb_utils.Tensor(name, found) for name, found in values.items() if name in names]
        request.send(pb_utils.InferenceResponse(tensors), request.left == 0)


class _Sequence:
    """What one returned sequence has so far."""

    def __init__(self):
        self.ids = []
        self.log_probs = []
        self.ended = False

    def add(self, ids, item):
        self.ids += ids
        for token, found in zip(ids, item.logprobs or (), strict=False):
            self.log_probs.append(found[token].logprob)


def sampling_params(job):
    """vLLM's parameters for a job, deltas or all at the end."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    values = dict(job.sampling)
    if job.greedy:
        values = {k: v for k, v in values.items() if k not in ("top_k", "top_p")}
        values["temperature"] = 0.0
    single = [stop[0] for stop in job.stops if len(stop) == 1]
    ends = [] if job.end_id is None else [job.end_id]
    params = SamplingParams(
        **values,
        max_tokens=job.max_tokens,
        stop_token_ids=[*ends, *single],
        ignore_eos=True,  # the engine ends at end_id alone
        detokenize=False,
        logprobs=0 if job.log_probs else None,
        # Stop words of several tokens are looked for here, so tokens must come as they are made.
        output_kind=RequestOutputKind.DELTA,
    )
    if job.bads:
        params._bad_words_token_ids = job.bads
    return params
