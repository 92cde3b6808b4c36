"""`trtbuild batch run`: formats, tasks, resuming, and every input row exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.batch_jobs import rows_of, texts, write_lines
from support.batch_server import BatchServer

Run = Callable[..., Any]
PROMPT = ("--prompt", "S: {{ text }}")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "jsonl.gz", "tsv"])
def test_every_row_of_every_format_is_answered_once(
    ending: str, run: Run, tmp_path: Path, server: BatchServer
) -> None:
    rows = [{"id": f"r{n}", "text": f'text "{n}",\tmore'} for n in range(600)]
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=170)
    elif ending.startswith("jsonl"):
        text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        with pa.output_stream(path, compression="detect") as stream:
            stream.write(text)
    else:
        import csv

        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(
                stream, ["id", "text"], dialect="excel" + "-tab" * (ending == "tsv")
            )
            writer.writeheader()
            writer.writerows(rows)
    done = run(path, *PROMPT, "--id", "id", "--keep", "text", "--part-rows", 250)
    assert done.returncode == 0, done.stderr
    found = rows_of(tmp_path / "out")
    assert [row["row"] for row in found] == list(range(600))
    assert [(row["id"], row["text"]) for row in found] == [(r["id"], r["text"]) for r in rows]
    assert all(row["output"] == f"re: S: {row['text']}" for row in found)
    assert found[0]["finish_reason"] == "stop" and found[0]["completion_tokens"] == 2
    assert max(server.asked.values()) == 1
    assert run(path, *PROMPT, "--id", "id", "--keep", "text").returncode == 0  # nothing to do
    assert sum(server.asked.values()) == 600


def test_vectors_scores_and_lines_have_their_own_columns(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    path = write_lines(
        tmp_path / "rows.jsonl",
        [{"text": "a", "query": "q", "passages": ["x", "four"]}, {"text": "bcd", "query": "q2"}],
    )
    assert run(path, "--embed", "text", out="vectors").returncode == 0
    table = pq.read_table(tmp_path / "vectors/part-00000.parquet")
    assert table.schema.field("output").type == pa.list_(pa.float32(), 3)
    assert table["output"].to_pylist() == [[1.0, 0.5, -1.0], [3.0, 0.5, -1.0]]

    ranked = run(path, "--rerank", "query", "--documents", "passages", out="scores")
    assert ranked.returncode == 7
    first, second = rows_of(tmp_path / "scores")
    assert first["output"] == [1.0, 4.0] and first["error"] is None
    assert second["error"] == "the column 'passages' has no list of texts"
    assert (second["error_kind"], second["attempts"]) == ("input", 0)

    body = {"model": "m", "prompt": "p"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}
    lines = write_lines(tmp_path / "lines.jsonl", [line, {**line, "custom_id": "b", "url": "/x"}])
    assert run(lines, out="lines", model="").returncode == 7
    good, bad = rows_of(tmp_path / "lines")
    assert good["id"] == "a" and json.loads(good["output"])["choices"][0]["text"] == "re: p"
    assert bad["id"] == "b" and bad["error"].startswith("url '/x' is none of /v1/chat/completions")


def test_a_job_goes_on_where_it_stopped(run: Run, tmp_path: Path, server: BatchServer) -> None:
    path = texts(tmp_path / "rows.jsonl", 400)
    server.decide = lambda text, _: 404 if text == "S: text 250" else 200
    stopped = run(path, *PROMPT, "--part-rows", 100, "--concurrency", 4)
    assert stopped.returncode == 7
    assert "the job stopped: the target refuses every request" in stopped.stderr
    asked = sum(server.asked.values())
    server.decide = lambda _text, _times: 200
    assert run(path, *PROMPT, "--concurrency", 4).returncode == 0
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(400))
    assert asked <= sum(server.asked.values()) <= 400 + 4
    assert not list((tmp_path / "out").glob(".*journal"))


def test_rows_that_fail_have_their_reason(run: Run, tmp_path: Path, server: BatchServer) -> None:
    faults = {"S: text 1": 413, "S: text 2": 400, "S: text 3": "drop"}

    def decide(text: str, times: int) -> Any:
        if text == "S: text 4" and times == 1:
            return 503, {"Retry-After": "0"}
        return faults.get(text, 200)

    server.decide = decide
    path = texts(tmp_path / "rows.jsonl", 40)
    done = run(path, *PROMPT, "--attempts", 2, "--json")
    assert done.returncode == 7
    assert "3 of 40 rows have an error instead of an answer" in done.stderr
    assert json.loads(done.stdout)["errors"] == 3
    found = rows_of(tmp_path / "out")
    kinds = {row["row"]: row["error_kind"] for row in found if row["error"]}
    assert kinds == {1: "context_length", 2: "refused", 3: "connection"}
    assert found[4]["output"] == "re: S: text 4" and found[4]["attempts"] == 2
    assert found[1]["error"] == "413: the context_length is exceeded"
    assert run(path, *PROMPT, "--allow-errors", 0.1).returncode == 0


def test_texts_of_one_request_share_its_price_and_not_its_refusal(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    path = texts(tmp_path / "rows.jsonl", 200)
    server.decide = lambda text, _: 413 if text == "text 33" else 200
    done = run(path, "--embed", "text", "--concurrency", 64, "--texts-per-request", 16)
    assert done.returncode == 7
    found = rows_of(tmp_path / "out")
    assert [row["output"] for row in found if row["row"] != 33] == [
        [float(len(f"text {n}")), 0.5, -1.0] for n in range(200) if n != 33
    ]
    assert found[33]["error_kind"] == "context_length"
    sizes = [len(body["input"]) for body in server.bodies if isinstance(body["input"], list)]
    assert max(sizes) == 16
    assert len(server.bodies) < 200 / 8 + 16 + 1  # and once more, each by itself


def test_rows_that_cannot_be_asked_about_are_rows_with_an_error(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    rows = ["fine,1\n", '"two\nlines",2\n', "short\n", "a,b,c\n", "\n", '"it is ""so""",5\n']
    (tmp_path / "rows.csv").write_text("text,n\n" + "".join(rows))
    assert run("rows.csv", "--prompt", "{{ text }} {{ n }}").returncode == 7
    found = rows_of(tmp_path / "out")
    assert [row["output"] for row in found] == [
        "re: fine 1", "re: two\nlines 2", None, None, 're: it is "so" 5',
    ]  # fmt: skip
    assert [row["error"] for row in found[2:4]] == [
        "the row has 1 values for 2 columns", "the row has 3 values for 2 columns",
    ]  # fmt: skip

    lines = ['{"text": null}', '{"n": 1}', "[]", '{"text": "\\ud800"}', '{"text": "é"}', "{"]
    (tmp_path / "rows.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    given = ["rows.jsonl", "--prompt", "{{ text }}", "--keep", "text"]
    assert run(*given, out="lines").returncode == 7
    found = rows_of(tmp_path / "lines")
    assert [row["error_kind"] for row in found] == ["input"] * 4 + [None, "input"]
    assert found[0]["error"].endswith("a value is null; {{ column or '' }} accepts that")
    assert found[1]["error"].endswith("'text' is undefined")
    assert found[4]["output"] == "re: é"
    assert run("rows.jsonl", "--prompt", "{{ text or '' }}", out="or").returncode == 7
    assert rows_of(tmp_path / "or")[0]["output"] == "re: "
