"""DeepSeek-OCR on vLLM, by what trtbuild's table of vision-language families says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

from trtbuild_backends.backend import Delta, GenerateRequest, ModelFacts, RequestError
from trtbuild_vllm_adapter.backend import VllmBackend


class DeepseekBackend(VllmBackend):
    """One engine. A prompt that is the name of a task becomes the family's own prompt.

    ``locate: TEXT`` is a task with a text. Any other prompt is sent as it is, after the places of
    the images.
    """

    async def load(self) -> ModelFacts:
        """Start the engine."""
        return dataclasses.replace(await super().load(), boxes=self.model.vision["boxes"])

    def engine_arguments(self) -> dict[str, Any]:
        """Return the family's arguments, and the registry's options instead of them."""
        return {**self.model.vision["engine"], **super().engine_arguments()}

    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the answer. It has boxes as ``<|ref|>label<|/ref|><|det|>[[…]]<|/det|>``."""
        sampling = {**self.model.vision["sampling"], **request.sampling}
        prompt = self._placed(self._task(request.prompt.strip()), len(request.images))
        asked = dataclasses.replace(request, prompt=prompt, sampling=sampling)
        return super().generate(asked)

    def _task(self, prompt: str) -> str:
        tasks: Mapping[str, Mapping[str, str]] = self.model.vision["tasks"]
        name, _, text = prompt.partition(":")
        task = tasks.get(name.strip())
        if task is None or "\n" in name:
            return prompt
        template, text = task["prompt"], text.strip()
        if ("{text}" in template) != bool(text):
            needs = "needs a text: write" if not text else "takes no text: write only"
            raise RequestError(
                f"the task {name!r} {needs} {name!r}" + (", ':' and it" * (not text))
            )
        return template.replace("{text}", text)

    def _placed(self, prompt: str, images: int) -> str:
        vision = self.model.vision
        if not images:
            raise RequestError(f"{self.model.name!r} reads images, and the request has none")
        if vision["marker"] in prompt:
            return prompt
        return f"{vision['placeholder'] * images}{vision['after']}{prompt}"
