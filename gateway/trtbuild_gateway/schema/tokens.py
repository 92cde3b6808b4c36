"""``/tokenize`` and ``/detokenize``, vLLM's form."""

from __future__ import annotations

from typing import Any

import msgspec

from trtbuild_gateway.schema.sampling import TokenId


class TokenizeRequest(msgspec.Struct, frozen=True):
    """A text or messages. Without ``model``: the only one that generates text."""

    model: str = ""
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True):
    """Token ids."""

    tokens: list[TokenId]
    model: str = ""
    skip_special_tokens: bool = False
