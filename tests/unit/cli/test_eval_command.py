"""``trtbuild eval`` without a server: targets of files, gates, exit codes, results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.retrieval import write_set
from trtbuild.resources import state_dir

DOCUMENTS = {"d1": "red apple", "d2": "green pear"}
# The reciprocal ranks of a query's only relevant document: 1 in good.run, 1/2 in bad.run.
QUERIES = {f"q{at}": "apple" for at in range(8)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_set(tmp_path / "set", DOCUMENTS, QUERIES, [(query, "d1", 1) for query in QUERIES])
    for name, order in (("good", "d1 d2"), ("bad", "d2 d1")):
        rows = [f"{q} Q0 {d} 1 {-at} x" for q in QUERIES for at, d in enumerate(order.split())]
        (tmp_path / f"{name}.run").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: str) -> tuple[int, dict[str, Any], str]:
    done = trtbuild("eval", *arguments, "--data", "set", "--json")
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.usefixtures("here")
def test_two_targets_side_by_side() -> None:
    code, found, _ = evaluate("good=run:good.run", "bad=run:bad.run", "--measure", "mrr")
    assert code == 0
    assert found["format"] == "trtbuild-eval/1"
    assert found["collection"]["queries"] == 8
    assert [one["measures"]["mrr"]["mean"] for one in found["targets"]] == [1, 0.5]
    (row,) = found["comparisons"]
    assert (row["reference"], row["target"], row["top_overlap"]) == ("good", "bad", 1)
    assert row["measures"]["mrr"] == {
        "difference": -0.5, "interval": [-0.5, -0.5], "better": 0, "worse": 8, "same": 0,
    }  # fmt: skip


@pytest.mark.usefixtures("here")
def test_a_table_for_people() -> None:
    done = trtbuild("eval", "a=run:good.run", "b=run:bad.run", "--data", "set")
    assert done.returncode == 0, done.stderr
    assert "2 documents, 8 queries, 8 judgements" in done.stdout
    assert "b against a" in done.stdout
    assert "-0.5000 (-0.5000 to -0.5000)" in done.stdout
    assert "100 % of the best ten documents are the same" in done.stdout


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("limits", "code", "why"),
    [
        (("--min", "mrr=0.5"), 0, ""),
        (("--min", "mrr=0.51"), 9, "bad: mrr is 0.5000, below 0.51"),
        (("--max-drop", "mrr=0.5"), 0, ""),
        (("--max-drop", "mrr=0.4"), 9, "bad: mrr may have dropped by more than 0.4"),
        (("--min", "mrr=1", "--max-drop", "mrr=0.4"), 9, "several limits do not hold"),
    ],
)
def test_limits_decide_the_exit_code(limits: tuple[str, ...], code: int, why: str) -> None:
    done, found, errors = evaluate("good=run:good.run", "bad=run:bad.run", *limits)
    assert done == code, errors
    assert why in errors
    assert all(one["passed"] for one in found["gates"]) == (code == 0)


def test_a_result_is_the_baseline_of_the_next(here: Path) -> None:
    assert evaluate("fp32=run:good.run", "--out", "first.json")[0] == 0
    kept = json.loads((here / "first.json").read_text())
    assert kept["targets"][0]["measures"]["mrr@10"]["queries"]["q0"] == 1
    code, found, errors = evaluate(
        "int8=run:bad.run", "--baseline", "first.json", "--max-drop", "ndcg@10=0.02"
    )
    assert code == 9, errors
    assert found["comparisons"][0]["reference"] == "fp32 (first.json)"
    assert found["comparisons"][0]["top_overlap"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda one: one.update(format="trtbuild-bench/1"), "is not the result of an evaluation"),
        (lambda one: one["targets"].clear(), "is not the result of an evaluation"),
        (
            lambda one: one["targets"][0]["measures"]["mrr@10"].update(queries=3),
            "is not the result of an",
        ),
        (lambda one: one["collection"].update(digest="0"), "measured on another set"),
        (lambda one: one["targets"][0]["measures"].pop("mrr@10"), "the baseline has no mrr@10"),
    ],
)
def test_a_baseline_that_cannot_be_compared_with(here: Path, change: Any, error: str) -> None:
    evaluate("run:good.run", "--out", "first.json")
    kept = json.loads((here / "first.json").read_text())
    change(kept)
    (here / "first.json").write_text(json.dumps(kept))
    code, _, errors = evaluate("run:good.run", "--baseline", "first.json")
    assert code == 2
    assert error in errors


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "there is nothing to evaluate"),
        (("bm25", "--max-drop", "mrr=0.1"), "--max-drop compares, and there is one target"),
        (("bm25", "--measure", "bleu"), "unknown measure 'bleu'"),
        (("bm25", "--out", "none/x.json"), "none does not exist"),
        (("bm25", "--baseline", "none.json"), "cannot read none.json"),
        (("bm25", "--split", "dev"), "no judgements 'dev'"),
        (("run:none.run",), "cannot read none.run"),
        (("vectors:none",), "cannot read none"),
        (("bm25", "--candidates", "good.run"), "--candidates is for a reranker"),
        (("bm25", "--dimensions", "2"), "--dimensions is for an embedding model"),
        (("bm25", "--similarity", "dot"), "--similarity is for an embedding model"),
    ],
)
def test_what_cannot_be_evaluated(arguments: tuple[str, ...], error: str) -> None:
    code, found, errors = evaluate(*arguments)
    assert code == 2
    assert error in errors
    assert found["fix"]


@pytest.mark.usefixtures("here")
def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    code, found, _ = evaluate("bm25")
    assert (code, found["fix"]) == (2, "pip install 'trtbuild[eval]'")


def test_the_set_of_the_program_needs_no_files(here: Path) -> None:
    lines = [{"_id": f"d{at}", "input_type": "passage", "embedding": [1, at]} for at in (1, 2)] + [
        {"_id": query, "input_type": "query", "embedding": [1, 0]} for query in QUERIES
    ]
    (here / "v.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, found, _ = evaluate("vectors:v.jsonl", "--measure", "mrr")
    assert (code, found["targets"][0]["dimensions"]) == (0, 2)
    assert found["targets"][0]["measures"]["mrr"]["mean"] == 1
    done = trtbuild("eval", "bm25", "--json")
    assert json.loads(done.stdout)["targets"][0]["measures"]["ndcg@10"]["mean"] == pytest.approx(
        0.6196, abs=0.0001
    )


@pytest.mark.usefixtures("here")
def test_a_server_that_is_not_there() -> None:
    code, found, _ = evaluate("grpc://127.0.0.1:1/m")
    assert (code, found["exit_code"]) == (7, 7)
    assert "nothing answers" in found["what"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "port"), [((), 1), (("--protocol", "http"), 2), (("--url", "127.0.0.1:3"), 3)]
)
def test_a_model_is_asked_where_it_is_served(options: tuple[str, ...], port: int) -> None:
    folder = state_dir("servers")
    folder.mkdir(parents=True)
    ports = {"http_port": 2, "grpc_port": 1, "metrics_port": 4}
    record = {"id": "s", **ports, "models": ["m"], "repo": "none", "pid": os.getpid()}
    (folder / "s.json").write_text(json.dumps(record))
    code, found, _ = evaluate("m", *options)
    assert code == 7
    assert f"127.0.0.1:{port}" in found["what"]
