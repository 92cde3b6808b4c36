"""What a served model is sent for a set, and the answers that cannot be evaluated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import SILENT
from trtbuild.signature import ServedModel, ServedTask, Tensor
from trtbuild.signature.requests import EmbedAnswer, Ranked, RerankAnswer
from trtbuild_measure.evaluation.asking import Asker, read_vectors
from trtbuild_measure.evaluation.collection import Collection
from trtbuild_measure.evaluation.options import EvalOptions

NIM = (Tensor("text", "STRING"),)
COLLECTION = Collection(
    "set", {"d1": "a", "d2": "bb"}, {"q1": "x", "q2": "y"}, {"q1": {"d1": 1}, "q2": {"d2": 1}}
)


class Client:
    """Stands in for AsyncLLMClient."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def ask(self, model: str, request: Any, *, timeout: float) -> Any:
        self.asked.append(request)
        await asyncio.sleep(0)
        return self.answer(request)


def lengths(request: Any) -> EmbedAnswer:
    return EmbedAnswer(tuple((float(len(text)), 1.0) for text in request.inputs))


def asker(client: Client, inputs: tuple[Tensor, ...] = NIM, **options: Any) -> Asker:
    model = ServedModel("m", ServedTask.EMBED, "embed", inputs)
    return Asker(client, model, EvalOptions(**options), SILENT)  # type: ignore[arg-type]


def test_equal_texts_are_embedded_once_and_come_back_in_order() -> None:
    client = Client(lengths)
    texts = ["ccc", "a", "ccc", "bb", "a", "dddd"]
    rows = asyncio.run(asker(client, batch=3, dimensions=2).embed(texts, "passage"))
    assert rows[:, 0].tolist() == [3, 1, 3, 2, 1, 4]
    assert [one.inputs for one in client.asked] == [("ccc", "a", "bb"), ("dddd",)]
    (first, _) = client.asked
    assert (first.input_type, first.truncate, first.dimensions) == ("passage", "end", 2)


def test_a_prompt_of_the_callers_replaces_the_models() -> None:
    client = Client(lengths)
    one = asker(client, query_prompt="query: ", truncate="none")
    rows = asyncio.run(one.embed(["a"], "query"))
    asyncio.run(one.embed(["a"], "passage"))
    assert rows[0, 0] == len("query: a")
    assert [(r.inputs, r.input_type, r.truncate) for r in client.asked] == [
        (("query: a",), "", "none"),
        (("a",), "", "none"),
    ]


def test_vllms_backend_is_not_asked_to_truncate() -> None:
    client = Client(lengths)
    asyncio.run(asker(client, (Tensor("text_input", "STRING"),)).embed(["a"], "query"))
    assert client.asked[0].truncate == ""


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        ({"a": (1.0, 2.0), "b": (1.0, 2.0, 3.0)}, "vectors of 2 and of 3 numbers"),
        ({"a": (1.0,), "b": (float("nan"),)}, "the vector of 'b' is not finite"),
        ({"a": (1.0,), "b": (float("inf"),)}, "the vector of 'b' is not finite"),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_vectors_that_cannot_be_compared(vectors: Any, error: str, batch: int) -> None:
    client = Client(lambda request: EmbedAnswer(tuple(vectors[text] for text in request.inputs)))
    with pytest.raises(ServerError, match=error):
        asyncio.run(asker(client, batch=batch).embed(["a", "b"], "query"))


def test_queries_and_documents_have_vectors_of_one_dimension() -> None:
    client = Client(lambda request: EmbedAnswer(((1.0,) * len(request.inputs[0]),)))
    one = asker(client)
    asyncio.run(one.embed(["aa"], "query"))
    with pytest.raises(ServerError, match="vectors of 2 and of 3 numbers"):
        asyncio.run(one.embed(["aaa"], "passage"))


def test_the_first_error_ends_the_requests() -> None:
    def refuse(request: Any) -> Any:
        raise ServerError("refused")

    client = Client(refuse)
    with pytest.raises(ServerError, match="refused"):
        asyncio.run(asker(client, batch=1).embed([str(at) for at in range(50)], "query"))
    assert len(client.asked) < 10


def test_a_reranker_sorts_the_candidates_of_each_query() -> None:
    def shortest(request: Any) -> RerankAnswer:
        order = sorted(range(len(request.documents)), key=lambda at: len(request.documents[at]))
        return RerankAnswer(tuple(Ranked(at, -len(request.documents[at])) for at in order))

    client = Client(shortest)
    candidates = {"q1": ["d2", "d1"], "q2": []}
    assert asyncio.run(asker(client).rerank(COLLECTION, candidates)) == {"q1": ["d1", "d2"]}
    (request,) = client.asked
    assert (request.query, request.documents) == ("x", ("bb", "a"))


def test_scores_that_cannot_be_sorted() -> None:
    client = Client(lambda request: RerankAnswer((Ranked(0, float("nan")),)))
    with pytest.raises(ServerError, match="a score for 'x' is not finite"):
        asyncio.run(asker(client).rerank(COLLECTION, {"q1": ["d1"]}))


def vectors(path: Path, *rows: tuple[Any, str, Any]) -> Path:
    lines = [json.dumps({"_id": a, "input_type": b, "embedding": c}) for a, b, c in rows]
    path.write_text("\n".join(lines))
    return path


GOOD = (("q1", "query", [1, 0]), ("q2", "query", [0, 1]), ("d1", "passage", [2, 1]))


def test_vectors_of_a_file_in_the_order_of_the_set(tmp_path: Path) -> None:
    path = vectors(tmp_path / "v", ("d2", "passage", [3, 4]), *GOOD, ("d9", "passage", [0, 0]))
    queries, documents = read_vectors(path, COLLECTION)
    np.testing.assert_array_equal(queries, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(documents, [[2, 1], [3, 4]])


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (("d9", "passage", [1, 0]), "1 of 2 vectors with input_type passage are missing.*'d2'"),
        (("d2", "passage", [1, 0, 0]), "the vector is not 2 finite numbers"),
        (("d2", "passage", [1, float("nan")]), "the vector is not 2 finite numbers"),
        (("d2", "document", [1, 0]), "not a line with a vector"),
        (("d2", "passage", "x"), "not a line with a vector"),
        (("d2", "passage", [[1, 0]]), "the vector is not 2 finite numbers"),
    ],
)
def test_a_damaged_file_of_vectors(tmp_path: Path, row: tuple[Any, str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        read_vectors(vectors(tmp_path / "v", *GOOD, row), COLLECTION)


def test_a_file_of_vectors_that_is_not_there_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_vectors(tmp_path / "none", COLLECTION)
    (tmp_path / "v").write_text("[]\n")
    with pytest.raises(UsageError, match="not a line with a vector") as caught:
        read_vectors(tmp_path / "v", COLLECTION)
    assert caught.value.where.endswith(":1")


@pytest.mark.parametrize("name", ["similarity", "truncate", "protocol"])
def test_unknown_choices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown --{name} 'x'"):
        EvalOptions(**{name: "x"})
