"""SGLang's engine. The registry's options are its server arguments, by SGLang's names.

Source: SGLang's pages "Offline Engine API" and "Sampling Parameters".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from trtbuild_backends.backend import (
    AbstractBackend,
    Delta,
    Embedding,
    EmbedRequest,
    GenerateRequest,
    ModelFacts,
    RequestError,
)

_NAMES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}  # theirs, by vLLM's
_SAME = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "stop", "stop_token_ids", "ignore_eos", "skip_special_tokens",
)  # fmt: skip
_GUIDES = {"json": "json_schema", "regex": "regex", "grammar": "ebnf"}
_OURS = frozenset(("model_path", "revision", "trust_remote_code"))


class SglangBackend(AbstractBackend):
    """One engine."""

    sampling: ClassVar[frozenset[str] | None] = frozenset((*_NAMES, *_SAME, "structured_outputs"))

    async def load(self) -> ModelFacts:
        """Start the engine."""
        import sglang

        options = dict(self.model.options)
        if taken := sorted(options.keys() & _OURS):
            raise ValueError(f"{', '.join(taken)} cannot be an option")
        self._engine = sglang.Engine(
            model_path=self.model.source, revision=self.model.revision or None, **options
        )
        config = self._engine.tokenizer_manager.model_config
        return ModelFacts(
            task="generate" if config.is_generation else "embed",
            context_length=int(config.context_len),
            images=bool(config.is_multimodal),
        )

    async def unload(self) -> None:
        """End the engine and its processes."""
        self._engine.shutdown()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield what each event adds: SGLang sends the whole text each time."""
        images = {"image_data": list(request.images)} if request.images else {}
        params = _sampling(request.sampling)
        text, tokens = "", 0
        try:
            events = await self._engine.async_generate(
                request.prompt, sampling_params=params, stream=True, **images
            )
            async for event in events:
                meta = event["meta_info"]
                new, text = event["text"][len(text) :], event["text"]
                count, tokens = meta["completion_tokens"] - tokens, meta["completion_tokens"]
                reason = (meta.get("finish_reason") or {}).get("type", "")
                yield Delta(new, reason, count, meta["prompt_tokens"])
        except ValueError as error:  # how SGLang refuses a request
            raise RequestError(str(error)) from None

    async def embed(self, request: EmbedRequest) -> Embedding:
        """Return the pooled vector of a text."""
        if not isinstance(request.input, str) or request.dimensions is not None:
            raise RequestError(f"{self.model.name!r} takes a text, and no number of dimensions")
        found = await self._engine.async_encode(request.input)
        return Embedding(found["embedding"], found["meta_info"]["prompt_tokens"])


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    values = {_NAMES.get(name, name): value for name, value in given.items()}
    if guide := values.pop("structured_outputs", None):
        ((kind, form),) = json.loads(guide).items()
        if kind not in _GUIDES:
            raise RequestError(f"SGLang has no guide of the kind {kind!r}")
        values[_GUIDES[kind]] = form if isinstance(form, str) else json.dumps(form)
    return values
