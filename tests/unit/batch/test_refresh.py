"""`trtbuild batch refresh`: only what changed is embedded, and two models are never mixed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.batch_jobs import write_lines
from support.batch_server import BatchServer, vector_of
from support.command_line import trtbuild
from support.lanes import rounds
from trtbuild.progress import SILENT
from trtbuild_batch.places import Place
from trtbuild_batch.refreshing.memory import Memory
from trtbuild_batch.refreshing.options import RefreshOptions
from trtbuild_batch.refreshing.run import refresh as run_refresh
from trtbuild_batch.sinks.parquet import ParquetSink

Refresh = Callable[..., Any]
WHOLE = ("--embed", "text", "--id", "id", "--sink", "vectors.parquet")


@pytest.fixture
def refresh(server: BatchServer, tmp_path: Path) -> Refresh:
    """``trtbuild batch refresh rows.jsonl -o state …`` of these rows."""

    def call(rows: Iterable[object] | None, *more: object, model: str = "m") -> Any:
        if rows is not None:
            write_lines(tmp_path / "rows.jsonl", rows)
        server.asked.clear()
        given = ["-o", "state", "--target", server.url, "--model", model, *WHOLE, *more]
        return trtbuild("batch", "refresh", "rows.jsonl", *given, cwd=tmp_path)

    return call


def rows(*numbers: int, change: Iterable[int] = ()) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "text": f"text {n}" + " changed" * (n in set(change)), "n": n}
        for n in numbers
    ]


def status(folder: Path) -> tuple[str, dict[str, Any]]:
    """What ``batch status`` says of the directory: as text, and as JSON."""
    done, told = (
        trtbuild("batch", "status", "state", *more, cwd=folder) for more in ((), ("--json",))
    )
    assert done.returncode == told.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return done.stdout.strip(), found


def held(folder: Path) -> dict[str, list[float]]:
    """The vectors of the sink by id; an id that is there twice fails."""
    found = pq.read_table(folder / "vectors.parquet").to_pylist()
    vectors = {row["id"]: row["vector"] for row in found}
    assert len(vectors) == len(found)
    return vectors


def expected(given: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {row["id"]: vector_of(row["text"]) for row in given}


def embedded(server: BatchServer) -> set[str]:
    return {text for text in server.asked if text != "trtbuild"}


def test_only_what_changed_is_embedded(
    refresh: Refresh, tmp_path: Path, server: BatchServer
) -> None:
    first = rows(*range(40))
    done = refresh(first, "--keep", "n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "40 rows · 40 new · 0 changed · 0 removed · 0 unchanged: vectors.parquet\n"
    )
    assert held(tmp_path) == expected(first)

    assert refresh(None, "--keep", "n").returncode == 0
    assert not embedded(server)

    second = rows(*range(5, 45), change=[7, 9])
    second[10]["n"] = -1  # r15: a kept column
    done = refresh(second, "--keep", "n", "--json")
    found = json.loads(done.stdout)
    counts = [found[name] for name in ("rows", "new", "changed", "removed", "unchanged")]
    assert counts == [40, 5, 3, 5, 32]
    wanted = {row["text"] for row in second if row["id"] in ("r7", "r9", "r15")}
    assert embedded(server) == wanted | {f"text {n}" for n in range(40, 45)}
    assert held(tmp_path) == expected(second)
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 3)
    assert dict(zip(table["id"].to_pylist(), table["n"].to_pylist(), strict=True))["r15"] == "-1"
    said, found = status(tmp_path)
    assert said == f"40 vectors in {tmp_path}/vectors.parquet · nothing in progress"
    assert (found["refreshes"], found["embed"], found["embedding"]) == (2, None, None)
    left = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert left == [".lock", "_digests-2.parquet", "_refresh.json"]


def test_a_sink_of_a_lost_directory_gets_no_rows_of_it(refresh: Refresh, tmp_path: Path) -> None:
    assert refresh(rows(*range(10))).returncode == 0
    shutil.rmtree(tmp_path / "state")
    left = rows(*range(5, 12))
    assert json.loads(refresh(left, "--json").stdout)["generation"] == 2
    assert held(tmp_path) == expected(left)


def test_another_model_gets_a_collection_of_its_own(
    refresh: Refresh, tmp_path: Path, server: BatchServer
) -> None:
    server.models = ("m", "m2")
    given = rows(*range(10))
    assert json.loads(refresh(given, "--json").stdout)["generation"] == 1
    done = refresh(given, "--json", model="m2")
    assert json.loads(done.stdout)["generation"] == 2 and len(embedded(server)) == 10
    assert 'model: was {"name": "m"}, is now {"name": "m2"}' in done.stderr
    done = refresh(given, "--input-type", "passage", model="m2")
    assert 'input_type: was "", is now "passage"' in done.stderr and len(embedded(server)) == 10
    # Another checkpoint behind the same name.
    server.vector = lambda text: [0.0, len(text), 4.0]
    done = refresh(given, "--input-type", "passage", model="m2")
    assert "gives other vectors" in done.stderr
    assert held(tmp_path)["r3"] == [0.0, 6.0, 4.0]
    done = refresh(given, "--input-type", "passage", "--new", model="m2")
    assert done.returncode == 0 and len(embedded(server)) == 10


def test_rows_without_a_vector_stay_as_they_were(
    refresh: Refresh, tmp_path: Path, server: BatchServer
) -> None:
    given = rows(*range(10))
    assert refresh(given).returncode == 0
    server.decide = lambda text, _: 413 if text == "text 3 changed" else 200
    given = rows(*range(2, 12), change=[3, 4])
    done = refresh([*given, {"text": "no id"}], "--attempts", 1)
    assert done.returncode == 7
    assert "2 of 11 rows have no vector; they are tried again at the next refresh" in done.stderr
    assert "row 10: the column 'id' has no value" in done.stderr
    (line,) = (tmp_path / "state/_errors.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "r3" and json.loads(line)["kind"] == "context_length"
    # An id that cannot be read may be any of those that seem to have vanished.
    kept = expected(rows(0, 1)) | expected(given) | {"r3": vector_of("text 3")}
    assert held(tmp_path) == kept
    server.decide = lambda _text, _: 200
    assert refresh(given).returncode == 0
    assert embedded(server) == {"text 3 changed"}
    assert held(tmp_path) == expected(given)


def test_a_new_collection_with_errors_is_not_shown(
    refresh: Refresh, tmp_path: Path, server: BatchServer
) -> None:
    given = rows(*range(10))
    assert refresh(given).returncode == 0
    before = held(tmp_path)
    server.decide = lambda text, _: 413 if text == "text 3" else 200
    done = refresh(None, "--new", "--input-type", "query")
    assert done.returncode == 7 and "the new collection is not shown to readers" in done.stderr
    assert held(tmp_path) == before
    said, found = status(tmp_path)
    assert "interrupted, run the refresh again: 10 rows to embed, 0 to remove" in said
    assert "embedding complete · 10 of 10 rows · 1 with errors" in said
    assert (found["generation"], found["vectors"], found["embedding"]["errors"]) == (1, 10, 1)
    server.decide = lambda _text, _: 200
    done = refresh(None, "--input-type", "query")
    assert done.returncode == 0 and embedded(server) == {"text 3"}
    assert "10 of an interrupted refresh" in done.stdout
    server.decide = lambda text, _: 413 if text == "text 3" else 200
    done = refresh(None, "--allow-errors", 0.1)
    assert done.returncode == 0 and len(held(tmp_path)) == 9


def test_rows_of_a_new_collection_can_be_corrected(refresh: Refresh, tmp_path: Path) -> None:
    given = rows(*range(4))
    wrong = [*given[:2], {**given[2], "text": 5}, {**given[3], "id": None}, {"id": None}]
    done = refresh(wrong)
    assert done.returncode == 7 and "3 of 5 rows have no vector" in done.stderr
    done = refresh(None)
    assert done.returncode == 7 and "3 of an interrupted refresh" in done.stdout
    assert not (tmp_path / "vectors.parquet").exists()
    done = refresh(given)
    assert done.returncode == 0 and "the input has changed" in done.stderr
    assert done.stdout.startswith("4 rows · 4 new · 0 changed")
    assert held(tmp_path) == expected(given)


_CHILD = """
import sys
from trtbuild.progress import SILENT
from trtbuild_batch.refreshing.options import RefreshOptions
from trtbuild_batch.refreshing.run import refresh
options = RefreshOptions(
    inputs=("rows.jsonl",), out="state", target=sys.argv[1], model="m", embed="text", id="id",
    sink="vectors.parquet", concurrency=4, texts_per_request=1, part_rows=50,
)
print(refresh(options, SILENT).errors)
"""


@pytest.mark.slow
def test_a_killed_refresh_is_finished_exactly(
    refresh: Refresh, tmp_path: Path, server: BatchServer
) -> None:
    assert refresh(rows(*range(200))).returncode == 0
    given = rows(*range(20, 400), change=range(50, 100))
    write_lines(tmp_path / "rows.jsonl", given)
    server.asked.clear()
    children: list[subprocess.Popen[str]] = []

    def decide(_text: str, _times: int) -> float:
        if sum(server.asked.values()) in (60, 180):
            threading.Timer(0, children[-1].send_signal, [signal.SIGKILL]).start()
        return 0.001

    server.decide = decide
    codes = []
    while not codes or codes[-1]:
        command = [sys.executable, "-c", _CHILD, server.url]
        children.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
        said, _ = children[-1].communicate(timeout=300)
        codes.append(children[-1].returncode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0] and said == "0\n"
    assert held(tmp_path) == expected(given)
    asked = {text: times for text, times in server.asked.items() if text != "trtbuild"}
    assert set(asked) == {row["text"] for row in given} - {row["text"] for row in rows(*range(200))}
    assert sum(asked.values()) <= len(asked) + 2 * 4


class _CrashError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.long
def test_a_refresh_that_ends_at_any_step_is_finished_exactly(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step fails, for every fourth step of the memory, the sink and the files, or for each."""
    left = 0

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise _CrashError
            return call(*given, **named)

        return step

    for owner, names in {
        Memory: ("write",),
        ParquetSink: ("begin", "upsert", "delete", "publish", "drop", "close"),
        Place: ("make", "remove", "remove_all", "write"),
    }.items():
        for name in names:
            monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    monkeypatch.chdir(tmp_path)
    options = RefreshOptions(
        inputs=("rows.jsonl",), out="state", target=server.url, model="m", embed="text", id="id",
        sink="vectors.parquet", part_rows=10,
    )  # fmt: skip
    for changed in ({}, {"input_type": "query"}):  # the same collection, and a new one
        for crash in range(1, 1000, rounds(4, 1)):
            first, second = rows(*range(20)), rows(*range(3, 25), change=[5])
            shutil.rmtree("state", ignore_errors=True)
            Path("vectors.parquet").unlink(missing_ok=True)
            write_lines(tmp_path / "rows.jsonl", first)
            run_refresh(options, SILENT)
            write_lines(tmp_path / "rows.jsonl", second)
            left = crash
            again = replace(options, **changed)
            with contextlib.suppress(_CrashError):
                run_refresh(again, SILENT)
            crashed = left <= 0
            left = 0
            assert held(tmp_path).keys() in (expected(first).keys(), expected(second).keys())
            assert run_refresh(again, SILENT).errors == 0
            assert held(tmp_path) == expected(second)
            assert run_refresh(again, SILENT).unchanged == 22
            if not crashed:
                break
        assert crash > 10


