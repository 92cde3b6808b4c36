"""``/v1/completions``: the request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.schema.sampling import SamplingFields, TokenId


class CompletionRequest(SamplingFields, frozen=True, kw_only=True):
    """The parameters that chat does not have."""

    prompt: str | list[str | TokenId | list[TokenId]]
    echo: bool = False
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    def prompts(self) -> list[str | list[int]]:
        """Return each prompt, a text or token ids; ApiError if there is none."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if not self.prompt:
            raise invalid("'prompt' is empty", "prompt")
        ids = [item for item in self.prompt if isinstance(item, int)]
        found = [item for item in self.prompt if not isinstance(item, int)]
        if ids and found:
            raise invalid("'prompt' mixes token ids with texts or lists", "prompt")
        if any(not item and isinstance(item, list) for item in found):
            raise invalid("'prompt' holds an empty list", "prompt")
        return [ids] if ids else found
