"""TensorRT-LLM's LLM API model: an input ``sampling_param_X`` for each sampling value.

Source: NVIDIA/TensorRT-LLM, triton_backend/all_models/llmapi/tensorrt_llm, 1.2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.signature.dialects.base import Read, SchemaFacts
from trtbuild.signature.dialects.chunks import chunk
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import Chunk, GenerateRequest
from trtbuild.wire.tensors import Outputs
from trtbuild_dialects.generating import Generating

_PREFIX = "sampling_param_"


class LlmApi(Generating):
    """Generated text."""

    name = "llmapi"
    priority = 30
    stream_input = "streaming"

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by the prefix of its inputs."""
        prefixed = any(name.startswith(_PREFIX) for name in facts.inputs)
        return ServedTask.GENERATE if prefixed and self.takes_text(facts) else None

    def spelled(self, request: GenerateRequest) -> Mapping[str, Any]:
        """Return sampling values with the prefix."""
        return {f"{_PREFIX}{name}": value for name, value in request.sampling.given().items()}

    def may_stream(self, model: ServedModel) -> bool:
        """Whether it is decoupled: otherwise the model refuses to stream."""
        return model.decoupled is not False

    def reader(self, model: ServedModel) -> Read:
        """Return a reader. NVIDIA's model repeats the whole text in every response; ours, which
        also counts tokens, does not."""
        return chunk if model.has_output("num_output_tokens") else _Repeated()

    def client_values(self, model: ServedModel) -> Mapping[str, str]:
        """Return the input names with the prefix."""
        return {**super().client_values(model), "prefix": _PREFIX}


class _Repeated:
    """Removes from each response the text of earlier ones."""

    def __init__(self) -> None:
        self._so_far = ""

    def __call__(self, outputs: Outputs) -> Chunk:
        whole = chunk(outputs)
        repeats = self._so_far and whole.text.startswith(self._so_far)
        new = whole.text[len(self._so_far) :] if repeats else whole.text
        self._so_far += new
        return whole._replace(text=new)


dialect = LlmApi()
