"""One small request to a model that was loaded: only an answer shows that it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trtbuild.errors import UsageError
from trtbuild.signature import ServedTask
from trtbuild.signature.requests import (
    Chunk,
    ClassifyRequest,
    EmbedRequest,
    GenerateRequest,
    RerankRequest,
    ScoreRequest,
    TaskRequest,
    TokenClassifyRequest,
)
from trtbuild.signature.sampling import Sampling
from trtbuild_gateway.answers import Choice, generate_all
from trtbuild_gateway.upstream.servers import Found

_TEXT = "Hello"
_REQUESTS: Mapping[ServedTask, Callable[[], TaskRequest]] = {
    ServedTask.EMBED: lambda: EmbedRequest((_TEXT,)),
    ServedTask.SPARSE: lambda: EmbedRequest((_TEXT,)),
    ServedTask.MULTI_VECTOR: lambda: EmbedRequest((_TEXT,)),
    ServedTask.RERANK: lambda: RerankRequest(_TEXT, (_TEXT,)),
    ServedTask.SCORE: lambda: ScoreRequest((_TEXT,)),
    ServedTask.CLASSIFY: lambda: ClassifyRequest((_TEXT,)),
    ServedTask.TOKEN_CLASSIFY: lambda: TokenClassifyRequest((_TEXT,)),
}


async def warm_up(model: Found) -> bool:
    """Ask a model for one token, or for its answer to one word.

    Returns:
        False if nothing here fits the model: one that takes no text, or only pairs of texts.

    Raises:
        WireError, TrtbuildError, ApiError: It does not answer.
    """
    if model.served.task.makes_text:
        await _generate(model)
        return True
    made = _REQUESTS.get(model.served.task)
    if made is None:
        return False
    try:
        await model.backend.ask(made())
    except UsageError:
        return False
    return True


async def _generate(model: Found) -> None:
    reports = model.served.has_output("finish_reason")
    choice = Choice(0, 1, reports_reason=reports)

    def take(_: int, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            choice.take(chunk)

    request = GenerateRequest(_TEXT, Sampling(max_tokens=1, temperature=0))
    await generate_all(model.backend, [request], {}, take)
    choice.finish_reason()  # raises unless the answer is complete
