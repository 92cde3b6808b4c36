"""``trtbuild eval``: rank with every target, measure, compare, and apply the gates."""

from __future__ import annotations

import json
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from trtbuild import __version__
from trtbuild.client import AsyncLLMClient
from trtbuild.errors import BuildError, ServerError, UsageError
from trtbuild.files import atomic_write
from trtbuild.pipeline.asking import described
from trtbuild.pipeline.condition import explained_death
from trtbuild.progress import SILENT, Progress
from trtbuild.server_records import find_server
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.wire.blocking import run
from trtbuild_measure.evaluation import asking, measures, ranking
from trtbuild_measure.evaluation.collection import Collection, read_collection
from trtbuild_measure.evaluation.options import EvalOptions
from trtbuild_measure.evaluation.result import (
    FORMAT,
    Json,
    compare,
    gates,
    read_reference,
    target_result,
)
from trtbuild_measure.evaluation.targets import Target, parse_targets
from trtbuild_measure.resources import data_file

_Made = TypeVar("_Made")
_Ranked = tuple[Mapping[str, list[str]], Json]


def evaluate(options: EvalOptions, progress: Progress = SILENT) -> Json:
    """Return the result of all targets.

    Raises:
        UsageError: An invalid option, file or target.
        ServerError: A model does not answer, or its answer is not usable.
    """
    targets = parse_targets(options.targets, "http" if options.protocol == "http" else "grpc")
    minimum = measures.limits("--min", options.minimum)
    max_drop = measures.limits("--max-drop", options.max_drop)
    asked = [measures.measure_name(one) for one in options.measure or measures.DEFAULT]
    names = list(dict.fromkeys([*asked, *minimum, *max_drop]))
    if max_drop and options.baseline is None and len(targets) < 2:
        raise UsageError(
            "--max-drop compares, and there is one target", fix="add --baseline FILE or a target"
        )
    measures.require_library()
    collection = read_collection(options.data or data_file("retrieval"), options.split)
    earlier = options.baseline and read_reference(options.baseline, collection.digest, names)
    work = _Work(collection, options, progress)
    work.require_fitting(targets)
    found = [work.evaluated(one, names) for one in targets]
    first, *others = [earlier, *found] if earlier else found
    result: Json = {
        "format": FORMAT,
        "trtbuild": __version__,
        "collection": _described(collection),
        "targets": found,
        "comparisons": [compare(first, other) for other in others],
    }
    result["gates"] = gates(result, minimum, max_drop)
    return result


def write_result(path: Path, result: Json) -> None:
    """Write the whole result; after an error the old file stays.

    Raises:
        BuildError: It cannot be written.
    """
    try:
        atomic_write(path, json.dumps(result, ensure_ascii=False, indent=1).encode() + b"\n")
    except OSError as error:
        raise BuildError(
            f"the result could not be written: {error}",
            where=str(path),
            fix="it is on the screen; with --json it is whole on standard output",
        ) from error


def _described(collection: Collection) -> Json:
    return {
        "name": collection.name,
        "documents": len(collection.documents),
        "queries": len(collection.queries),
        "judgements": sum(map(len, collection.judgements.values())),
        "without_relevant": collection.without_relevant,
        "digest": collection.digest,
    }


