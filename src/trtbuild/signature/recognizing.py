"""Which task and which request schema a model has, by its tensors: the one place that decides.

vLLM's backend takes all sampling values as one JSON text; TensorRT-LLM's LLM API model has a
tensor for each (``sampling_param_*``); its ensemble and BLS models use shorter names.
"""

from __future__ import annotations

from collections.abc import Iterable

from trtbuild.signature.model import ServedTask

LLMAPI_PREFIX = "sampling_param_"


def recognize(
    inputs: Iterable[str], outputs: Iterable[str], *, backend: str = "", pooling: bool = False
) -> tuple[ServedTask, str]:
    """The task and the request schema of a model with these tensors.

    Args:
        inputs, outputs: Names of its tensors.
        backend: The backend, where that is known: the vLLM backend completes a configuration that
            leaves tensors out.
        pooling: The engine's arguments ask for a pooling runner.
    """
    takes, gives = set(inputs), set(outputs)
    text = "text_input" in takes and "text_output" in gives
    if backend == "vllm" or (text and "sampling_parameters" in takes):
        embeds = pooling and (not takes or "embedding_request" in takes)
        return (ServedTask.EMBED if embeds else ServedTask.GENERATE), "vllm"
    if not text:
        return ServedTask.TENSOR, ""
    if any(name.startswith(LLMAPI_PREFIX) for name in takes):
        return ServedTask.GENERATE, "llmapi"
    if "max_tokens" in takes:
        return ServedTask.GENERATE, "ensemble"
    return ServedTask.TENSOR, ""
