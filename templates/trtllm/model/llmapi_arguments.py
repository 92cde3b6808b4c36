"""What TensorRT-LLM takes: LLM() arguments, sampling parameters, guides, adapters, chats."""

import dataclasses
import difflib

import llmapi_request

MISSING = (
    "the Python package tensorrt_llm is not here: serve in NVIDIA's "
    "tritonserver:YY.MM-trtllm-python-py3 image, or rehearse with trtbuild serve --rehearse"
)


def open_llm(arguments):
    """TensorRT-LLM's LLM() with the groups of ``arguments`` as the objects it wants."""
    try:
        from tensorrt_llm import LLM
    except ModuleNotFoundError as error:
        if error.name != "tensorrt_llm":
            raise
        raise RuntimeError(MISSING) from None
    try:
        from tensorrt_llm.llmapi.llm_utils import update_llm_args_with_extra_dict
    except ImportError:
        return LLM(**arguments)
    return LLM(**update_llm_args_with_extra_dict({}, dict(arguments)))


def reason(error):
    """The message of ``error`` on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_clients_fault(error):
    """Whether the request was wrong, not the engine."""
    # TensorRT-LLM's own RequestError by name: releases keep it in different modules.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "RequestError" in kinds or isinstance(error, (ValueError, TypeError))


def is_dead(llm):
    """Whether the engine's processes have ended; not every release looks by itself, and then a
    request to a killed worker would wait forever."""
    executor = getattr(llm, "_executor", None)
    if getattr(executor, "doing_shutdown", False):
        return True
    errors = getattr(executor, "_error_queue", None)
    if errors is not None and not errors.empty():
        return True
    return any(worker.done() for worker in getattr(executor, "mpi_futures", None) or ())


class Arguments:
    """From a parsed request to TensorRT-LLM's own objects."""

    def __init__(self, llm, adapters):
        from tensorrt_llm import SamplingParams

        self._llm = llm
        self._adapters = adapters
        self._params = SamplingParams
        self._fields = [item.name for item in dataclasses.fields(SamplingParams) if item.init]

    def of(self, request):
        """Prompt, SamplingParams and LoRARequest (or None); RequestError when they cannot be."""
        values = dict(request.sampling)
        self._require_known(values)
        if request.wanted.logprobs or request.wanted.cumulative_logprob:
            # Log probabilities are summed only when they are computed, and 0 computes none.
            values["logprobs"] = values.get("logprobs") or 1
        if request.guide is not None:
            values["guided_decoding"] = _guided(*request.guide)
        if request.messages is not None:
            values["add_special_tokens"] = False  # the chat template has put them in
        prompt = request.prompt if request.messages is None else self._chat(request.messages)
        return prompt, self._params(**values), self._adapter(request.lora_name)

    def _require_known(self, values):
        for name in values:
            if name not in self._fields:
                near = difflib.get_close_matches(name, self._fields, 1)
                hint = f", did you mean '{near[0]}'?" if near else ""
                raise llmapi_request.RequestError(
                    f"this TensorRT-LLM has no sampling parameter '{name}'{hint}"
                )

    def _chat(self, messages):
        """The text of the model's own chat template, rendered by transformers in its sandbox."""
        try:
            return self._llm.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            raise llmapi_request.RequestError(
                f"'messages' do not fit the model's chat template: {reason(error)}"
            ) from None

    def _adapter(self, name):
        if name is None:
            return None
        if name not in self._adapters:
            known = ", ".join(self._adapters) or "none"
            raise llmapi_request.RequestError(f"unknown LoRA '{name}'; this model has: {known}")
        from tensorrt_llm.executor.request import LoRARequest

        return LoRARequest(name, 1 + list(self._adapters).index(name), self._adapters[name])


def _guided(field, value):
    from tensorrt_llm.llmapi import GuidedDecodingParams

    return GuidedDecodingParams(**{field: value})
