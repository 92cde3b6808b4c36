"""vLLM's AsyncLLM. The registry's options are its engine arguments, by vLLM's names."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from trtbuild_backends.backend import (
    AbstractBackend,
    Delta,
    Embedding,
    EmbedRequest,
    GenerateRequest,
    ModelFacts,
    RequestError,
)
from trtbuild_vllm_adapter.images import pictures

_OURS = frozenset(("model", "revision", "served_model_name", "trust_remote_code"))


class VllmBackend(AbstractBackend):
    """One engine. It checks sampling parameters itself."""

    async def load(self) -> ModelFacts:
        """Start the engine, which compiles and profiles first: minutes for a large model."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        known = {one.name for one in dataclasses.fields(AsyncEngineArgs)} - _OURS
        options = self.engine_arguments()
        if unknown := sorted(options.keys() - known):
            raise ValueError(
                f"this vLLM has no engine arguments {unknown}, or they are not an option"
            )
        source = {"model": self.model.source, "revision": self.model.revision or None}
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**source, **options))
        self._numbers = itertools.count()
        tasks = await self._llm.get_supported_tasks()
        config = self._llm.model_config
        return ModelFacts(
            task="generate" if "generate" in tasks else "embed",
            context_length=int(config.max_model_len),
            images=bool(config.is_multimodal_model),
        )

    def engine_arguments(self) -> dict[str, Any]:
        """Return the engine's arguments except model and revision."""
        return dict(self.model.options)

    async def unload(self) -> None:
        """End the engine and its processes."""
        self._llm.shutdown()
        del self._llm  # it would shut down again when the interpreter ends, and complain

    async def health(self) -> None:
        """Raise if the engine has died."""
        if self._llm.errored:
            raise self._llm.dead_error

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield what the engine adds."""
        from vllm.sampling_params import RequestOutputKind

        params = self._sampling(request.sampling)
        params.output_kind = RequestOutputKind.DELTA
        prompt: dict[str, Any] = {"prompt": request.prompt}
        if request.images:
            prompt["multi_modal_data"] = {"image": pictures(request.images)}
        outputs = self._llm.generate(prompt, params, str(next(self._numbers)))
        before = True
        try:
            async for output in outputs:
                yield _delta(output, prompt=before)
                before = False
        except ValueError as error:  # how vLLM refuses a request
            raise RequestError(str(error)) from None
        finally:
            await outputs.aclose()

    def _sampling(self, given: Mapping[str, Any]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        values = dict(given)
        try:
            if guide := values.pop("structured_outputs", None):
                values["structured_outputs"] = StructuredOutputsParams(**json.loads(guide))
            if bias := values.pop("logit_bias", None):
                values["logit_bias"] = {int(token): value for token, value in bias.items()}
            return SamplingParams(**values)
        except (TypeError, ValueError) as error:
            raise RequestError(f"vLLM refuses the sampling parameters: {error}") from None

    async def embed(self, request: EmbedRequest) -> Embedding:
        """Return the pooled vector of a text."""
        from vllm import PoolingParams

        given = request.input
        prompt: Any = given if isinstance(given, str) else {"prompt_token_ids": list(given)}
        params = PoolingParams(task="embed", dimensions=request.dimensions)
        try:
            outputs = self._llm.encode(prompt, params, str(next(self._numbers)))
            last = [output async for output in outputs][-1]
        except ValueError as error:
            raise RequestError(str(error)) from None
        return Embedding(last.outputs.data.float().flatten().tolist(), len(last.prompt_token_ids))


def _delta(output: Any, *, prompt: bool) -> Delta:
    (item,) = output.outputs
    found = [] if item.logprobs is None else [json.dumps([_position(one) for one in item.logprobs])]
    if prompt and output.prompt_logprobs is not None:
        listed = [None if one is None else _position(one) for one in output.prompt_logprobs]
        found = [*(found or ["null"]), json.dumps(listed)]
    count = len(output.prompt_token_ids or ()) if prompt else None
    return Delta(item.text, item.finish_reason or "", len(item.token_ids), count, found)


def _position(tokens: Mapping[int, Any]) -> Mapping[str, Any]:
    return {
        str(token): {"logprob": one.logprob, "rank": one.rank, "decoded_token": one.decoded_token}
        for token, one in tokens.items()
    }
