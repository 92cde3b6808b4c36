"""What vLLM takes: engine arguments, prompts, sampling parameters, adapters."""

import dataclasses
import re

import backend_images
import backend_request
import backend_settings


class AdapterError(Exception):
    """An adapter that the engine refused; the message names it and says why."""


def engine_args(arguments, model_dir, adapters=()):
    """vLLM's AsyncEngineArgs; SettingsError naming every argument this vLLM does not have."""
    import vllm
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    known = [item.name for item in dataclasses.fields(AsyncEngineArgs)]
    unknown = backend_settings.unknown_arguments(arguments, known)
    if unknown:
        raise backend_settings.SettingsError(
            f"{model_dir}/model.json: vLLM {vllm.__version__} has no engine argument {unknown}"
        )
    try:
        made = AsyncEngineArgs(**_with_room(arguments, adapters))
    except (TypeError, ValueError) as error:
        raise backend_settings.SettingsError(f"{model_dir}/model.json: {reason(error)}") from None
    if current_platform.is_cpu():
        # vLLM 0.32 measures the image encoder with gradients on (cpu_worker.py): DeepSeek-OCR's
        # takes 20 GB, for a figure that a cache of fixed size does not need.
        made.skip_mm_profiling = True
    return made


def _with_room(arguments, adapters):
    """``arguments`` with memory for every adapter, unless model.json says how many it keeps.

    vLLM keeps one and reads the others again when a request names them, in the engine's own
    step: a file that is gone by then would end the engine for everybody.
    """
    if len(adapters) < 2 or arguments.get("max_cpu_loras") is not None:
        return arguments
    count = max(len(adapters), int(arguments.get("max_loras") or 1))
    return {**arguments, "max_cpu_loras": count}


def said(error):
    """What a client is told of its mistake: pydantic's messages without where to read on."""
    text = re.sub(r"\s+For further information visit \S+", "", str(error))
    return text or type(error).__name__


def reason(error):
    """The innermost message of ``error``, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Arguments:
    """From a parsed request to vLLM's own objects.

    ``supported`` names the model's tasks, ``placeholder`` is what stands for an image in a prompt.
    """

    def __init__(self, adapters, supported, placeholder=""):
        from vllm.sampling_params import SamplingParams
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

        self._adapters = _lora_requests(adapters)
        self._supported = supported
        self._placeholder = placeholder
        self._types = backend_request.sampling_types(SamplingParams)
        self._encoder, self._decoder = MsgpackEncoder(), MsgpackDecoder(SamplingParams)

    async def load_adapters(self, llm):
        """Load every adapter now; AdapterError for the first that the engine refuses.

        vLLM itself reads an adapter when the first request names it, and one that it cannot use
        ends the engine.
        """
        for name, adapter in self._adapters.items():
            try:
                await llm.add_lora(adapter)
            except Exception as error:
                where = f"the adapter '{name}' ({adapter.lora_path}) cannot be used"
                raise AdapterError(f"{where}: {reason(error)}") from error

    def of(self, request):
        """Prompt, parameters and adapter (or None); RequestError when they cannot be."""
        if isinstance(request, backend_request.Embed):
            self._require("embed")
            return (*_embedding(request), None)
        self._require("generate")
        from vllm.sampling_params import RequestOutputKind

        values = backend_request.typed(request.sampling, self._types)
        kind = RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY
        params = self._readable(_sampling_params(values, request.wanted, kind))
        backend_images.require_places(request.prompt, request.images, self._placeholder)
        prompt = {"prompt": request.prompt}
        if request.images:
            prompt["multi_modal_data"] = {"image": request.images}
        return prompt, params, self._adapter(request.lora_name)

    def _readable(self, params):
        """``params`` as the engine will read them; RequestError where it cannot.

        vLLM looks at the types of values, but not of what lists and objects hold. The engine's
        thread that cannot read a message ends, and no request is answered any more.
        """
        import msgspec

        try:
            return self._decoder.decode(self._encoder.encode(params))
        except (msgspec.MsgspecError, OverflowError, UnicodeError, TypeError) as error:
            said = str(error).replace("$.", "")
            raise backend_request.RequestError(f"a sampling parameter is invalid: {said}") from None

    def _require(self, task):
        if task not in self._supported:
            able = ", ".join(self._supported)
            raise backend_request.RequestError(f"this model cannot '{task}'; it can: {able}")

    def _adapter(self, name):
        if name is None:
            return None
        if name not in self._adapters:
            known = ", ".join(self._adapters) or "none, 'enable_lora' is off in model.json"
            raise backend_request.RequestError(f"unknown LoRA '{name}'; this model has: {known}")
        return self._adapters[name]


def _lora_requests(adapters):
    if not adapters:
        return {}
    from vllm.lora.request import LoRARequest

    numbered = enumerate(adapters.items(), 1)
    return {name: LoRARequest(name, number, path) for number, (name, path) in numbered}


def _sampling_params(values, wanted, kind):
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    values = dict(values)
    backend_images.require_ngram(values.get("extra_args"))
    structured = values.get("structured_outputs")
    if structured is not None:
        known = [item.name for item in dataclasses.fields(StructuredOutputsParams) if item.init]
        unknown = backend_settings.unknown_arguments(structured, known)
        if unknown:
            raise backend_request.RequestError(f"'structured_outputs' has no {unknown}")
        values["structured_outputs"] = StructuredOutputsParams(**structured)
    wanted.computed_logprobs = any(
        values.get(name) is not None for name in ("logprobs", "logprob_token_ids")
    )
    if wanted.cumulative_logprob and not wanted.computed_logprobs:
        # vLLM sums log probabilities only when it computes them.
        values["logprobs"] = 0
    # skip_clone: these parameters belong to this request alone.
    return SamplingParams(**values, output_kind=kind, skip_clone=True)


def _embedding(request):
    from vllm.pooling_params import PoolingParams

    prompt = request.prompt
    if isinstance(prompt, str):
        prompt = {"prompt": prompt}
    elif isinstance(prompt, list) and prompt and all(map(_is_token, prompt)):
        prompt = {"prompt_token_ids": prompt}
    else:
        raise backend_request.RequestError(
            "'input' of 'embedding_request' must be one text or one list of token ids"
        )
    return prompt, PoolingParams(task="embed", dimensions=_dimensions(request.pooling))


def _is_token(value):
    """Whether the engine, which knows the upper end, can take ``value`` for a token id."""
    return type(value) is int and 0 <= value < 1 << 31


def _dimensions(pooling):
    """``dimensions``, a number or a list of one, as NVIDIA's vLLM backend takes it."""
    found = pooling.get("dimensions") if isinstance(pooling, dict) else "no object"
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if found is None or (type(found) is int and 0 < found < 1 << 31):
        return found
    raise backend_request.RequestError(
        "'pooling_params' of 'embedding_request' must be {\"dimensions\": [n]}"
    )
