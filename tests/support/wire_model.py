"""A Python model for Triton that a client can be tried on.

``COUNT`` responses, ``WAIT_MS`` apart; each output repeats its input, ``STEP`` is the number of the
response. A request whose client left stops, and the next one's ``LEFT`` has counted it.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        self.decoupled = self.config.get("model_transaction_policy", {}).get("decoupled", False)
        self.left = 0

    def execute(self, requests):
        answers = [self.answer(request) for request in requests]
        return None if self.decoupled else answers

    def answer(self, request):
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if not self.decoupled:
            return self.response(given, 0)
        sender = request.get_response_sender()
        for step in range(int(given["COUNT"].reshape(-1)[0])):
            if request.is_cancelled():
                self.left += 1
                break
            sender.send(self.response(given, step))
            time.sleep(int(given["WAIT_MS"].reshape(-1)[0]) / 1000)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None

    def response(self, given, step):
        if "TEXT" in given and b"refuse" in given["TEXT"].reshape(-1)[0]:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("refused on purpose"))
        made = {f"{name}_OUT": given[name] for name in ("TEXT", "VECTOR") if name in given}
        made["STEP"] = np.array([step], dtype=np.int32)
        made["LEFT"] = np.array([self.left], dtype=np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor(*item) for item in made.items()])