@dataclass
class _Work:
    """One evaluation. The candidates for rerankers are computed once."""

    collection: Collection
    options: EvalOptions
    progress: Progress

    @cached_property
    def candidates(self) -> Mapping[str, list[str]]:
        """Return the candidates for rerankers."""
        self.progress.step("finding the candidates of each query")
        if self.options.candidates:
            path, depth = self.options.candidates, self.options.depth
            return ranking.by_run(self.collection, path, depth)
        return ranking.by_bm25(self.collection, self.options.depth)

    def require_fitting(self, targets: Sequence[Target]) -> None:
        """Check before a long run that all models answer and that every option applies.

        Raises:
            UsageError: A model with another task, or an option that no target supports.
            ServerError: A model is not there.
        """
        served = [self._asked(self._task(one), one) for one in targets if one.kind == "model"]
        tasks = {model.task for model in served}
        for model in served:
            if model.task not in (ServedTask.EMBED, ServedTask.RERANK):
                raise UsageError(
                    f"{model.name!r} cannot be evaluated: its task is {model.task}",
                    fix="name an embedding model or a reranker: `trtbuild list` shows the tasks",
                )
        compares = ServedTask.EMBED in tasks or any(one.kind == "vectors" for one in targets)
        for option, given, used in (
            ("--candidates", self.options.candidates, ServedTask.RERANK in tasks),
            ("--dimensions", self.options.dimensions, ServedTask.EMBED in tasks),
            ("--similarity", self.options.similarity, compares),
        ):
            if given and not used:
                kind = "a reranker" if option == "--candidates" else "an embedding model"
                raise UsageError(
                    f"{option} is for {kind}, and no target is one", fix=f"leave {option} out"
                )

    def evaluated(self, target: Target, names: list[str]) -> Json:
        """Return the result of one target."""
        start = time.perf_counter()
        rankings, facts = self._ranked(target)
        facts["seconds"] = round(time.perf_counter() - start, 3)
        values = measures.measured(names, self.collection.judgements, rankings)
        return target_result(target.name, {"target": target.kind, **facts}, values, rankings)

    def _ranked(self, target: Target) -> _Ranked:
        depth = self.options.depth
        if target.kind == "bm25":
            return ranking.by_bm25(self.collection, depth), {}
        if target.kind == "run":
            return ranking.by_run(self.collection, Path(target.place), depth), {}
        if target.kind == "vectors":
            queries, documents = asking.read_vectors(Path(target.place), self.collection)
            return self._by_vectors(queries, documents)
        return self._asked(self._served(target), target)

    def _asked(self, work: Coroutine[Any, Any, _Made], target: Target) -> _Made:
        try:
            return run(work)
        except ServerError as error:
            raise explained_death(error, target.model, self._client(target).url) from None

    def _client(self, target: Target) -> AsyncLLMClient:
        """Return a client of the target's server, of ``--url``, or of the local server that has
        the model, whose files say more than the server does."""
        url, protocol = target.place or self.options.url, target.protocol
        if url:
            return AsyncLLMClient(url, protocol)
        server = find_server(target.model)
        default = f"127.0.0.1:{8001 if protocol == 'grpc' else 8000}"
        url = server.url(protocol) if server else default
        if self.options.prompted:  # a request schema may add prompts by itself
            return AsyncLLMClient(url, protocol)
        return AsyncLLMClient(url, protocol, described)

    async def _task(self, target: Target) -> ServedModel:
        async with self._client(target) as client:
            return await client.served(target.model)

    async def _served(self, target: Target) -> _Ranked:
        async with self._client(target) as client:
            model = await client.served(target.model)
            asker = asking.Asker(client, model, self.options, self.progress)
            task = {"task": str(model.task)}
            if model.task is ServedTask.RERANK:
                ranked = await asker.rerank(self.collection, self.candidates)
                return ranked, {**task, "candidates": "run" if self.options.candidates else "bm25"}
            queries = await asker.embed(self.collection.queries.values(), "query")
            documents = await asker.embed(self.collection.documents.values(), "passage")
        by_vectors, facts = self._by_vectors(
            queries, documents, model.head.similarity if model.head else ""
        )
        return by_vectors, {**task, **facts}

    def _by_vectors(self, queries: Any, documents: Any, own: str = "") -> _Ranked:
        similarity = self.options.similarity or ("dot" if own == "dot" else "cosine")
        depth = self.options.depth
        ranked = ranking.by_vectors(
            self.collection, queries, documents, similarity=similarity, depth=depth
        )
        return ranked, {"dimensions": documents.shape[1], "similarity": similarity}
