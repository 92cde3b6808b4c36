"""A Python model for Triton that streams the pieces in its prompt; see ``published.py``."""

import base64
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            given = {t.name(): t.as_numpy().reshape(-1)[0] for t in request.inputs()}
            prompt = given["text_input"].partition(b"\n")[0]
            pieces, reason = json.loads(base64.b64decode(prompt))
            if not given.get("stream"):
                pieces = ["".join(pieces)]
            sender = request.get_response_sender()
            for at, piece in enumerate(pieces):
                ended = reason if at == len(pieces) - 1 else ""
                sender.send(
                    pb_utils.InferenceResponse(
                        [text("text_output", piece), text("finish_reason", ended)]
                    )
                )
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def text(name, value):
    return pb_utils.Tensor(name, np.array([value.encode()], dtype=np.object_))
