"""The output directory: how far a job is, its errors, one file of its parts, and what can break."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest

from support.batch_jobs import rows_of, texts, write_lines
from support.batch_server import BatchServer
from support.command_line import trtbuild
from trtbuild.errors import BuildError
from trtbuild.wire.failures import UNREADABLE
from trtbuild_batch.engine import Outcome, Receipt
from trtbuild_batch.jobs.preparing import require_usable
from trtbuild_batch.output import contents, record
from trtbuild_batch.output.claims import Claims
from trtbuild_batch.output.journal import Journal, count
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import Place, place
from trtbuild_batch.refreshing import memory
from trtbuild_batch.targets.openai import _usage

Run = Callable[..., Any]
PROMPT = ("--prompt", "S: {{ text }}")


def batch(*arguments: object, cwd: Path) -> Any:
    return trtbuild("batch", *arguments, cwd=cwd)


def test_a_job_is_looked_at_its_errors_retried_and_its_parts_merged(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    texts(tmp_path / "rows.jsonl", 50)
    bad = {"S: text 11", "S: text 12", "S: text 33"}
    server.decide = lambda text, _: 400 if text in bad else 200
    given = ["rows.jsonl", *PROMPT, "--id", "id", "--part-rows", 10]
    assert run(*given).returncode == 7

    said = batch("status", "out", cwd=tmp_path)
    assert said.stdout.startswith("complete · 50 of 50 rows · 3 with errors · 5 of 5 parts")
    state = json.loads(batch("status", "out", "--json", cwd=tmp_path).stdout)
    assert (state["done"], state["errors"], state["running"]) == (50, 3, False)
    assert state["completion_tokens"] == 2 * 47

    listed = batch("errors", "out", "--limit", 2, cwd=tmp_path)
    assert listed.returncode == 7 and "3 rows have an error" in listed.stderr
    first = "row 11 (r11): refused: 400: scripted 400\n"
    assert listed.stdout.startswith(first) and "… 1 more" in listed.stdout

    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    bad.remove("S: text 11")
    server.asked.clear()
    still = batch("errors", "out", "--retry", "--json", cwd=tmp_path)
    assert still.returncode == 7 and json.loads(still.stdout)["kinds"] == {"refused": 2}
    assert set(server.asked) == {"S: text 11", "S: text 12", "S: text 33"}
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"part-00001.parquet", "part-00003.parquet"}
    bad.clear()
    done = batch("errors", "out", "--retry", "--target", server.url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no row has an error\n"), done.stderr

    for name in ("all.parquet", "all.jsonl", "all.csv"):
        assert batch("merge", "out", "-o", name, cwd=tmp_path).stdout == f"50 rows: {name}\n"
    merged = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert merged == rows_of(tmp_path / "out")
    assert [row["id"] for row in merged] == [f"r{n}" for n in range(50)]
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["output"] for line in lines] == [row["output"] for row in merged]
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 51


def test_lines_of_a_batch_file_are_merged_into_result_lines(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    line = {"method": "POST", "url": "/v1/completions"}
    rows = [{"custom_id": c, **line, "body": {"model": "m", "prompt": c}} for c in "ab"]
    write_lines(tmp_path / "lines.jsonl", rows)
    server.decide = lambda text, _: 400 if text == "b" else 200
    assert run("lines.jsonl", model="").returncode == 7
    assert batch("merge", "out", "-o", "results.jsonl", cwd=tmp_path).returncode == 0
    good, bad = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert good["custom_id"] == "a" and good["error"] is None
    assert good["response"]["status_code"] == 200
    assert good["response"]["body"]["choices"][0]["text"] == "re: a"
    assert bad["custom_id"] == "b" and bad["response"] is None
    assert bad["error"] == {"code": "refused", "message": "400: scripted 400"}


def test_what_cannot_be_looked_at_or_merged(run: Run, tmp_path: Path, server: BatchServer) -> None:
    texts(tmp_path / "rows.jsonl", 20)
    (tmp_path / "empty").mkdir()
    (tmp_path / "refresh").mkdir()
    (tmp_path / "refresh" / memory.NAME).write_text("{}")
    for command in (["status"], ["errors"], ["merge", "-o", "x.csv"]):
        with mock.patch.dict(sys.modules, {"pyarrow": None}):  # more than it is missing
            found = batch(command[0], "empty", *command[1:], cwd=tmp_path)
        assert found.returncode == 2 and "empty has no job and no refresh" in found.stderr
    for command in (["errors"], ["merge", "-o", "x.csv"]):
        found = batch(command[0], "refresh", *command[1:], cwd=tmp_path)
        assert found.returncode == 2 and "it belongs to a refresh" in found.stderr
    server.decide = lambda text, _: 404 if text == "S: text 15" else 200
    assert run("rows.jsonl", *PROMPT, "--part-rows", 10, "--concurrency", 1).returncode == 7
    said = batch("status", "out", cwd=tmp_path)
    assert said.stdout.startswith("interrupted · 15 of 20 rows · 1 of 2 parts")
    merged = batch("merge", "out", "-o", "x.csv", cwd=tmp_path)
    assert merged.returncode == 2 and "1 of 2 parts are there" in merged.stderr
    assert batch("merge", "out", "-o", "x.csv", "--partial", cwd=tmp_path).returncode == 0
    retried = batch("errors", "out", "--retry", cwd=tmp_path)
    assert retried.returncode == 2 and "the job is not complete" in retried.stderr
    assert batch("merge", "out", "-o", "x.txt", cwd=tmp_path).returncode == 2

    server.decide = lambda _text, _times: 200
    assert run("rows.jsonl", *PROMPT).returncode == 0
    part = tmp_path / "out/part-00001.parquet"
    (tmp_path / "out/part-00000.parquet").write_bytes(part.read_bytes())  # rows 10 to 19 twice
    merged = batch("merge", "out", "-o", "y.csv", cwd=tmp_path)
    assert merged.returncode == 5 and "its rows are not 0 and those that follow" in merged.stderr
    part.write_bytes(b"nothing")
    assert batch("status", "out", cwd=tmp_path).returncode == 5
    assert run("rows.jsonl", *PROMPT).returncode == 5
    assert not [path.name for path in tmp_path.iterdir() if "y.csv" in path.name]


def test_two_that_publish_a_part_at_once_do_not_mix_it(tmp_path: Path) -> None:
    """As one does that was paused until its claim had lapsed."""
    part, left = place(str(tmp_path)) / "part-00000.parquet", tmp_path / ".part-00000.parquet.x.tmp"
    left.write_bytes(b"of a process that was killed")
    with part.replaced(tmp_path) as one:
        one.write_bytes(b"first")
        with part.replaced(tmp_path) as other:
            other.write_bytes(b"second, and longer")
        assert part.read() == b"second, and longer"
    assert part.read() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


_RECORD = '{"version": 1, "fingerprint": {}, "starts": %s, "part_rows": 1, "output": "text"}'


@pytest.mark.parametrize("content", ["[" * 100_000, _RECORD % "[1e999]", _RECORD % "[0, 5.5]"])
def test_a_record_that_is_damaged_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "_job.json").write_text(content)
    with pytest.raises(BuildError, match="is damaged"):
        record.read(place(str(tmp_path)))


def test_a_prompt_that_is_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    made = Record({"prompt": "a\udcff \u00e9"}, [0, 1], 1, "text")
    (tmp_path / "_job.json").write_bytes(made.render())
    assert record.read(place(str(tmp_path))) == made
    contents.remember(place(str(tmp_path)), {"prompt": "a\udcff"})
    assert contents.remembered(place(str(tmp_path))) == {"prompt": "a\udcff"}


def test_what_is_damaged_beside_a_job_counts_for_nothing(tmp_path: Path) -> None:
    deep, here = "[" * 100_000, place(str(tmp_path))
    for name in ("_options.json", ".progress-0.json", ".claim-00001.1"):
        (tmp_path / name).write_text(deep)
    assert contents.remembered(here) == {}
    assert list(contents._rates(tmp_path)) == []
    assert Claims(here).take(1)
    for line in (deep, '{"row": 1e999, "n": 1, "ms": 1, "text": "x"}'):
        path = tmp_path / "journal"
        path.write_text(f'{{"job": "k"}}\n{line}\n')
        journal = Journal(path, "k")
        assert journal.open() and not journal.known
        journal.close()


def test_counts_that_no_column_holds_are_left_out() -> None:
    answers = [Receipt(Outcome("x", "stop", tokens, 1), 1, 1.0) for tokens in (2**70, -1, 7)]
    table = Layout("text").table([(row, (), answer) for row, answer in enumerate(answers)])
    assert table["prompt_tokens"].to_pylist() == [None, None, 7]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN"])
def test_numbers_that_are_none_are_malformed(number: str) -> None:
    usage = json.loads(f'{{"usage": {{"prompt_tokens": {number}}}}}')
    with pytest.raises(UNREADABLE):
        _usage(usage)


def test_vectors_are_no_csv_and_a_broken_one_is_an_error(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    vectors = {"short": [1.0, 2.0], "nan": [1.0, float("nan"), 2.0]}
    fine = [1.0, 2.0, 3.0]
    server.vector = lambda text: vectors.get(text, fine)
    rows = [{"text": name} for name in ("fine", "short", "nan", *"abcdefgh")]
    write_lines(tmp_path / "rows.jsonl", rows)
    assert run("rows.jsonl", "--embed", "text", "--attempts", 1).returncode == 7
    found = rows_of(tmp_path / "out")
    assert found[0]["output"] == [1.0, 2.0, 3.0]
    assert found[1]["error"] == "the vector has 2 numbers instead of 3"
    assert found[2]["error"] == "a number is not finite"
    merged = batch("merge", "out", "-o", "x.csv", cwd=tmp_path)
    assert merged.returncode == 2 and "CSV cannot hold lists of numbers" in merged.stderr


def test_a_second_process_is_refused(run: Run, tmp_path: Path) -> None:
    texts(tmp_path / "rows.jsonl", 20)
    (tmp_path / "out").mkdir()
    for name, more in ((".lock", []), (".part-00001.parquet.journal", ["--part-rows", 10])):
        with (tmp_path / "out" / name).open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            done = run("rows.jsonl", *PROMPT, *more)
            assert done.returncode == 2 and "another process works on" in done.stderr
            assert "--partition" in done.stderr
    assert run("rows.jsonl", *PROMPT).returncode == 0
    assert len(rows_of(tmp_path / "out")) == 20


def test_two_partitions_share_a_directory(run: Run, tmp_path: Path) -> None:
    texts(tmp_path / "rows.jsonl", 100)
    ours = run("rows.jsonl", *PROMPT, "--partition", "1/2")
    assert ours.returncode == 0 and "48 of 48 rows" in ours.stdout
    assert run("rows.jsonl", *PROMPT, "--partition", "0/2").returncode == 0
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(100))


def receipts(number: int) -> list[tuple[int, Receipt]]:
    texts = ["plain", "ä€😀", "line\nbreak", b"\x00\x00\x80?", ""]
    return [
        (row, Receipt(Outcome(texts[row % 5], "stop", row, None), 1, 2.5))
        if row % 3
        else (row, Receipt(None, 5, 1.0, 'said "no"', "server_error"))
        for row in range(number)
    ]


def test_a_journal_cut_off_anywhere_keeps_the_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    wanted = receipts(12)
    whole = Journal(path, "key")
    assert whole.open()
    for row, receipt in wanted:
        whole.append(row, receipt)
    whole.close()
    content = path.read_bytes()
    assert count(path) == (12, 4)
    ends = [at + 1 for at, byte in enumerate(content) if byte == 10]
    for cut in range(0, len(content) + 1, 11):
        for tail in (b"", b"\0\0\0"):  # a power failure may leave zeros
            path.write_bytes(content[:cut] + tail)
            journal = Journal(path, "key")
            assert journal.open()
            kept = max(0, sum(end <= cut for end in ends) - 1)
            assert list(journal.known.items()) == wanted[:kept]
            journal.append(99, wanted[0][1])
            journal.close()
            again = Journal(path, "key")
            assert again.open() and list(again.known) == [*range(kept), 99]
            again.close()
    path.write_bytes(content)
    other = Journal(path, "another job")
    assert other.open() and not other.known
    other.close()


def test_a_journal_that_cannot_be_begun_keeps_no_lock(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            Journal(tmp_path / "journal", "key").open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Journal(tmp_path / "journal", "key")
    assert again.open()
    again.close()


@pytest.mark.parametrize("new", [True, False], ids=["--new", "without a job"])
def test_a_new_job_in_a_bucket_has_no_answers_of_the_old_one(tmp_path: Path, new: bool) -> None:
    from pyarrow.fs import LocalFileSystem

    bucket = Place(LocalFileSystem(), str(tmp_path / "bucket"), None)
    scratch = tmp_path / "scratch"
    for folder in (bucket.path, scratch):
        Path(folder).mkdir()
    if new:
        (bucket / "_job.json").write(Record({}, [0, 9], 3, "text").render())
    for name in (".lock", ".part-00000.parquet.journal", ".part-00000.parquet.retry"):
        (scratch / name).touch()
    held = Journal(scratch / ".part-00001.parquet.journal", "of a process at work")
    assert held.open()
    assert require_usable(bucket, scratch, new) is None
    held.close()
    assert bucket.names() == []
    assert {path.name for path in scratch.iterdir()} == {".lock", held.path.name}


def test_a_full_disk_keeps_what_is_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: BatchServer
) -> None:
    texts(tmp_path / "rows.jsonl", 30)
    write, written = os.write, []

    def full(fd: int, content: bytes) -> int:
        if b'"row":' not in content:
            return write(fd, content)
        written.append(content)
        if len(written) == 10:  # as a disk does: a part, and then nothing more
            return write(fd, content[:7])
        if len(written) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        done = run("rows.jsonl", *PROMPT, "--concurrency", 2)
    assert done.returncode == 5, done.stderr
    assert "the disk of" in done.stderr and "is full" in done.stderr
    assert "run the command again to resume: finished rows are kept" in done.stderr
    assert run("rows.jsonl", *PROMPT).returncode == 0
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(30))
    assert sum(server.asked.values()) <= 30 + 2
