"""Vectors of a served embedding model, or of a file; orders of a served reranker."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trtbuild.errors import ServerError, UsageError
from trtbuild.signature.requests import EmbedRequest, RerankRequest
from trtbuild_measure.several import several

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from trtbuild.client import AsyncLLMClient
    from trtbuild.progress import Progress
    from trtbuild.signature import ServedModel
    from trtbuild_measure.evaluation import collection as test
    from trtbuild_measure.evaluation.options import EvalOptions

_Read = TypeVar("_Read")
_AT_ONCE = 4  # requests; the client sends the parts of one together, too


@dataclass
class Asker:
    """Asks one served model about a whole collection.

    Raises:
        ServerError: From its methods: the model does not answer, or not with finite numbers, or
            with vectors of several dimensions.
    """

    client: AsyncLLMClient
    model: ServedModel
    options: EvalOptions
    progress: Progress
    dimension: int = 0

    async def embed(self, texts: Collection[str], use: str) -> NDArray[Any]:
        """A row for each text; equal texts are sent once. ``use`` is ``query`` or ``passage``."""
        import numpy as np

        options = self.options
        prompt = options.query_prompt if use == "query" else options.passage_prompt
        place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        prompted = [prompt + text for text in place]
        given = ("" if options.prompted else use, options.dimensions, self._truncate)
        requests = [
            EmbedRequest(tuple(prompted[start : start + options.batch]), *given)
            for start in range(0, len(prompted), options.batch)
        ]
        self.progress.step(f"{self.model.name}: embedding {len(place)} texts ({use})")
        rows = np.concatenate(await self._answers(requests, self._vectors))
        return rows[[place[text] for text in texts]]

    def _vectors(self, request: EmbedRequest, answer: Any) -> NDArray[Any]:
        import numpy as np

        sizes = sorted({len(vector) for vector in answer.vectors} | {self.dimension} - {0})
        if len(sizes) != 1:
            shown = " and of ".join(map(str, sizes))
            raise self._unusable(f"it answers with vectors of {shown} numbers")
        (self.dimension,) = sizes
        found = np.array(answer.vectors, dtype=np.float32)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            text = request.inputs[broken[0]]
            raise self._unusable(f"the vector of {text[:60]!r} is not finite")
        return found

    async def rerank(
        self, collection: test.Collection, candidates: Mapping[str, list[str]]
    ) -> dict[str, list[str]]:
        """The candidates of each query in the model's order."""
        asked = {name: ids for name, ids in candidates.items() if ids}
        query_prompt, prompt = self.options.query_prompt, self.options.passage_prompt
        requests = [
            RerankRequest(
                query_prompt + collection.queries[name],
                tuple(prompt + collection.documents[one] for one in ids),
                truncate=self._truncate,
            )
            for name, ids in asked.items()
        ]
        self.progress.step(f"{self.model.name}: reranking for {len(asked)} queries")
        orders = await self._answers(requests, self._order)
        return {
            name: [ids[at] for at in order]
            for (name, ids), order in zip(asked.items(), orders, strict=True)
        }

    def _order(self, request: RerankRequest, answer: Any) -> list[int]:
        if not all(math.isfinite(one.score) for one in answer.results):
            raise self._unusable(f"a score for {request.query[:60]!r} is not finite")
        return [one.index for one in answer.results]

    async def _answers(
        self, requests: Sequence[Any], read: Callable[[Any, Any], _Read]
    ) -> list[_Read]:
        """What ``read`` makes of each answer, in order; the first error ends all."""

        async def one(request: Any) -> _Read:
            timeout = self.options.timeout
            answer = await self.client.ask(self.model.name, request, timeout=timeout)
            return read(request, answer)

        return await several(requests, one, _AT_ONCE, self.progress)

    @property
    def _truncate(self) -> str:
        """As the reference implementations do: cut a long text. Request parameters come with NIM's
        tensors; another schema refuses this one."""
        known = self.model.input("text") or self.model.input("passage")
        return self.options.truncate or ("end" if known else "")

    def _unusable(self, why: str) -> ServerError:
        return ServerError(
            f"{self.model.name!r} cannot be evaluated: {why}",
            fix="`trtbuild infer` shows a single answer; check the model's precision, and that "
            "only one version of it is served",
        )


def read_vectors(path: Path, collection: test.Collection) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors of the queries and of the documents, in the collection's order, from JSON Lines with
    ``_id``, ``input_type`` (query or passage) and ``embedding``.

    Raises:
        UsageError: It cannot be read, or does not have a vector of one dimension for each text.
    """
    import numpy as np

    fix = 'write lines such as {"_id": "1", "input_type": "passage", "embedding": [0.1, 0.2]}'
    found: dict[str, dict[str, Any]] = {"query": {}, "passage": {}}
    number, dimension = 0, 0
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):  # noqa: B007 - for the error
                row = json.loads(line)
                vector = np.array(row["embedding"], dtype=np.float32)
                dimension = dimension or vector.size
                if vector.shape != (dimension,) or not np.isfinite(vector).all():
                    raise ValueError(f"the vector is not {dimension} finite numbers")
                found[row["input_type"]][str(row["_id"])] = vector
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}", fix=fix) from None
    except (ValueError, KeyError, TypeError) as error:
        where = f"{path}:{number}"
        raise UsageError(f"not a line with a vector: {error}", where=where, fix=fix) from None
    rows = []
    for use, ids in (("query", collection.queries), ("passage", collection.documents)):
        missing = [one for one in ids if one not in found[use]]
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(ids)} vectors with input_type {use} are missing, "
                f"such as that of {missing[0]!r}",
                where=str(path),
                fix="write one for each query and each document of the set",
            )
        rows.append(np.array([found[use][one] for one in ids]))
    return rows[0], rows[1]
