"""A Triton Python model that hands its inputs on: what a step costs that does nothing."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend calls."""

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(f"OUT_{item.name()}", item.as_numpy())
                    for item in request.inputs()
                ]
            )
            for request in requests
        ]
