"""A Triton Python model that counts down, a response every 2 ms, until its client leaves."""

import queue
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """What the Python backend calls; one thread answers all requests, as an engine's loop does."""

    def initialize(self, _args):
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def execute(self, requests):
        for request in requests:
            count = pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()
            self._queue.put([request.get_response_sender(), int(count[0])])

    def finalize(self):
        self._queue.put(None)
        self._thread.join()

    def _run(self):
        live = []
        while True:
            while not (live and self._queue.empty()):
                arrived = self._queue.get()
                if arrived is None:
                    return
                live.append(arrived)
            time.sleep(0.002)
            live = [one for one in live if self._answer(one)]

    def _answer(self, one):
        """Send the next response of a request; False after its last."""
        sender, _ = one
        one[1] -= 1
        if one[1] % 4 == 0 and sender.is_cancelled():
            errors = pb_utils.TritonError
            gone = errors(message="the request was cancelled", code=errors.CANCELLED)
            sender.send(pb_utils.InferenceResponse(error=gone), _FINAL)
            return False
        left = pb_utils.Tensor("LEFT", np.array([one[1]], dtype=np.int32))
        sender.send(pb_utils.InferenceResponse([left]), 0 if one[1] > 0 else _FINAL)
        return one[1] > 0
