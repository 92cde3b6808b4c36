"""The report: whole, by itself, and safe with any name."""

from __future__ import annotations

import json
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from functools import cache, reduce
from itertools import pairwise
from operator import getitem
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from support.bench import tokenizer_folder
from support.checkpoints import make_llama
from support.mock_llm_server import Script, serving
from support.paths import ROOT
from trtbuild import hardware
from trtbuild.cli.app import app
from trtbuild.errors import TrtbuildError, UsageError
from trtbuild.hardware.detection import DetectedGpu
from trtbuild_measure import cost
from trtbuild_measure.bench.report import charts, pngs, render
from trtbuild_measure.bench.report.axes import log_ticks, short, ticks
from trtbuild_measure.bench.report.svg import WIDTH, Chart, Line, draw
from trtbuild_measure.bench.results import read_result
from trtbuild_measure.jobs.bench import BenchOptions, run
from trtbuild_measure.jobs.bench.cost import prices
from trtbuild_measure.resources import data_file

HOSTILE = '<script>alert("&")</script>'


@cache
def measured(folder: Path) -> dict[str, Any]:
    """Two targets, two loads; one target has a name that a page must not believe."""
    script = Script(role_ms=1, first_ms=3, gap_ms=1, pieces=(" time",) * 6, completion_tokens=6)
    with serving(script) as mock:
        url = f"openai:http://127.0.0.1:{mock.port}/v1#mock"
        options = BenchOptions(
            targets=(f"plain={url}", f"{HOSTILE.replace('/', '')}={url}"),
            concurrency="1,3",
            requests=12,
            slo="ttft=500ms",
            usd_per_hour=1.5,
            tokenizer=tokenizer_folder(folder),
        )
        found: dict[str, Any] = json.loads(json.dumps(run(options).result))
        return found


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("t"))


