"""Collections, rankings, measures, comparisons and gates against figures worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.retrieval import write_set
from trtbuild.errors import UsageError
from trtbuild_measure.evaluation import measures, ranking
from trtbuild_measure.evaluation.collection import Collection, read_collection
from trtbuild_measure.evaluation.result import compare, failed, gates, target_result
from trtbuild_measure.evaluation.targets import Target, parse_targets
from trtbuild_measure.resampling import mean_interval
from trtbuild_measure.resources import data_file

DOCUMENTS = {"d1": "red apple", "d2": "green apple", "d3": "blue sky", "d4": "grey stone"}
QUERIES = {"q1": "apple", "q2": "sky"}
QRELS = [("q1", "d1", 2), ("q1", "d2", 1), ("q2", "d3", 1)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", DOCUMENTS, QUERIES, QRELS)


@pytest.fixture
def collection(directory: Path) -> Collection:
    return read_collection(directory)


def test_measures_by_hand(collection: Collection) -> None:
    rankings = {"q1": ["d4", "d1", "d2"], "q2": ["d3"]}
    names = ["ndcg@10", "ndcg@2", "mrr", "recall@2", "map", "precision@2", "success@1"]
    found = measures.measured(names, collection.judgements, rankings)
    ideal = 2 + 1 / math.log2(3)
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert found["ndcg@10"]["q1"] == pytest.approx((2 * second + third) / ideal)
    assert found["ndcg@2"]["q1"] == pytest.approx(2 * second / ideal)
    assert found["mrr"] == {"q1": 0.5, "q2": 1}
    assert found["recall@2"] == {"q1": 0.5, "q2": 1}
    assert found["map"]["q1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["precision@2"] == {"q1": 0.5, "q2": 0.5}
    assert found["success@1"] == {"q1": 0, "q2": 1}


def test_a_query_without_a_ranking_counts_as_nothing(collection: Collection) -> None:
    assert measures.measured(["mrr@10"], collection.judgements, {"q1": []})["mrr@10"] == {
        "q1": 0,
        "q2": 0,
    }
    found = measures.measured(["mrr@10"], collection.judgements, {"q2": ["d3"]})
    assert found["mrr@10"] == {"q1": 0, "q2": 1}


@pytest.mark.parametrize("text", ["", "foo@10", "recall", "ndcg@0", "ndcg@", "ndcg@10=1", "err@3"])
def test_an_unknown_measure_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown measure"):
        measures.measure_name(text)


@pytest.mark.parametrize("text", ["ndcg@10", "ndcg@10=", "ndcg@10=x", "mrr=1.5", "mrr=nan"])
def test_a_limit_lies_between_0_and_1(text: str) -> None:
    assert measures.limits("--min", ["NDCG@10=0.6", "mrr=0"]) == {"ndcg@10": 0.6, "mrr": 0}
    with pytest.raises(UsageError, match="no limit between 0 and 1"):
        measures.limits("--min", [text])


def test_vectors_rank_by_cosine_or_dot(collection: Collection) -> None:
    documents = np.array([[3, 0], [1, 1], [0, 0.5], [1, 1]], dtype=np.float32)
    queries = np.array([[1, 1], [0, 2]], dtype=np.float32)
    found = ranking.by_vectors(collection, queries, documents, depth=3)
    assert found == {"q1": ["d2", "d4", "d1"], "q2": ["d3", "d2", "d4"]}
    found = ranking.by_vectors(collection, queries, documents, similarity="dot", depth=1)
    assert found == {"q1": ["d1"], "q2": ["d2"]}


def test_bm25_by_hand(collection: Collection) -> None:
    """All documents are as long; a rare word weighs more than a common one."""
    found = ranking.by_bm25(collection)
    assert found == {"q1": ["d1", "d2", "d3", "d4"], "q2": ["d3", "d1", "d2", "d4"]}
    rare = Collection("", collection.documents, {"q": "Apple, GREEN!"}, {})
    assert ranking.by_bm25(rare, 2) == {"q": ["d2", "d1"]}


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    """Only where the texts are equal, too: ids of the two files may be the same by chance."""
    documents = {"1": "red apple", "2": "red apple tart", "3": "sky"}
    queries = {"1": "red apple", "2": "sky"}
    found = ranking.by_bm25(Collection("", documents, queries, {}), 2)
    assert found == {"1": ["2", "3"], "2": ["3", "1"]}


def test_a_run_file_is_sorted_by_its_scores(collection: Collection, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.write_text("q1 Q0 d2 1 0.5 x\nq1 Q0 d1 2 0.9 x\nother Q0 d1 1 1 x\nq1 Q0 d3 3 0.5 x\n")
    assert ranking.by_run(collection, run, 2) == {"q1": ["d1", "d2"], "q2": []}
    for text, error in (
        ("q1 Q0 d9 1 1 x\n", "'d9' that does not exist"),
        ("q1 d1 1\n", "not a line of a run"),
        ("q1 Q0 d1 1 nan x\n", "not a finite number"),
        ("other Q0 d1 1 1 x\n", "no query of the set"),
        ("", "no query of the set"),
    ):
        run.write_text(text)
        with pytest.raises(UsageError, match=error):
            ranking.by_run(collection, run)


def test_a_set_is_read_with_titles_numbers_as_ids_and_without_unjudged_queries(
    tmp_path: Path,
) -> None:
    root = write_set(tmp_path / "set", {}, {"q": "x", "r": "y", "s": "z"}, [])
    rows = [{"_id": 7, "title": "T", "text": "body"}, {"_id": "8", "text": "", "title": None}]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "qrels/test.tsv").write_text("q\t7\t1\nr\t8\t0\n")
    found = read_collection(root)
    assert (found.documents, found.queries) == ({"7": "T body", "8": ""}, {"q": "x"})
    assert found.without_relevant == 1
    before = found.digest
    (root / "qrels/test.tsv").write_text("q\t7\t2\nr\t8\t0\n")
    assert read_collection(root).digest != before


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("corpus.jsonl", None, "cannot read"),
        ("corpus.jsonl", "", "corpus.jsonl is empty"),
        ("corpus.jsonl", "{\n", "line 1 is damaged"),
        ("corpus.jsonl", '{"_id": "d1"}\n', "line 1 is damaged"),
        ("corpus.jsonl", '{"_id": "d1", "text": "\\ud800"}\n', "line 1 is damaged"),
        ("queries.jsonl", '{"_id": 1, "text": "a"}\n{"_id": "1", "text": "b"}', "'1' is there tw"),
        ("queries.jsonl", "\xff", "line 1 is damaged"),
        ("qrels/test.tsv", None, "no judgements 'test'"),
        ("qrels/test.tsv", "h\nq1\td1\tmany\n", "line 2 is damaged"),
        ("qrels/test.tsv", "q1\td9\t1\n", "1 document ids do not exist: d9"),
        ("qrels/test.tsv", "q9\td1\t1\n", "1 query ids do not exist: q9"),
        ("qrels/test.tsv", "q1\td1\t0\n", "no query has a relevant document"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "no query has a relevant document"),
    ],
)
def test_a_damaged_set_is_refused(directory: Path, file: str, text: str | None, error: str) -> None:
    path = directory / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UsageError, match=error) as caught:
        read_collection(directory)
    assert caught.value.fix


def test_the_split_is_the_only_one_test_or_the_named_one(directory: Path) -> None:
    (directory / "qrels/test.tsv").rename(directory / "qrels/dev.tsv")
    assert len(read_collection(directory).queries) == 2
    (directory / "qrels/train.tsv").write_text("q1\td1\t1\n")
    assert len(read_collection(directory, "train").queries) == 1
    with pytest.raises(UsageError, match="no judgements 'test'") as caught:
        read_collection(directory)
    assert "dev, train" in caught.value.where


def test_the_committed_set_is_whole() -> None:
    found = read_collection(data_file("retrieval"))
    assert (len(found.documents), len(found.queries), found.without_relevant) == (60, 125, 0)
    assert sum(map(len, found.judgements.values())) == 146
    assert {grade for row in found.judgements.values() for grade in row.values()} == {1, 2}
    assert len(set(found.documents.values())) == 60


def test_an_interval_of_a_mean() -> None:
    """Near Student's for many values of a normal distribution; nothing for one value."""
    values = np.random.default_rng(7).normal(1, 2, 400)
    low, high = mean_interval(values) or (0, 0)
    half = 1.966 * values.std(ddof=1) / 20
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert mean_interval(np.zeros(5)) == (0, 0)
    assert mean_interval(np.ones(1)) is None


