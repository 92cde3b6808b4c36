"""``/v1/embeddings``."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from trtbuild.signature import ServedTask
from trtbuild.signature.requests import EmbedAnswer, EmbedRequest
from trtbuild_gateway.failures import invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.prompts.pieces import text_of
from trtbuild_gateway.routes.asking import asked, model_for, parsed, total
from trtbuild_gateway.schema.tasks import EmbeddingRequest, truncation
from trtbuild_gateway.upstream.model import Model


async def embeddings(context: Context) -> None:
    """Return vectors."""
    request = await parsed(context, "embeddings", EmbeddingRequest)
    inputs = request.inputs()
    model = await model_for(context, request.model, ServedTask.EMBED)
    texts = [await _text(model, item) for item in inputs]
    if context.call.texts.checks_prompts and not all(isinstance(text, str) for text in texts):
        raise invalid("'input' must be text, since it is searched for what is masked", "input")
    texts = await context.call.texts.prompts(texts)
    await context.admit()
    wanted = EmbedRequest(
        tuple(texts),
        input_type=request.input_type,
        dimensions=request.dimensions,
        truncate=truncation(request.truncate),
    )
    answer = await asked(context, model, wanted, EmbedAnswer)
    packed = request.encoding_format == "base64"
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(vector, packed=packed)}
            for index, vector in enumerate(answer.vectors)
        ],
        "model": request.model,
        "usage": total(context, answer.token_counts),
    }
    await context.exchange.respond(msgspec.json.encode(body))


async def _text(model: Model, item: str | tuple[int, ...]) -> str | tuple[int, ...]:
    """Return an input as a text if it is one: most models take nothing else."""
    if isinstance(item, str):
        return item
    tokenizer = await model.prompter.tokenizer()
    found = None if tokenizer is None else text_of(tokenizer, item)
    return item if found is None else found


def _vector(vector: Sequence[float], *, packed: bool) -> Any:
    if not packed:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
