"""``trtbuild ab`` from files to the verdict, and what is wrong with files and options."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trtbuild.cli.app import app
from trtbuild.errors import TrtbuildError
from trtbuild.progress import SILENT
from trtbuild_experiments.options import PlanOptions, ReportOptions
from trtbuild_experiments.planning import Plan, plan
from trtbuild_experiments.reporting import Report, report


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def exposures(users: int = 400, slower: float = 0.0) -> list[dict[str, Any]]:
    """Each user has one to four requests; the treatment's take ``slower`` ms more."""
    random, rows = np.random.default_rng(0), []
    for user in range(users):
        own, variant = random.normal(100, 20), ("control", "treatment")[user % 2]
        for request in range(1 + user // 2 % 4):
            rows.append(
                {
                    "experiment": "sizes", "variant": variant, "unit": f"u{user}",
                    "id": f"{user}-{request}", "time": "2026-11-30T10:00:00Z", "finish": "stop",
                    "latency_ms": own + random.normal(0, 5) + slower * (variant == "treatment"),
                    "own": own, "error": False,
                }
            )  # fmt: skip
    return rows


def reported(*paths: str, metric: tuple[str, ...] = ("latency_ms",), **more: Any) -> Report:
    return report(ReportOptions(paths=paths, metric=metric, **more), SILENT)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Exposures with a slower treatment, and clicks on every second answer of the control."""
    rows = exposures(slower=30)
    clicks = [
        {"id": row["id"], "name": "click", "value": True}
        for at, row in enumerate(rows)
        if row["variant"] == "control" or at % 4 == 0
    ]
    clicks += [{"unit": "u1", "name": "click", "value": 0}, {"id": 7, "name": "click", "value": 1}]
    clicks += [{"unit": "nobody", "name": "click", "value": 1}]
    return write(tmp_path / "exposures.jsonl", rows), write(tmp_path / "clicks.jsonl", clicks)


def test_a_report_of_both_files(files: tuple[str, str]) -> None:
    metrics = ("latency_ms", "click/requests", "p95:latency_ms", "error", "requests/users")
    found = reported(*reversed(files), metric=metrics)
    assert found.users == {"control": 200, "treatment": 200}
    assert found.sample_ratio_p == 1
    assert found.left_out == {
        "outcomes of an unknown id": 1,
        "outcomes of users outside the experiment": 1,
    }
    latency, click, p95, error, requests = found.comparisons
    rows = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    sides = [[row["latency_ms"] for row in rows if row["variant"] == name] for name in found.users]
    assert latency.control == pytest.approx(np.mean(sides[0]))
    assert latency.treatment == pytest.approx(np.mean(sides[1]))
    assert latency.verdict == p95.verdict == "higher"
    assert latency.interval[0] > 15
    assert p95.control == np.sort(sides[0])[int(np.ceil(0.95 * len(sides[0]))) - 1]
    assert (click.control, click.verdict) == (1, "lower")
    assert (error.control, error.difference, error.verdict) == (0, 0, "no difference shown")
    assert error.relative is None
    assert (requests.control, requests.difference) == (2.5, 0)


def test_one_look_is_narrower_and_values_from_before_are_too(
    files: tuple[str, str], tmp_path: Path
) -> None:
    before = [
        {"unit": row["unit"], "name": "latency_ms", "value": row["own"]} for row in exposures()
    ]
    path = write(tmp_path / "before", [*before, {"unit": "other", "latency_ms": 3}])

    def width(**more: Any) -> float:
        low, high = reported(files[0], **more).comparisons[0].interval
        return high - low

    wide = width()
    assert width(fixed=True) < 0.75 * wide
    assert width(pre=(path,)) < 0.75 * wide
    found = reported(files[0], pre=(path,), metric=("latency_ms", "requests/users"))
    assert found.left_out == {"records from before of users outside the experiment": 1}
    assert found.comparisons[0].variance_left == pytest.approx(0.05, abs=0.05)
    assert found.comparisons[1].variance_left is None


def test_users_with_two_variants_copies_overrides_and_an_unfinished_line_are_left_out(
    tmp_path: Path,
) -> None:
    rows = exposures()
    twice = [{**rows[0], "id": "x", "variant": "treatment"}, rows[1], {**rows[2], "override": True}]
    twice[2]["id"] = "y"
    path = tmp_path / "logs" / "a.jsonl"
    path.parent.mkdir()
    write(path, [*rows, *twice])
    with path.open("a") as file:
        file.write('{"experiment": "si')
    found = reported(str(path.parent))
    assert found.users == {"control": 199, "treatment": 200}
    assert set(found.left_out) == {
        "exposures that are there twice",
        "requests whose variant was chosen by an override",
        "unfinished last lines",
        "users who had several variants",
    }


def test_the_commands_print_and_write(files: tuple[str, str], tmp_path: Path) -> None:
    args = ["ab", "report", files[0], "--metric", "latency_ms"]
    shown = CliRunner().invoke(app, args, catch_exceptions=False)
    assert "users: 200 control, 200 treatment" in shown.stdout
    assert "higher" in shown.stdout
    page = tmp_path / "page.html"
    run = CliRunner().invoke(app, [*args, "--html", str(page), "--json"], catch_exceptions=False)
    found = json.loads(run.stdout)
    assert found["comparisons"][0]["verdict"] == "higher"
    assert not found["mismatch"]
    text = page.read_text()
    assert text.count("<circle") == 1
    assert "latency_ms treatment" in text
    planned = CliRunner().invoke(app, ["ab", "plan", "--base", "0.04", "--mde", "0.1", "--json"])
    assert json.loads(planned.stdout)["fixed"]["users"] == 75350


def test_a_plan_from_records(files: tuple[str, str]) -> None:
    def planned(metric: str) -> Plan:
        return plan(PlanOptions(data=files, metric=metric, mde=0.1))

    rows = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    found = planned("requests/users")
    requests = list(Counter(row["unit"] for row in rows).values())
    assert (found.base, found.sd) == (2.5, pytest.approx(np.std(requests, ddof=1)))
    same = plan(PlanOptions(base=2.5, sd=found.sd, mde=0.1))
    assert same.fixed.users == found.fixed.users
    assert planned("click/requests").base == pytest.approx(0.75, abs=0.2)
    for metric, said in (
        ("p95:latency_ms", "no plan for the quantile"),
        ("error", "error is 0 and the same"),
        ("clicks", "nothing named"),
    ):
        with pytest.raises(TrtbuildError, match=said):
            planned(metric)


def test_a_plan_from_records_of_several_experiments(tmp_path: Path) -> None:
    rows = exposures()
    others = [{**row, "experiment": "other", "id": f"o{row['id']}"} for row in rows[:500]]
    write(tmp_path / "a.jsonl", [*others, *rows])
    args = ["ab", "plan", "--data", str(tmp_path), "--metric", "requests/users", "--mde", "0.1"]
    unnamed = CliRunner().invoke(app, args)
    assert isinstance(unnamed.exception, TrtbuildError)
    assert unnamed.exception.fix == "name one with --experiment"
    named = CliRunner().invoke(app, [*args, "--experiment", "sizes", "--json"])
    assert json.loads(named.stdout)["base"] == 2.5


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    rows = [{**row, "variant": f"[/b]<i>{row['variant']}"} for row in exposures()]
    page = tmp_path / "page.html"
    args = ["ab", "report", write(tmp_path / "a", rows), "--metric", "latency_ms"]
    args += ["--control", "[/b]<i>control", "--html", str(page)]
    shown = CliRunner().invoke(app, args, catch_exceptions=False)
    assert "200 [/b]<i>control" in shown.stdout
    assert "against [/b]<i>control" in shown.stdout
    assert "<i>" not in page.read_text()


def test_rankings_are_judged(tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    rows = exposures()
    for at, row in enumerate(rows):
        best = row["variant"] == "treatment" or at % 3
        row |= {"query": f"q{at % 2}", "ranking": ["d1", "d2"] if best else ["d2", "d1"]}
    path = write(tmp_path / "a", rows)
    qrels = tmp_path / "test.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    found = reported(path, metric=("ndcg@10", "latency_ms"), judgements=qrels)
    assert found.left_out == {"rankings of queries without judgements": len(rows) // 2}
    assert found.comparisons[0].treatment == 1
    assert 0.7 < found.comparisons[0].control < 1
    assert found.comparisons[0].verdict == "higher"
    for metric, judged, said in (
        ("latency_ms", qrels, "no metric needs them"),
        ("ndcg@10", tmp_path / "none.tsv", "none.tsv"),
        ("ndcg@10", None, "nothing named 'ndcg@10'"),
    ):
        with pytest.raises(TrtbuildError, match=said):
            reported(path, metric=(metric,), judgements=judged)
    qrels.write_text("q7\td1\t1\n")
    with pytest.raises(TrtbuildError, match="no ranking of a judged query"):
        reported(path, metric=("ndcg@10",), judgements=qrels)


def test_a_mismatch_compares_nothing(files: tuple[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    args = ["ab", "report", files[0], "--metric", "latency_ms", "--html", str(page), "--json"]
    args += ["--weight", "control=90", "--weight", "treatment=10"]
    run = CliRunner().invoke(app, args)
    assert isinstance(run.exception, TrtbuildError)
    assert run.exception.exit_code == 8
    assert "not divided by the weights" in run.exception.what
    found = json.loads(run.stdout)
    assert (found["mismatch"], found["comparisons"]) == (True, [])
    assert "nothing is compared" in page.read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"weight": ("control=0", "treatment=0")}, 2, "the weights sum to 0"),
        ({"weight": ("control=-1",)}, 2, "--weight control=-1"),
        ({"weight": ("control=x",)}, 2, "--weight control=x"),
        ({"weight": ("control=1",)}, 2, "'treatment' has users and no weight"),
        ({"control": "champion"}, 2, "no variant 'champion'"),
        ({"metric": ()}, 2, "no metric was given"),
        ({"metric": ("p95:a/b",)}, 2, "--metric p95:a/b is not a metric"),
        ({"metric": ("p0:latency_ms",)}, 2, "is not a metric"),
        ({"metric": ("clicks",)}, 8, "nothing named 'clicks' was recorded"),
        ({"metric": ("p95:requests",)}, 8, "nothing named 'requests'"),
        ({"metric": ("latency_ms/error",)}, 8, "the total of error is 0"),
        ({"experiment": "other"}, 8, "no exposure of the experiment 'other'"),
        ({"paths": ()}, 2, "no records were given"),
        ({"paths": ("nowhere",)}, 2, "nowhere has no records"),
        ({"pre": ("nowhere",)}, 2, "nowhere has no records"),
    ],
)
def test_options_that_cannot_be(
    files: tuple[str, str], options: dict[str, Any], code: int, said: str
) -> None:
    with pytest.raises(TrtbuildError, match=said) as error:
        report(
            ReportOptions(**{"paths": (files[0],), "metric": ("latency_ms",), **options}), SILENT
        )
    assert error.value.exit_code == code
    assert error.value.fix


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{x\n", "not a JSON object"),
        ("[1]\n", "not a JSON object"),
        ('{"experiment": "sizes", "variant": "control", "id": "z"}\n', "an exposure has no unit"),
        ('{"variant": "control", "unit": "z"}\n', "an exposure has no experiment"),
        ('{"experiment": "sizes", "variant": "control", "unit": ""}\n', "unit is ''"),
        ('{"experiment": "b", "variant": "control", "unit": "z"}\n', "several experiments"),
        ('{"name": "click", "value": 1}\n', "neither id nor unit"),
        ('{"name": "click", "value": "yes", "unit": "u1"}\n', "has the value 'yes'"),
        ('{"name": "click", "value": NaN, "unit": "u1"}\n', "not a finite number"),
        ('{"name": "click", "value": 1e101, "unit": "u1"}\n', "beyond 1e"),
        (
            '{"name": "\\ud800", "value": 1, "unit": "u1"}\n',
            "not a JSON object",
        ),
        ('{"experiment": "sizes", "variant": "a", "unit": "u", "ranking": []}\n', "no query"),
        ('{"unit": "u1"}\n', "neither an exposure nor an outcome"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    write(path, exposures(60))
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(TrtbuildError, match=said) as error:
        reported(str(path))
    assert error.value.exit_code == 2
    assert error.value.fix
    assert error.value.where


def test_too_few_users_and_one_variant_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a", exposures(40))
    with pytest.raises(TrtbuildError, match="control has 20 users, too few"):
        reported(path)
    alone = write(tmp_path / "b", [row for row in exposures() if row["variant"] == "control"])
    with pytest.raises(TrtbuildError, match="only one variant"):
        reported(alone)
    assert reported(alone, weight=("control=1", "treatment=1")).mismatch
    with pytest.raises(TrtbuildError, match="has no unit"):
        reported(write(tmp_path / "c", exposures()), pre=(write(tmp_path / "d", [{"x": 1}]),))