@pytest.mark.slow
def test_the_result_keeps_its_schema(result: dict[str, Any]) -> None:
    schema = json.loads(data_file("bench-result.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(result, schema)
    broken = json.loads(json.dumps(result))
    del broken["targets"][0]["loads"][0]["metrics"]["ttft_ms"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.slow
def test_targets_take_turns_and_are_asked_the_same(result: dict[str, Any]) -> None:
    for target in result["targets"]:
        assert [load["requests"]["ok"] for load in target["loads"]] == [12, 12]
    rows = result["comparison"]["rows"]
    assert [row["load"] for row in rows] == ["1 client", "3 clients"]
    assert rows[0]["ratios"]["e2e_ms.p50"]["ratio"] == pytest.approx(1, abs=0.5)


def test_the_page_needs_nothing_else(result: dict[str, Any]) -> None:
    page = render(result)
    assert "<script" not in page
    assert not re.search(r"(src|href)\s*=|@import|url\(", page)
    assert page.count("<svg") == page.count("</svg>") == len(charts(result)) >= 6
    assert "prefers-color-scheme:dark" in page and "width=device-width" in page
    assert "{{" not in page and "{%" not in page
    for word in ("plain", "1 client", "goodput", "a million output tokens", "How it was measured"):
        assert word in page


def test_the_charts_are_xml(result: dict[str, Any]) -> None:
    for name, text in charts(result).items():
        root = ET.fromstring(text)
        assert root.tag.endswith("svg"), name
        assert any(HOSTILE.replace("/", "") in (node.text or "") for node in root.iter()), name


def test_the_price_has_its_break_even_and_what_it_hangs_on(result: dict[str, Any]) -> None:
    """By hand: $1.50 for 730 hours, over what one request of the mix costs at the API."""
    found = result["cost"]
    row = next(one for one in found["apis"] if one["name"] == "gpt-5")
    request = row["per_thousand_requests"] / 1000
    assert row["breakeven_requests"] == pytest.approx(1.5 * 730 / request)
    best = max(
        (load for target in result["targets"] for load in target["loads"]),
        key=lambda load: load["output_tokens_per_s"],
    )
    ok, tokens = best["requests"]["ok"], best["tokens"]
    prompt, answer = round(tokens["input"] / ok), round(tokens["output"] / ok)
    assert request == pytest.approx((prompt * 1.25 + answer * 10) / 1e6)
    most = best["output_tokens_per_s"] / answer * 3600 * 730
    assert row["breakeven_share"] == pytest.approx(row["breakeven_requests"] / most)
    prices = {one["case"]: one["per_million_output"] for one in found["sensitivity"]}
    assert prices["utilization 100%"] == pytest.approx(prices["utilization 50%"] / 2)
    page = render(result)
    for part in (row["source"], "even at requests a month", "GPU price - 30 %"):
        assert part in page


def test_other_layouts_of_the_same_gpus_are_priced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]
) -> None:
    gpu = hardware.gpu("h100")
    seen = DetectedGpu(0, gpu.title, gpu.memory_bytes, gpu.sm, gpu)
    monkeypatch.setattr(hardware, "detect", lambda: (seen,))
    found = prices(result, None, make_llama(tmp_path / "m"))
    assert found is not None and found["usd_per_hour"] == cost.gpu_price("h100").usd_per_hour
    layouts = {(one["tensor"], one["pipeline"]): one for one in found["layouts"]}
    assert layouts[1, 1]["output_tokens_per_s"] < layouts[2, 1]["output_tokens_per_s"]
    assert "TP 2 PP 1" in render(result | {"cost": found})


def test_a_result_without_a_success_can_be_shown(result: dict[str, Any]) -> None:
    empty = json.loads(json.dumps(result))
    for target in empty["targets"]:
        for load in target["loads"]:
            metrics = load["metrics"]
            for name in metrics:
                metrics[name] = {} if name == "errors" else None
            load["distributions"] = {}
            load["series"]["rows"] = []
    empty["comparison"]["rows"] = []
    empty["partial"] = "the server is gone"
    assert "Partial: the server is gone" in render(empty)


def test_the_command_writes_all_or_says_why_not(tmp_path: Path, result: dict[str, Any]) -> None:
    file, html = tmp_path / "r.json", tmp_path / "r.html"
    file.write_text(json.dumps(result))

    def report(*args: object) -> Any:
        return CliRunner().invoke(app, ["bench", "report", *map(str, args)])

    done = report(file, "--html", html, "--svg", tmp_path / "a" / "svg")
    assert done.exit_code == 0 and html.is_file()
    assert len(list((tmp_path / "a" / "svg").iterdir())) == len(charts(result))
    (tmp_path / "taken").write_text("")
    for args, said in (
        ((file, "--html", "/nowhere/r.html"), "the directory /nowhere does not exist"),
        ((file, "--html", html, "--svg", tmp_path / "taken"), "cannot write"),
        ((file, "--html", html, "--svg", "/proc/none"), "cannot write /proc/none"),
    ):
        refused = report(*args)
        assert isinstance(refused.exception, UsageError), args
        assert said in refused.exception.what and refused.exception.fix


@pytest.mark.parametrize("part", ["environment", "settings", "comparison", "warnings"])
def test_a_part_of_a_result_is_no_result(tmp_path: Path, result: dict[str, Any], part: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps({key: value for key, value in result.items() if key != part}))
    refused = CliRunner().invoke(app, ["bench", "report", str(file), "--html", str(file) + ".html"])
    assert isinstance(refused.exception, UsageError)
    assert f"is incomplete: '{part}' is not there" in refused.exception.what
    assert [one.name for one in tmp_path.iterdir()] == ["r.json"]


DAMAGE: dict[tuple[str, ...], object] = {
    ("metrics", "e2e_ms", "interval"): [],
    ("metrics", "e2e_ms", "interval", "mean"): True,
    ("metrics", "e2e_ms", "mean"): 0,
    ("metrics", "ttft_ms"): 1e300,
    ("metrics", "ttft_ms", "p50"): "fast",
    ("requests",): None,
    ("requests", "ok"): "all",
    ("tokens",): [],
    ("series", "rows"): [1, 2, 3],
    ("distributions", "ttft_ms"): {"a": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("place", DAMAGE)
def test_a_damaged_result_is_told_as_one(
    tmp_path: Path, result: dict[str, Any], place: tuple[str, ...]
) -> None:
    """Whatever reads it, and whatever is wrong with which of its figures: no crash."""
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(result))
    damaged = json.loads(good.read_text())
    for load in damaged["targets"][0]["loads"]:
        reduce(getitem, place[:-1], load)[place[-1]] = DAMAGE[place]
    bad.write_text(json.dumps(damaged))
    told = []
    for args in (
        ("bench", "report", bad, "--html", tmp_path / "r.html"),
        ("bench", "compare", good, bad, "--allow", "lengths"),
        ("bench", "compare", bad, good, "--allow", "lengths"),
        ("cost", "--result", bad),
    ):
        error = CliRunner().invoke(app, [*map(str, args)]).exception
        assert error is None or isinstance(error, TrtbuildError | SystemExit), (args, error)
        told += [error] if isinstance(error, UsageError) and "damaged" in error.what else []
    assert told and all(str(bad) in error.where for error in told)


def test_a_figure_that_is_no_number_of_json_is_none(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"format": "trtbuild-bench/1", "targets": NaN}')
    with pytest.raises(UsageError, match="NaN is not a JSON number"):
        read_result(file)


def test_many_loads_have_labels_that_do_not_overlap() -> None:
    for count, size in ((3, 5), (16, 5), (100, 3)):
        line = Line("a", 0, [(float(n), 1.0) for n in range(count)])
        names = [f"{n:0{size}}" for n in range(count)]
        drawn = re.findall(r'<text x="([\d.]+)"[^>]*>(0\d+)<', draw(Chart("t", [line], "x", names)))
        places = [float(x) for x, _ in drawn]
        assert drawn[0][1] == names[0] and len(drawn) >= min(count, 3)
        assert all(b - a >= 5.5 * size for a, b in pairwise(places)), count


def test_a_title_has_room(result: dict[str, Any]) -> None:
    """Sixty characters of bold type are what the width of a chart holds, nearly."""
    swept = json.loads(json.dumps(result))
    for target in swept["targets"]:
        for number, load in enumerate(target["loads"]):
            label = f"{10.875 + number:g} req/s constant"
            load["load"] = {"kind": "open", "label": label, "rate": 10.875 + number}
    drawn = charts(swept)
    assert any("req/s: share below" in text for text in drawn.values())
    for text in drawn.values():
        (title,) = re.findall(r'class="title"[^>]*>([^<]+)<', text)
        assert len(title) <= 56


def test_a_result_tells_which_prompts_a_file_held(tmp_path: Path) -> None:
    script = Script(role_ms=0, first_ms=1, gap_ms=0, pieces=(" time",), completion_tokens=1)
    told = []
    with serving(script) as mock:
        for text in ("one", "one", "two"):
            (tmp_path / "p").write_text(json.dumps({"prompt": text}))
            options = BenchOptions(
                targets=(f"openai:http://127.0.0.1:{mock.port}/v1#mock",),
                requests=1,
                warmup=0,
                prompts=tmp_path / "p",
            )
            told.append(run(options).result["environment"]["prompts"])
    assert told[0] == told[1] != told[2]


def test_axes_have_round_numbers() -> None:
    assert ticks(0, 97) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 0.013) == [0, 0.005, 0.01, 0.015]
    assert ticks(5, 5)
    assert log_ticks(3, 120) == [5, 10, 20, 50, 100]
    assert log_ticks(0.02, 900) == [0.1, 1, 10, 100]
    assert [short(v) for v in (0.5, 1500, 25_000, 3e6)] == ["0.5", "1500", "25k", "3M"]


def test_the_schema_is_what_its_script_writes() -> None:
    script = ROOT / "scripts" / "make_bench_schema.py"
    made = runpy.run_path(str(script))["schema"]()
    assert json.loads(data_file("bench-result.schema.json").read_text()) == made


def test_two_targets_that_are_one_server_are_not_asked_the_same(tmp_path: Path) -> None:
    """Else the second would find the first one's prompts in the prefix cache."""
    script = Script(role_ms=0, first_ms=1, gap_ms=0, pieces=(" time",) * 2, completion_tokens=2)
    with serving(script) as one, serving(script) as other:
        urls = [f"http://127.0.0.1:{mock.port}/v1#mock" for mock in (one, one, other)]
        targets = tuple(f"{name}=openai:{url}" for name, url in zip("abc", urls, strict=True))
        options = BenchOptions(
            targets=targets,
            requests=6,
            warmup=1,
            tokenizer=tokenizer_folder(tmp_path / "t"),
            allow=("inputs",),
        )
        run(options)
        asked = [[body["messages"][0]["content"] for body in mock.bodies] for mock in (one, other)]
    probes, measured = asked[0][:6], asked[0][6:]
    assert probes[:3] == probes[3:] == asked[1][:3], "probes are the same for all"
    assert len(set(measured)) == len(measured) == 2 * 9
    # Both mocks are this process, so the third target is a twin of the first two here.
    assert not set(measured) & set(asked[1][3:])


def test_charts_as_png_are_twice_as_wide_as_drawn(result: dict[str, Any]) -> None:
    pytest.importorskip("resvg_py", reason="the extra `bench` is not installed")
    drawn = pngs(result)
    assert drawn.keys() == charts(result).keys()
    for name, data in drawn.items():
        assert data.startswith(b"\x89PNG\r\n\x1a\n"), name
        assert int.from_bytes(data[16:20]) == 2 * WIDTH, name
        assert len(data) > 3000, f"{name} is empty"


def test_png_without_its_extra_says_what_to_install(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError) as error:
        pngs(result)
    assert "trtbuild[bench]" in error.value.fix