def test_the_interval_of_few_is_as_wide_as_students() -> None:
    """2.262 is Student's quantile for ten values; a plain bootstrap is 18 % narrower."""
    random = np.random.default_rng(11)
    shares = []
    for _ in range(100):
        values = random.normal(0, 1, 10)
        low, high = mean_interval(values) or (0, 0)
        shares.append((high - low) / (2 * 2.262 * values.std(ddof=1) / math.sqrt(10)))
    assert sum(shares) / len(shares) == pytest.approx(1, abs=0.03)


def results(*rows: dict[str, float]) -> list[Any]:
    return [
        target_result(f"m{at}", {}, {"mrr": row}, {"q1": ["a", "b"], "q2": [f"c{at}", "d"]})
        for at, row in enumerate(rows)
    ]


def test_a_comparison_pairs_the_queries() -> None:
    before, after = results({"q1": 1.0, "q2": 0.25, "q3": 0.5}, {"q1": 0.5, "q2": 0.5, "q3": 0.5})
    found = compare(before, after)
    row = found["measures"]["mrr"]
    assert row["difference"] == pytest.approx(-0.25 / 3)
    assert (row["better"], row["worse"], row["same"]) == (1, 1, 1)
    assert row["interval"][0] < -0.25 / 3 < row["interval"][1]
    assert found["top_overlap"] == 0.75


