"""``trtbuild eval``: rank with every target, measure, compare, and judge by the gates."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trtbuild import __version__
from trtbuild.client import AsyncLLMClient, find_server
from trtbuild.errors import BuildError, ServerError, UsageError
from trtbuild.evaluation import asking, measures, ranking
from trtbuild.evaluation.collection import Collection, read_collection
from trtbuild.evaluation.options import EvalOptions
from trtbuild.evaluation.result import (
    FORMAT,
    Json,
    compare,
    gates,
    read_reference,
    target_result,
)
from trtbuild.evaluation.targets import Target, parse_targets
from trtbuild.files import atomic_write
from trtbuild.pipeline.asking import described
from trtbuild.pipeline.condition import explained_death
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import data_file
from trtbuild.signature import ServedTask
from trtbuild.wire.blocking import run


def evaluate(options: EvalOptions, progress: Progress = SILENT) -> Json:
    """The result of all targets.

    Raises:
        UsageError: An option, a file or a target that cannot be.
        ServerError: A model that does not answer, or not with usable numbers.
    """
    targets = [_addressed(one, options) for one in parse_targets(options.targets)]
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
    """The whole result, or the file that was there.

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


def _addressed(target: Target, options: EvalOptions) -> Target:
    """A model that is only named, at ``--url`` or where it is served."""
    if target.kind != "model" or target.place:
        return target
    protocol: Any = options.protocol
    server = None if options.url else find_server(target.model)
    default = f"127.0.0.1:{8001 if protocol == 'grpc' else 8000}"
    url = options.url or (server.url(protocol) if server else default)
    return replace(target, place=url, protocol=protocol)


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
    """One evaluation. The candidates of rerankers are found once."""

    collection: Collection
    options: EvalOptions
    progress: Progress

    @cached_property
    def candidates(self) -> Mapping[str, list[str]]:
        """What rerankers sort."""
        if self.options.candidates:
            path, depth = self.options.candidates, self.options.depth
            return ranking.by_run(self.collection, path, depth)
        return ranking.by_bm25(self.collection, self.options.depth)

    def evaluated(self, target: Target, names: list[str]) -> Json:
        """The result of one target."""
        start = time.perf_counter()
        rankings, facts = self._ranked(target)
        facts["seconds"] = round(time.perf_counter() - start, 3)
        values = measures.measured(names, self.collection.judgements, rankings)
        return target_result(target.name, {"target": target.kind, **facts}, values, rankings)

    def _ranked(self, target: Target) -> tuple[Mapping[str, list[str]], Json]:
        depth = self.options.depth
        if target.kind == "bm25":
            return ranking.by_bm25(self.collection, depth), {}
        if target.kind == "run":
            return ranking.by_run(self.collection, Path(target.place), depth), {}
        if target.kind == "vectors":
            queries, documents = asking.read_vectors(Path(target.place), self.collection)
            return self._by_vectors(queries, documents)
        try:
            return run(self._served(target))
        except ServerError as error:
            raise explained_death(error, target.model, target.place) from None

    async def _served(self, target: Target) -> tuple[Mapping[str, list[str]], Json]:
        known = (lambda _: None) if self.options.url else described
        async with AsyncLLMClient(target.place, target.protocol, known) as client:
            model = await client.served(target.model)
            asker = asking.Asker(client, model, self.options, self.progress)
            if model.task is ServedTask.RERANK:
                ranked = await asker.rerank(self.collection, self.candidates)
                source = "run" if self.options.candidates else "bm25"
                return ranked, {"task": str(model.task), "candidates": source}
            if model.task is ServedTask.EMBED:
                queries = await asker.embed(self.collection.queries.values(), "query")
                documents = await asker.embed(self.collection.documents.values(), "passage")
                own = model.head.similarity if model.head else ""
                by_vectors, facts = self._by_vectors(queries, documents, own)
                return by_vectors, {"task": str(model.task), **facts}
        raise UsageError(
            f"{target.model!r} cannot be evaluated: its task is {model.task}",
            fix="name an embedding model or a reranker: `trtbuild list` shows the tasks",
        )

    def _by_vectors(
        self, queries: Any, documents: Any, own: str = ""
    ) -> tuple[Mapping[str, list[str]], Json]:
        similarity = self.options.similarity or ("dot" if own == "dot" else "cosine")
        depth = self.options.depth
        ranked = ranking.by_vectors(
            self.collection, queries, documents, similarity=similarity, depth=depth
        )
        return ranked, {"dimensions": documents.shape[1], "similarity": similarity}
