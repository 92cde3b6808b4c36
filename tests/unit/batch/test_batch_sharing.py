"""Several machines on one job: claims that lapse, and an object store between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from support.batch_jobs import rows_of, texts
from support.batch_server import BatchServer
from support.command_line import trtbuild
from support.waiting import wait_for
from trtbuild.errors import UsageError
from trtbuild_batch.options import RunOptions
from trtbuild_batch.output.claims import Claims
from trtbuild_batch.output.journal import Journal
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import place

Run = Callable[..., Any]
PROMPT = ("--prompt", "S: {{ text }}")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object store of this process, with the empty bucket ``rows``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    server._port = port  # where it comes back
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    url = f"http://127.0.0.1:{port}"
    pyarrow.fs.S3FileSystem(endpoint_override=url, allow_bucket_creation=True).create_dir("rows")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("text", "variables", "share"),
    [
        ("", {}, (0, 1)),
        ("3/16", {"JOB_COMPLETION_INDEX": "5"}, (3, 16)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "2"}, (2, 4)),
        ("auto", {"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_NODES": "2"}, (1, 2)),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_COUNT": "5",
                "SLURM_ARRAY_TASK_MIN": "7",
            },
            (2, 5),
        ),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, None),
        ("auto", {"JOB_COMPLETION_INDEX": "x"}, None),
    ],
)
def test_the_share_of_a_process(
    text: str,
    variables: dict[str, str],
    share: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    options = RunOptions(out="out", target="m", partition=text)
    if share is None:
        with pytest.raises(UsageError, match="is not a partition"):
            options.share()
    else:
        assert options.share() == share


def test_the_partitions_of_ten_million_rows_are_all_of_them_once() -> None:
    job = Record({}, [0, 10_000_000], 9_973, "text")
    seen = bytearray(job.rows)
    for index in range(16):
        for part in range(index, job.parts, 16):
            first, last = job.span(part)
            assert not any(seen[first:last])
            seen[first:last] = b"\1" * (last - first)
    assert all(seen)


def check_claims(folder: str) -> None:
    now = 1000.0
    one, two = (Claims(place(folder), 60, clock=lambda: now, owner=name) for name in "ab")
    assert one.take(7) and one.take(7) and not two.take(7) and two.take(8)
    now += 59
    one.renew()  # but not two
    now += 30
    assert not two.take(7) and one.take(8)
    now += 61  # one is lost as well
    assert two.take(7)
    assert one.take(6)
    now += 61
    assert two.take(6)
    two.withdraw(6)
    one.renew()  # it was only held up
    assert not two.take(6) and two.take(7)
    one.release(7)  # it comes back, and has published the same rows
    assert [name for name in place(folder).names() if name.startswith(".claim-00007")] == []
    two.give_up()
    assert one.take(9)


def test_a_claim_has_one_owner_until_it_lapses(tmp_path: Path) -> None:
    check_claims(str(tmp_path))


@pytest.mark.slow
def test_the_parts_of_a_lost_process_are_taken_over(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    texts(tmp_path / "rows.jsonl", 300)
    server.decide = lambda _text, _times: 0.01 if sum(server.asked.values()) < 100 else "hold"
    given = ["rows.jsonl", *PROMPT, "--claim", "--lease", "1", "--part-rows", "40"]
    command = [sys.executable, "-m", "trtbuild", "batch", "run", *given, "-o", "out"]
    target = ["--target", server.url, "--model", "m", "--concurrency", "4"]
    lost = subprocess.Popen([*command, *target], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: sum(server.asked.values()) >= 100)
    lost.kill()
    lost.wait()
    asked = sum(server.asked.values())
    assert 100 <= asked < 300
    server.decide = lambda _text, _times: 200
    done = run(*given)
    assert done.returncode == 0, done.stderr
    assert "300 of 300 rows" in done.stdout
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(300))
    assert sum(server.asked.values()) <= 300 + 4  # on one machine its journals are found, too
    left = {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"}
    assert left == {".lock", "_job.json", "_options.json"}


def test_the_part_of_a_process_that_was_held_up_is_left_to_it(
    run: Run, tmp_path: Path, server: BatchServer
) -> None:
    texts(tmp_path / "rows.jsonl", 40)
    (tmp_path / "out").mkdir()
    other = Journal(tmp_path / "out/.part-00000.parquet.journal", "of the process")
    assert other.open()

    def decide(text: str, _times: int) -> int:
        if text == "S: text 20":  # of the next part
            other.close()
        return 200

    server.decide = decide
    done = run("rows.jsonl", *PROMPT, "--claim", "--lease", "1", "--part-rows", "20")
    assert done.returncode == 0, done.stderr
    assert "40 of 40 rows" in done.stdout
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(40))
    assert set(server.asked.values()) == {1}


@pytest.mark.slow
def test_a_job_between_buckets(store: Any, run: Run, tmp_path: Path, server: BatchServer) -> None:
    bucket = "s3://rows"
    check_claims(f"{bucket}/claims")
    source = place(f"{bucket}/in/rows.jsonl")
    source.write(texts(tmp_path / "rows.jsonl", 50).read_bytes())
    given = [f"{bucket}/in/*.jsonl", *PROMPT, "--part-rows", 20, "--claim"]
    server.decide = lambda text, _: 404 if text == "S: text 30" else 200
    assert run(*given, out=f"{bucket}/out", model="m").returncode == 7
    server.decide = lambda _text, _times: 200
    done = run(*given, out=f"{bucket}/out")
    assert done.returncode == 0 and "50 of 50 rows" in done.stdout, done.stderr
    assert max(server.asked.values()) == 2  # the journal of this machine has what was done
    merged = trtbuild("batch", "merge", f"{bucket}/out", "-o", "part-1.parquet", cwd=tmp_path)
    assert merged.stdout == "50 rows: part-1.parquet\n", merged.stderr
    assert [row["output"] for row in rows_of(tmp_path)] == [f"re: S: text {n}" for n in range(50)]
    source.write(texts(tmp_path / "rows.jsonl", 51).read_bytes())
    changed = run(*given, out=f"{bucket}/out")
    assert changed.returncode == 2 and "rows.jsonl has changed" in changed.stderr
    missing = run("s3://nowhere/rows.jsonl", *PROMPT)
    assert missing.returncode in (2, 5) and "nowhere" in missing.stderr

    def store_goes(text: str, _times: int) -> int:
        if text == "S: text 35":
            store.stop()
        return 200

    server.decide = store_goes
    server.asked.clear()
    given = [tmp_path / "rows.jsonl", *PROMPT, "--part-rows", 20, "--concurrency", 4]
    gone = run(*given, out=f"{bucket}/gone")
    assert gone.returncode == 5 and "cannot be" in gone.stderr, gone.stderr
    assert "run the command again to resume" in gone.stderr
    store.start()  # and has forgotten the first part
    assert run(*given, out=f"{bucket}/gone").returncode == 0
    assert {server.asked[f"S: text {n}"] for n in range(20, 51)} == {1}


@pytest.mark.slow
def test_a_refresh_between_buckets(store: Any, tmp_path: Path, server: BatchServer) -> None:
    bucket = "s3://rows"
    source, sink = place(f"{bucket}/docs/rows.jsonl"), f"{bucket}/vectors.parquet"
    given = [f"{bucket}/docs", "-o", f"{bucket}/state", "--target", server.url, "--model", "m"]
    for count, embedded in ((50, 50), (50, 0), (52, 2), (49, 0)):
        source.write(texts(tmp_path / "rows.jsonl", count).read_bytes())
        server.asked.clear()
        done = trtbuild("batch", "refresh", *given, "--embed", "text", "--id", "id", "--sink", sink)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == embedded + 1  # and the text that tells the model
    with place(sink).opened() as stream:
        found = pq.read_table(stream)["id"].to_pylist()
    assert sorted(found) == sorted(f"r{n}" for n in range(49))
    assert place(f"{bucket}/state").names() == ["_digests-3.parquet", "_refresh.json"]
    assert place(f"{bucket}/state/pending/out").names() == []
