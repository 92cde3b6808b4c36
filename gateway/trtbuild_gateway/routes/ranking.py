"""``/v1/rerank`` (Jina's and Cohere's form), ``/v2/rerank`` (Cohere's), ``/v1/ranking`` (NIM's) and
``/v1/score`` (vLLM's)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from trtbuild.signature import ServedTask
from trtbuild.signature.requests import (
    EmbedAnswer,
    EmbedRequest,
    RerankAnswer,
    ScoreAnswer,
)
from trtbuild.signature.requests import RerankRequest as Rerank
from trtbuild.signature.requests import ScoreRequest as Score
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.routes.asking import asked, model_for, parsed, total
from trtbuild_gateway.schema.tasks import (
    RankingRequest,
    RerankRequest,
    ScoreRequest,
    counted,
    text_of,
    truncation,
)
from trtbuild_gateway.upstream.model import Model


async def rerank(context: Context) -> None:
    """Rank documents; the answer repeats them unless ``return_documents`` is false."""
    request = await parsed(context, "rerank", RerankRequest)
    answer, documents = await _ranked(context, request)
    results = [
        {"index": one.index, "relevance_score": one.score}
        | ({"document": {"text": documents[one.index]}} if request.return_documents else {})
        for one in answer.results
    ]
    usage = total(context, answer.token_counts)
    body = {"id": f"rerank-{context.call.id}", "model": request.model, "usage": usage}
    await context.exchange.respond(msgspec.json.encode({**body, "results": results}))


async def rerank_v2(context: Context) -> None:
    """Rank documents, in the form of Cohere's second version."""
    request = await parsed(context, "rerank", RerankRequest)
    answer, _ = await _ranked(context, request)
    results = [{"index": one.index, "relevance_score": one.score} for one in answer.results]
    total(context, answer.token_counts)
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    body = {"id": context.call.id, "results": results, "meta": meta}
    await context.exchange.respond(msgspec.json.encode(body))


async def _ranked(context: Context, request: RerankRequest) -> tuple[RerankAnswer, list[str]]:
    documents = [text_of("documents", one) for one in counted("documents", request.documents)]
    query = text_of("query", request.query)
    query, documents = await context.call.texts.prompts((query, documents))
    answer = await _answer(context, request.model, query, documents, request.truncate)
    kept = answer.results[: request.top_n]
    return RerankAnswer(kept, answer.token_counts), documents


async def _answer(
    context: Context, name: str, query: str, documents: Sequence[str], truncate: str
) -> RerankAnswer:
    how = truncation(truncate)
    model = await model_for(context, name, ServedTask.RERANK, ServedTask.SCORE)
    await context.admit()
    wanted = Rerank(query, tuple(documents), truncate=how)
    return await asked(context, model, wanted, RerankAnswer)


async def ranking(context: Context) -> None:
    """Rank passages, in the form of NVIDIA's NIM."""
    request = await parsed(context, "ranking", RankingRequest)
    passages = [text_of("passages", one) for one in counted("passages", request.passages)]
    query = text_of("query", request.query)
    query, passages = await context.call.texts.prompts((query, passages))
    answer = await _answer(context, request.model, query, passages, request.truncate)
    rankings = [
        {"index": one.index, "logit": one.score if one.logit is None else one.logit}
        for one in answer.results
    ]
    body = {"rankings": rankings, "usage": total(context, answer.token_counts)}
    await context.exchange.respond(msgspec.json.encode(body))


async def score(context: Context) -> None:
    """Score pairs: by a reranker, or by the similarity of embeddings."""
    request = await parsed(context, "score", ScoreRequest)
    pairs, how = request.pairs(), truncation(request.truncate)
    pairs = await context.call.texts.prompts(pairs)
    tasks = (ServedTask.RERANK, ServedTask.SCORE, ServedTask.EMBED)
    model = await model_for(context, request.model, *tasks)
    await context.admit()
    if model.served.task is ServedTask.EMBED:
        scores, counts = await _similar(context, model, pairs, how)
    else:
        answer = await asked(context, model, Score(tuple(pairs), truncate=how), ScoreAnswer)
        scores = [one.score for one in sorted(answer.results, key=lambda one: one.index)]
        counts = answer.token_counts
    body: dict[str, Any] = {
        "id": f"score-{context.call.id}",
        "object": "list",
        "created": int(time.time()),
        "model": request.model,
        "data": [
            {"index": index, "object": "score", "score": value}
            for index, value in enumerate(scores)
        ],
        "usage": total(context, counts),
    }
    await context.exchange.respond(msgspec.json.encode(body))


async def _similar(
    context: Context, model: Model, pairs: Sequence[tuple[str, str]], truncate: str
) -> tuple[list[float], tuple[int, ...]]:
    texts = tuple(dict.fromkeys(text for pair in pairs for text in pair))
    answer = await asked(context, model, EmbedRequest(texts, truncate=truncate), EmbedAnswer)
    vectors = dict(zip(texts, answer.vectors, strict=True))
    return [_cosine(vectors[a], vectors[b]) for a, b in pairs], answer.token_counts


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    size = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / size if size else 0.0
