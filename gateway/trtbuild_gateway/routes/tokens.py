"""``/tokenize``, ``/detokenize`` and ``/tokenizer_info``, vLLM's form."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

import msgspec

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.routes.asking import parsed
from trtbuild_gateway.schema.chat import checked_messages
from trtbuild_gateway.schema.tokens import DetokenizeRequest, TokenizeRequest
from trtbuild_gateway.upstream.model import Model


async def tokenize(context: Context) -> None:
    """Return the token ids of a text or a chat."""
    request = await parsed(context, "tokenize", TokenizeRequest)
    if (request.prompt is None) == (request.messages is None):
        raise invalid("give either 'prompt' or 'messages'", "prompt")
    model = await _model(context, request.model)
    tokenizer = await model.prompter.required_tokenizer()
    await context.admit()
    text = request.prompt
    if request.messages is not None:
        prompt = await model.prompter.chat(
            checked_messages(request.messages),
            tools=request.tools,
            variables=request.chat_template_kwargs,
            answer=request.add_generation_prompt,
        )
        text = prompt.text
    found = await asyncio.to_thread(  # megabytes of text would stop every stream meanwhile
        tokenizer.encode, text or "", add_special_tokens=request.add_special_tokens
    )
    body: dict[str, Any] = {
        "count": len(found.ids),
        "max_model_len": model.served.context_length or None,
        "tokens": found.ids,
    }
    if request.return_token_strs:
        body["token_strs"] = found.tokens
    await context.exchange.respond(msgspec.json.encode(body))


async def detokenize(context: Context) -> None:
    """Return the text of token ids."""
    request = await parsed(context, "detokenize", DetokenizeRequest)
    model = await _model(context, request.model)
    tokenizer = await model.prompter.required_tokenizer()
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if wrong := next((token for token in request.tokens if token >= size), None):
        raise invalid(f"{wrong} is not a token of {model.name!r}: it has {size}", "tokens")
    await context.admit()
    text = await asyncio.to_thread(
        tokenizer.decode, request.tokens, skip_special_tokens=request.skip_special_tokens
    )
    await context.exchange.respond(msgspec.json.encode({"prompt": text}))


async def tokenizer_info(context: Context) -> None:
    """Return the model's ``tokenizer_config.json``, special tokens as their texts.

    ``?model=`` names the model.
    """
    query = parse_qs(context.exchange.scope["query_string"].decode("latin-1"))
    model = await _model(context, query.get("model", [""])[0])
    await model.prompter.required_tokenizer()
    settings = {name: _content(value) for name, value in model.prompter.settings().items()}
    await context.exchange.respond(msgspec.json.encode(settings))


def _content(value: Any) -> Any:
    """Return the text of a token that transformers saved as an object with its flags."""
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        return value["content"]
    return value


async def _model(context: Context, name: str) -> Model:
    if name:
        return await context.model(name)
    catalog = context.gateway.catalog
    if not catalog.models:
        await catalog.refresh()
    texts = {
        model.name
        for model in catalog.models.values()
        if model.served.task.makes_text and not model.adapter and context.sees(model.name)
    }
    if len(texts) != 1:
        known = ", ".join(sorted(texts)) or "none"
        raise invalid(
            f"'model' is missing, and not just one model generates text: {known}",
            "model",
            "missing_parameter",
        )
    return await context.model(texts.pop())
