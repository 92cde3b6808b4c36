"""Embeddings by the tensors of Triton's OpenAI frontend: it asks the model beside it.

Written by trtbuild. The frontend sends a JSON object as text in ``embedding_request`` and expects
the vector as JSON text; see docs/adr/0190 of trtbuild.
"""

import asyncio
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class Refused(Exception):  # noqa: N818 - what happened
    """A request that cannot be answered; the text is for its sender."""


class TritonPythonModel:
    """What the Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Complete nothing: config.pbtxt has every tensor."""
        return auto_complete_model_config

    def initialize(self, args):
        """Read which model answers."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._model = parameters["embedding_model"]["string_value"]

    async def execute(self, requests):
        """Answer all requests; the model beside this one batches them."""
        return await asyncio.gather(*map(self._answer, requests))

    async def _answer(self, request):
        try:
            text, parameters = _read(request)
            inner = pb_utils.InferenceRequest(
                model_name=self._model,
                requested_output_names=["embeddings", "token_count"],
                inputs=[pb_utils.Tensor("text", np.array([[text.encode()]], dtype=np.object_))],
                parameters=parameters,
                preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
            )
            response = await inner.async_exec()
            if response.has_error():
                raise Refused(response.error().message())
            return _answered(response)
        except Refused as error:
            # The stub adds its own names to pb_utils after this module was imported.
            errors = pb_utils.TritonError
            return pb_utils.InferenceResponse(error=errors(str(error), errors.INVALID_ARG))


def _read(request):
    """The text, and the request parameters of the model beside this one."""
    tensor = pb_utils.get_input_tensor_by_name(request, "embedding_request")
    try:
        said = json.loads(tensor.as_numpy().reshape(-1)[0])
        text, pooling = said["input"], said.get("pooling_params") or {}
        dimensions = pooling.get("dimensions")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Refused('embedding_request is not a JSON object such as {"input": "text"}') from None
    if not isinstance(text, str):
        raise Refused("input must be one text: lists and token ids are not taken")
    if isinstance(dimensions, list):  # as the frontend sends it
        dimensions = dimensions[0] if dimensions else None
    return text, {} if dimensions is None else {"dimensions": dimensions}


def _answered(response):
    vector = pb_utils.get_output_tensor_by_name(response, "embeddings").as_numpy().reshape(-1)
    count = pb_utils.get_output_tensor_by_name(response, "token_count").as_numpy().reshape(-1)
    text = f"[{', '.join(f'{number:.9g}' for number in vector.tolist())}]"
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_)),
            pb_utils.Tensor("num_input_tokens", count[:1].astype(np.uint32)),
            pb_utils.Tensor("num_output_tokens", np.zeros(1, dtype=np.uint32)),
        ]
    )
