"""A test collection: documents, queries, and which document is relevant to which query.

Read from a directory in the layout of the BEIR benchmark: ``corpus.jsonl`` (``_id``, ``title``,
``text``), ``queries.jsonl`` (``_id``, ``text``), ``qrels/SPLIT.tsv`` (query-id, corpus-id, score).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trtbuild.errors import UsageError

_LAYOUT = "a set is a directory with corpus.jsonl, queries.jsonl and qrels/test.tsv, as BEIR's"
_SHOWN = 3

Judgements = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Collection:
    """A test collection. Documents are sorted by id: what ranks equal keeps that order.

    Attributes:
        name: Of its directory.
        documents: Texts by id, the title before the text.
        queries: Those with at least one relevant document.
        judgements: Grades of documents by query; above 0 is relevant.
        without_relevant: Queries that were left out because no document is relevant.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Judgements
    without_relevant: int = 0

    @property
    def digest(self) -> str:
        """Of its whole content: results of two contents are not compared."""
        content = json.dumps([self.documents, self.queries, self.judgements], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def kept(self, query: str, documents: list[str], depth: int) -> list[str]:
        """The first ``depth`` of a ranking, without a document that is the query itself: some
        sets (ArguAna, Quora) take their queries from the corpus, under the same id."""
        own = self.documents.get(query) == self.queries[query]
        return [one for one in documents if not (own and one == query)][:depth]


def read_collection(directory: Path, split: str = "") -> Collection:
    """The collection in ``directory``; ``split`` names the file of judgements, by default
    ``test`` or the only one.

    Raises:
        UsageError: A file is missing or damaged, is empty, or judges what does not exist.
    """
    documents = dict(sorted(_texts(directory / "corpus.jsonl")))
    queries = dict(_texts(directory / "queries.jsonl"))
    path = _qrels(directory, split)
    judgements = read_judgements(path)
    _require_known(path, "query", judgements, queries)
    _require_known(path, "document", {one for row in judgements.values() for one in row}, documents)
    judged = {query: row for query, row in judgements.items() if max(row.values()) > 0}
    if not judged:
        raise UsageError(
            "there is nothing to evaluate: no query has a relevant document",
            where=str(path),
            fix="a relevant document has a score above 0 in the third column",
        )
    asked = {query: queries[query] for query in judged}
    name = directory.resolve().name
    return Collection(name, documents, asked, judged, len(judgements) - len(judged))


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Grades of documents by query, from lines of query, document and grade.

    Raises:
        UsageError: The file is missing or damaged.
    """
    found: dict[str, dict[str, int]] = {}
    for query, document, grade in _judgements(path):
        found.setdefault(query, {})[document] = grade
    return found


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of a JSON Lines file."""
    seen: set[str] = set()
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            key, text, title = str(row["_id"]), row["text"], row.get("title") or ""
            found = f"{title} {text}".strip() if text else title
            found.encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, number, f"no object with _id and text: {error!r}") from None
        if key in seen:
            raise _damaged(path, number, f"the id {key!r} is there twice")
        seen.add(key)
        yield key, found
    if not seen:
        raise UsageError(f"{path.name} is empty", where=str(path), fix=_LAYOUT)


def _qrels(directory: Path, split: str) -> Path:
    folder = directory / "qrels"
    splits = sorted(path.stem for path in folder.glob("*.tsv"))
    name = split or (splits[0] if len(splits) == 1 else "test")
    if name not in splits:
        raise UsageError(
            f"there are no judgements {name!r}: {folder / f'{name}.tsv'} does not exist",
            where=f"splits there: {', '.join(splits)}" if splits else str(directory),
            fix="name one of them with --split" if splits else _LAYOUT,
        )
    return folder / f"{name}.tsv"


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in _lines(path):
        query, document, grade = (*line.rstrip("\r\n").split("\t"), "", "")[:3]
        try:
            yield query, document, int(grade)
        except ValueError:
            if number > 1:  # the first line may name the columns
                raise _damaged(path, number, "not query-id, corpus-id, score by tabs") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from ((n, line) for n, line in enumerate(stream, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", fix=_LAYOUT) from None


def _damaged(path: Path, number: int, why: str) -> UsageError:
    return UsageError(f"line {number} is damaged: {why}", where=f"{path}:{number}", fix=_LAYOUT)


def _require_known(
    path: Path, kind: str, used: set[str] | Mapping[str, object], known: Mapping[str, str]
) -> None:
    missing = sorted(set(used) - set(known))
    if missing:
        more = ", …" if len(missing) > _SHOWN else ""
        raise UsageError(
            f"{len(missing)} {kind} ids do not exist: {', '.join(missing[:_SHOWN])}{more}",
            where=str(path),
            fix="take files of the same set, or remove these lines",
        )
