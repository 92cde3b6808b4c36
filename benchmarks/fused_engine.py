"""Preprocessing, an engine as `fixed_engine.c` and postprocessing in one Triton Python model."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from llm_answer import Answer
from llm_detokenizer import detokenizers
from llm_request import Reader
from llm_settings import tokenizer_dir
from llm_tokenizer import LlmTokenizer

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Streams:
    """Calls every stream once in each step until it says that it has ended."""

    def __init__(self, step_us):
        self._step = step_us / 1e6
        self._live = []
        self._new = []
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def add(self, stream):
        """Take a function that makes a token and tells whether there will be more."""
        with self._wake:
            self._new.append(stream)
            self._wake.notify()

    def stop(self):
        """End the thread."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def _run(self):
        due = 0.0
        while True:
            with self._wake:
                while not (self._live or self._new or self._stopped):
                    self._wake.wait()
                if self._stopped:
                    return
                self._live += self._new
                self._new = []
            # A step that was late is not made up for: an engine cannot hurry either.
            due = max(due + self._step, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            self._live = [stream for stream in self._live if stream()]


def replies(ids, wanted):
    """The tokens to make: those of the prompt, over and over."""
    return [ids[index % len(ids)] for index in range(wanted)]


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = tokenizer_dir(config, Path(args["model_repository"]) / args["model_version"])
        self._tokenizer = LlmTokenizer(folder)
        self._make = detokenizers(self._tokenizer.raw)
        self._reader = Reader(self._tokenizer, True, None, None, None)
        self._streams = Streams(int(config["parameters"]["step_us"]["string_value"]))

    def execute(self, requests):
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            found = self._reader.read(inputs)
            self._reader.encode([found])
            row = found.rows[0]
            answer = Answer(self._make(), (), row.max_tokens, row.stop)
            tokens = replies(row.ids, row.max_tokens)
            self._streams.add(_stream(request.get_response_sender(), tokens, answer, found.stream))

    def finalize(self):
        self._streams.stop()


def _stream(sender, tokens, answer, streaming):
    waiting = iter(tokens)
    left = len(tokens)

    def step():
        nonlocal left
        left -= 1
        token = next(waiting)
        if streaming or not left:
            text = np.empty((1, 1), dtype=np.object_)
            text[0, 0] = answer.add([token] if streaming else tokens, not left).encode("utf-8")
            response = pb_utils.InferenceResponse([pb_utils.Tensor("text_output", text)])
            sender.send(response, 0 if left else FINAL)
        return left > 0

    return step