REFUSED = {
    "no id": (["--id", ""], "--id is empty"),
    "column": (["--id", "doc"], "the input has no column 'doc'"),
    "sink": (["--sink", "redis:x#docs"], "'redis:x#docs' is not a sink"),
    "table": (["--sink", "qdrant:x"], "'qdrant:x' is not a sink"),
    "name": (["--sink", "qdrant:x#do;cs"], "'qdrant:x#do;cs' is not a sink"),
    "password": (["--sink", "postgresql://me:key5@db/x#docs"], "must not contain a password"),
    "user": (["--sink", "ftp://me:key5@db/x#docs"], "a sink with a user name is not a sink"),
    "other sink": (["--sink", "other.parquet"], "state is about another sink: {}/vectors.parquet"),
    "input type": (["--input-type", "x"], "unknown --input-type 'x'"),
}


def test_what_cannot_be_is_refused(refresh: Refresh, tmp_path: Path, server: BatchServer) -> None:
    given = rows(*range(10))
    assert refresh(given).returncode == 0
    for name, (more, message) in REFUSED.items():
        done = refresh(None, *more)
        assert done.returncode == 2, (name, done.stderr)
        assert message.format(tmp_path) in done.stderr, (name, done.stderr)
        assert "fix: " in done.stderr and "key5" not in done.stderr, name
    done = refresh([*given, given[0]])
    assert done.returncode == 2 and "the id 'r0' is there twice" in done.stderr
    done = refresh(given[:4])
    assert done.returncode == 2 and "6 of 10 ids have vanished from the input" in done.stderr
    assert held(tmp_path) == expected(given)
    assert refresh(given[:4], "--max-removed", 1).returncode == 0
    assert held(tmp_path) == expected(given[:4])
    (tmp_path / "vectors.parquet").unlink()
    done = refresh(None)
    assert done.returncode == 5 and "has lost its vectors" in done.stderr
    for damaged in ("{}", "[" * 100_000):
        (tmp_path / "state/_refresh.json").write_text(damaged)
        done = refresh(None)
        assert done.returncode == 5 and "_refresh.json is damaged" in done.stderr
    (tmp_path / "state/_refresh.json").rename(tmp_path / "state/other")
    done = refresh(None)
    assert done.returncode == 2 and "is not empty, and has no refresh" in done.stderr


def test_a_column_with_the_name_of_the_vectors_is_not_kept(
    refresh: Refresh, tmp_path: Path
) -> None:
    given = [{**row, "vector": "an older one"} for row in rows(1, 2)]
    done = refresh(given, "--keep", "vector")
    assert done.returncode == 2 and "'vector' has the name of a column" in done.stderr
    assert refresh(given, "--keep", "*").returncode == 0
    assert held(tmp_path) == expected(given)
    assert pq.read_schema(tmp_path / "vectors.parquet").names == ["id", "text", "n", "vector"]


@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_without_its_library_the_extra_of_a_sink_is_named(
    kind: str, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lancedb", "qdrant_client", "trtbuild_batch.sinks.qdrant"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "trtbuild_batch.sinks.qdrant")
    done = refresh(rows(1), "--sink", f"{kind}:db#docs")
    assert done.returncode == 2 and f"pip install 'trtbuild[batch,{kind}]'" in done.stderr
