"""Rankings: by vectors, by BM25, and from a run file."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trtbuild_measure.evaluation.collection import Collection

_K1, _B = 0.9, 0.4  # the defaults of Anserini, with which BEIR's BM25 baseline was computed
_WORD = re.compile(r"\w+")
_SCORES_AT_ONCE = 64_000_000


def by_vectors(
    collection: Collection,
    queries: NDArray[Any],
    documents: NDArray[Any],
    *,
    similarity: str = "cosine",
    depth: int = 100,
) -> dict[str, list[str]]:
    """The documents whose vectors are most similar to each query's; rows in the collection's
    order."""
    import numpy as np

    if similarity == "cosine":
        queries, documents = (
            rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            for rows in (queries, documents)
        )
    ids, names = list(collection.documents), list(collection.queries)
    found = {}
    step = max(1, _SCORES_AT_ONCE // len(ids))
    for start in range(0, len(names), step):
        scores = queries[start : start + step] @ documents.T
        for name, row in zip(names[start : start + step], scores, strict=True):
            best = [ids[at] for at in _best(row, depth + 1)]
            found[name] = collection.kept(name, best, depth)
    return found


def by_bm25(collection: Collection, depth: int = 100) -> dict[str, list[str]]:
    """The documents that share words with each query, then others, up to ``depth``."""
    import numpy as np

    asked = {name: words(text) for name, text in collection.queries.items()}
    wanted = {word for row in asked.values() for word in row}
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lengths = np.zeros(len(collection.documents))
    for at, text in enumerate(collection.documents.values()):
        counted = Counter(words(text))
        lengths[at] = counted.total()
        for word in counted.keys() & wanted:
            postings[word].append((at, counted[word]))
    longer = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1))
    parts = {word: _bm25(np.array(rows).T, longer) for word, rows in postings.items()}
    ids, found = list(collection.documents), {}
    for name, row in asked.items():
        scores = np.zeros(len(ids))
        for places, values in (parts[word] for word in row if word in parts):
            scores[places] += values
        found[name] = collection.kept(name, [ids[at] for at in _best(scores, depth + 1)], depth)
    return found


def _bm25(posting: NDArray[Any], longer: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The documents that have a word, and what the word adds to the score of each."""
    places, counts = posting
    rarity = math.log(1 + (len(longer) - len(places) + 0.5) / (len(places) + 0.5))
    return places, rarity * counts / (counts + longer[places])


def words(text: str) -> list[str]:
    """The words that BM25 compares."""
    return _WORD.findall(text.lower())


def _best(scores: NDArray[Any], count: int) -> Sequence[int]:
    """Positions of the highest scores; equal ones in their order."""
    import numpy as np

    found = np.arange(len(scores))
    if count < len(scores):
        found = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    best: list[int] = found[np.argsort(-scores[found], kind="stable")][:count].tolist()
    return best


def by_run(collection: Collection, path: Path, depth: int = 100) -> dict[str, list[str]]:
    """The rankings of a TREC run file (query, Q0, document, rank, score, tag). Its scores decide,
    as for trec_eval. A query without lines has no documents; queries of other splits are passed
    over.

    Raises:
        UsageError: It cannot be read, names unknown documents, or none of the queries.
    """
    scored: dict[str, dict[str, float]] = {name: {} for name in collection.queries}
    for number, query, document, score in _run_lines(path):
        if document not in collection.documents:
            raise UsageError(
                f"the run ranks a document {document!r} that does not exist",
                where=f"{path}:{number}",
                fix="take a run of the same set",
            )
        if query in scored:
            scored[query][document] = score
    if not any(scored.values()):
        raise UsageError(
            "the run has no query of the set", where=str(path), fix="take a run of the same set"
        )
    return {
        name: collection.kept(name, sorted(row, key=lambda one: (-row[one], one)), depth)
        for name, row in scored.items()
    }


def _run_lines(path: Path) -> Iterator[tuple[int, str, str, float]]:
    fix = "write lines of six columns: query Q0 document rank score tag"
    number = 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                query, _, document, _, score, _ = line.split()
                value = float(score)
                if not math.isfinite(value):
                    raise ValueError(f"the score {score} is not a finite number")
                yield number, query, document, value
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: {error}", fix=fix) from None
    except ValueError as error:
        raise UsageError(
            f"not a line of a run: {error}", where=f"{path}:{number}", fix=fix
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}", fix=fix) from None
