"""``/v1/classify``, vLLM's form."""

from __future__ import annotations

import time

import msgspec

from trtbuild.signature import ServedTask
from trtbuild.signature.requests import ClassifyAnswer
from trtbuild.signature.requests import ClassifyRequest as Classify
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.routes.asking import asked, model_for, parsed, total
from trtbuild_gateway.schema.tasks import ClassifyRequest, truncation


async def classify(context: Context) -> None:
    """Return the label of each text, and the probability of every label."""
    request = await parsed(context, "classify", ClassifyRequest)
    inputs, how = request.inputs(), truncation(request.truncate)
    inputs = await context.call.texts.prompts(inputs)
    model = await model_for(context, request.model, ServedTask.CLASSIFY)
    await context.admit()
    wanted = Classify(tuple(inputs), truncate=how, raw_scores=request.raw_scores)
    answer = await asked(context, model, wanted, ClassifyAnswer)
    body = {
        "id": f"classify-{context.call.id}",
        "object": "list",
        "created": int(time.time()),
        "model": request.model,
        "data": [
            {
                "index": index,
                "label": one.label,
                "probs": list(one.scores.values()),
                "labels": list(one.scores),
                "num_classes": len(one.scores),
            }
            for index, one in enumerate(answer.results)
        ],
        "usage": total(context, answer.token_counts),
    }
    await context.exchange.respond(msgspec.json.encode(body))