def test_an_interval_ends_where_the_measure_does() -> None:
    before, after = results({"q1": 1.0, "q2": 0.9}, {"q1": 0.0, "q2": 0.1})
    assert before["measures"]["mrr"]["interval"][1] == 1
    assert after["measures"]["mrr"]["interval"][0] == 0
    assert compare(before, after)["measures"]["mrr"]["interval"][0] == -1


def test_gates_judge_the_mean_and_the_lower_end_of_the_interval() -> None:
    queries = [f"q{at}" for at in range(40)]
    before, after = results(dict.fromkeys(queries, 0.5), dict.fromkeys(queries, 0.48))
    result = {"targets": [before, after], "comparisons": [compare(before, after)]}
    result["gates"] = gates(result, {"mrr": 0.5}, {"mrr": 0.02})
    assert [one["passed"] for one in result["gates"]] == [True, False, True]
    assert list(failed(result)) == ["m1: mrr is 0.4800, below 0.5"]
    result["gates"] = gates(result, {}, {"mrr": 0.019})
    (why,) = failed(result)
    assert why.startswith("m1: mrr may have dropped by more than 0.019") and "-0.02" in why


def test_one_query_shows_no_drop_to_be_small() -> None:
    before, after = results({"q1": 0.5}, {"q1": 0.5})
    result = {"targets": [], "comparisons": [compare(before, after)]}
    result["gates"] = gates(result, {}, {"mrr": 1})
    assert not result["gates"][0]["passed"]
    assert "unknown" in next(failed(result))


def test_targets_as_they_are_written() -> None:
    assert parse_targets(("minilm", "a=grpc://h:8001/m", "triton:http://h:8000/m/", "bm25")) == [
        Target("minilm", "model", model="minilm"),
        Target("a", "model", "h:8001", "grpc", "m"),
        Target("m", "model", "h:8000", "http", "m"),
        Target("bm25", "bm25"),
    ]
    assert parse_targets(("v=vectors:/x/a=b.jsonl", "run:a/b")) == [
        Target("v", "vectors", "/x/a=b.jsonl"),
        Target("a/b", "run", "a/b"),
    ]


@pytest.mark.parametrize(
    "texts",
    [(), ("",), ("a=",), ("a/b",), ("ftp://h:1/m",), ("grpc://h/m",), ("http://h:8000",),
     ("vectors:",), ("grpc://h:x/m",), ("a", "a"), ("grpc://me:secret@h:1/m",)],
)  # fmt: skip
def test_what_is_no_target_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_targets(texts)
    assert caught.value.fix
    assert "secret" not in str(caught.value.as_dict())
