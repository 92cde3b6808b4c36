"""``trtbuild drift`` from files to the alert, and what is wrong with files, options and models."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from support.batch_jobs import write_lines
from support.batch_server import BatchServer, batch_server
from trtbuild.cli.app import app
from trtbuild.errors import TrtbuildError
from trtbuild_drift.options import Asking

_TOPICS = (
    "cancel order delivery parcel late return shop address",
    "invoice payment card refund bank account charge receipt",
    "password login email account reset code phone error",
)
_NEW = "visa passport embassy travel border flight permit stay"


def rows(seed: int, count: int = 300, new: float = 0.0, **more: Any) -> list[dict[str, Any]]:
    """Questions of two segments; ``new`` is the share of a topic that came up."""
    random, found = np.random.default_rng(seed), []
    for at in range(count):
        topic = _NEW if random.random() < new else _TOPICS[random.integers(3)]
        text = " ".join(["how do i", *random.choice(topic.split(), random.integers(3, 8))])
        found.append({"text": text, "country": ("de", "us")[at % 2], **more})
    return found


def vector(text: str) -> list[float]:
    """The mean of a direction for each word."""
    directions = [
        np.random.default_rng(zlib.crc32(word.encode())).normal(size=24) for word in text.split()
    ]
    return [float(one) for one in np.mean(directions, axis=0)]


def drift(*args: object) -> Any:
    return CliRunner().invoke(app, ["drift", *map(str, args)])


def passed(*args: object) -> dict[str, Any]:
    """The JSON of a command that succeeds."""
    done = drift(*args, "--json")
    assert done.exception is None, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def failed(*args: object) -> TrtbuildError:
    done = drift(*args)
    assert isinstance(done.exception, TrtbuildError), done.output
    assert done.exception.fix
    return done.exception


@pytest.fixture(scope="module")
def server() -> Iterator[BatchServer]:
    with batch_server() as found:
        found.vector = vector
        yield found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A baseline without embeddings, of 300 texts in two segments."""
    path = tmp_path / "base.npz"
    old = write_lines(tmp_path / "old.jsonl", rows(0))
    found = passed("baseline", old, "-o", path, "--segment", "country")
    assert found["texts"] == {"de": 150, "us": 150}
    assert found["dimension"] == 0
    return path


@pytest.mark.slow
def test_an_alert_needs_two_different_windows(base: Path, tmp_path: Path) -> None:
    windows = [
        write_lines(tmp_path / f"{name}.jsonl", rows(seed, new=new))
        for name, seed, new in (("same", 1, 0.0), ("new", 2, 0.4), ("newer", 3, 0.4))
    ]
    same = passed("compare", windows[0], "-b", base)
    assert not any(one["drifted"] for one in same["signals"])
    assert {one["name"] for one in same["signals"]} == {"words", "lengths", "languages"}
    for _ in range(2):  # the same window again counts once
        first = passed("compare", windows[1], "-b", base)
        words = [one for one in first["signals"] if one["name"] == "words"]
        assert [(one["drifted"], one["windows"], one["alert"]) for one in words] == [
            (True, 1, False)
        ] * 2
        assert not first["alert"]
    for found in first["examples"]:
        assert set(" ".join(found["texts"]).split()) & set(_NEW.split())
        assert len(found["texts"]) == 5
        assert found["separation"] > 0.6

    textfile = tmp_path / "drift.prom"
    second = drift("compare", windows[2], "-b", base, "--textfile", textfile)
    assert isinstance(second.exception, TrtbuildError)
    assert second.exception.exit_code == 8
    assert second.exception.what == "the texts have drifted in 2 windows in a row"
    assert "de: words" in second.exception.details
    assert "alert" in second.stdout
    assert "new texts of us" in second.stdout
    families = text_string_to_metric_families(textfile.read_text())
    metrics = {
        (sample.name, sample.labels.get("segment"), sample.labels.get("signal")): sample.value
        for family in families
        for sample in family.samples
    }
    assert metrics["trtbuild_drift_alert", "de", "words"] == 1
    assert metrics["trtbuild_drift_windows", "de", "words"] == 2
    assert metrics["trtbuild_drift_alert", "de", "languages"] == 0
    assert metrics["trtbuild_drift_texts", "us", None] == 150
    assert textfile.stat().st_mode & 0o444 == 0o444

    again = passed("compare", windows[0], "-b", base)
    assert {one["windows"] for one in again["signals"]} == {0}


def test_one_window_is_enough_if_asked_for(base: Path, tmp_path: Path) -> None:
    new = write_lines(tmp_path / "new.jsonl", rows(2, new=0.4))
    error = failed("compare", new, "-b", base, "--windows", 1, "--examples", 0)
    assert error.what == "the texts have drifted in this window"


def test_embeddings_of_a_target_answers_and_messages(server: BatchServer, tmp_path: Path) -> None:
    """The target is remembered; refusals and languages drift, too."""

    def chats(seed: int, answer: str, words: str = "") -> list[dict[str, Any]]:
        return [
            {
                "body": {"messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": f"{row['text']} {words}"},
                    {"role": "assistant", "content": "which one?"},
                ]},
                "output": answer if at % 4 == 0 else "Of course.",
            }
            for at, row in enumerate(rows(seed, 200))
        ]  # fmt: skip

    old = write_lines(tmp_path / "old.jsonl", chats(0, "Sure."))
    path = tmp_path / "base.npz"
    args = ("--text", "body.messages", "--answer", "output", "--target", server.url)
    made = passed("baseline", old, "-o", path, *args, "--model", "m", "--sample", 120)
    assert (made["texts"], made["dimension"]) == ({"all": 120}, 24)
    assert b"cancel" not in path.read_bytes()
    refusing = chats(1, "I'm sorry, but I can't help.", "ich das die und nicht was wie")
    report = passed("compare", write_lines(tmp_path / "new.jsonl", refusing), "-b", path)
    found = {one["name"]: one for one in report["signals"]}
    assert set(found) == {"embeddings", "words", "lengths", "languages", "refusals"}
    assert all(one["drifted"] for one in found.values())
    assert found["refusals"]["old"] == "0.0%"
    assert found["languages"]["new"].startswith("de")
    assert found["embeddings"]["distance"] > 0.2

    server.vector = lambda text: vector(f"other {text}")
    try:
        error = failed("compare", old, "-b", path)
    finally:
        server.vector = vector
    assert error.what == "another model than the baseline's made the embeddings"
    assert "cosine" in error.where
    server.vector = lambda text: vector(text)[:12]
    try:
        error = failed("compare", old, "-b", path)
    finally:
        server.vector = vector
    assert error.what == "embeddings have 12 dimensions, those of the baseline 24"


def test_embeddings_of_a_column_and_the_job_that_made_them(tmp_path: Path) -> None:
    def window(name: str, seed: int, model: str, new: float = 0.0, keep: int = 24) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        found = [{**row, "output": vector(row["text"])[:keep]} for row in rows(seed, new=new)]
        found += [{"text": "", "country": "de", "output": None}, {**found[0], "output": None}]
        pq.write_table(pa.Table.from_pylist(found), folder / "part-00000.parquet")
        job = {"fingerprint": {"model": {"name": model}, "embed": "text", "inputs": []}}
        (folder / "_job.json").write_text(json.dumps(job))
        return folder

    path = tmp_path / "base.npz"
    passed("baseline", window("old", 0, "e5"), "-o", path, "--embedding", "output")
    report = passed("compare", window("new", 1, "e5", new=0.3), "-b", path)
    found = {one["name"]: one["drifted"] for one in report["signals"]}
    assert found["embeddings"]
    assert report["left_out"] == {
        "no text in text": 1,
        "no list of finite numbers in output": 1,
    }
    error = failed("compare", window("other", 1, "bge"), "-b", path)
    assert error.what == "another model than the baseline's made the embeddings"
    error = failed("compare", window("short", 1, "e5", keep=12), "-b", path)
    assert "12 dimensions, those of the baseline 24" in error.what
    error = failed("compare", tmp_path / "new", "-b", path, "--target", "http://127.0.0.1:9/v1")
    assert "no embeddings of a model" in error.what


def test_segments_on_one_side_only_are_left_out(base: Path, tmp_path: Path) -> None:
    few = [{"text": "hello", "country": "fr"}] * 60 + [{"text": "hello", "country": "it"}] * 3
    window = [row for row in rows(1) if row["country"] == "de"] + few + [{"text": "no country"}]
    report = passed("compare", write_lines(tmp_path / "new.jsonl", window), "-b", base)
    assert report["texts"] == {"de": 150}
    assert report["left_out"] == {
        "no segment in country": 1,
        "segment fr: not in the baseline": 60,
        "segment it: not in the baseline": 3,
        "segment us: too few texts now": 0,
    }
    only = write_lines(tmp_path / "only.jsonl", few)
    assert "no segment in common" in failed("compare", only, "-b", base).what


def test_a_damaged_file_is_named(base: Path, tmp_path: Path) -> None:
    new = write_lines(tmp_path / "new.jsonl", rows(1))
    assert "there is no baseline" in failed("compare", new, "-b", tmp_path / "no.npz").what
    content = base.read_bytes()
    packed = content.index(b"histograms.npy") + 40  # inside a compressed array
    for damaged in (
        b"",
        b"x" * 100,
        content[: len(content) // 2],
        content[:packed] + b"\xff" * 40 + content[packed + 40 :],
        content.replace(b"PK\x01\x02\x2d\x03\x2d\x00", b"PK\x01\x02\x2d\x03\xff\x00"),
    ):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        error = failed("compare", new, "-b", tmp_path / "damaged.npz")
        assert "is not a baseline" in error.what
        assert error.exit_code == 2
    state = tmp_path / "base.npz.state.json"
    passed("compare", new, "-b", base)
    for damaged in (b"{", b"[]", b'{"runs": []}'):
        state.write_bytes(damaged)
        error = failed("compare", new, "-b", base)
        assert (error.exit_code, "--state" in error.fix) == (2, True)


def test_a_new_baseline_counts_anew(base: Path, tmp_path: Path) -> None:
    new = write_lines(tmp_path / "new.jsonl", rows(2, new=0.4))
    passed("compare", new, "-b", base)
    newer = write_lines(tmp_path / "newer.jsonl", rows(3, new=0.4))
    passed("baseline", newer, "-o", base, "--segment", "country")
    assert not passed("compare", new, "-b", base)["alert"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--text", "txt"), "the input has no column 'txt'"),
        (("--segment", "region"), "the input has no column 'region'"),
        (("--embedding", "country", "--target", "m"), "exclude each other"),
        (("--embedding", "country"), "too few texts: no segment has 50"),
        (("--segment", "text"), "more than 200 segments"),
        (("--target", "nobody-serves-this"), "no running server"),
        (("--target", "http://127.0.0.1:9/v1"), "which model"),
        (("--target", "http://127.0.0.1:9/v1", "--model", "m"), "nothing answers"),
    ],
)
def test_a_baseline_that_cannot_be(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    old = write_lines(tmp_path / "old.jsonl", rows(0, 240))
    out = tmp_path / "base.npz"
    error = failed("baseline", old, "-o", out, *args)
    assert said in error.what
    assert not out.exists()


def test_other_inputs_that_cannot_be(base: Path, tmp_path: Path) -> None:
    few = write_lines(tmp_path / "few.jsonl", rows(1, 40))
    error = failed("compare", few, "-b", base)
    assert "too few texts" in error.what
    assert "the largest has 20" in error.what
    assert "does not exist" in failed("compare", tmp_path / "none.jsonl", "-b", base).what
    assert "--level 0" in failed("compare", few, "-b", base, "--level", 0).what
    mixed = [{**row, "v": [1.0] * (2 + at % 2)} for at, row in enumerate(rows(1))]
    path = write_lines(tmp_path / "mixed.jsonl", mixed)
    error = failed("baseline", path, "-o", tmp_path / "b.npz", "--embedding", "v")
    assert "different dimensions: 2, 3" in error.what


def test_half_a_character_of_json_is_replaced(tmp_path: Path) -> None:
    odd = [{"text": f"{row['text']} \ud800", "country": "\ud800"} for row in rows(0, 120)]
    path, out = tmp_path / "odd.jsonl", tmp_path / "odd.npz"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in odd))
    assert passed("baseline", path, "-o", out, "--segment", "country")["texts"] == {"?": 120}
    page = tmp_path / "drift.prom"
    assert passed("compare", path, "-b", out, "--textfile", page)["texts"] == {"?": 120}
    assert 'segment="?"' in page.read_text()


def test_what_is_given_now_wins_over_what_a_baseline_recorded() -> None:
    recorded = Asking(target="http://a/v1", model="m", api_key_env="OLD", timeout=300)
    assert Asking().instead_of(recorded) == recorded
    now = Asking(api_key_env="NEW", timeout=5).instead_of(recorded)
    assert now == Asking(target="http://a/v1", model="m", api_key_env="NEW", timeout=5)


def test_a_model_that_gives_no_vectors(server: BatchServer, tmp_path: Path) -> None:
    old = write_lines(tmp_path / "old.jsonl", rows(0, 120))
    args = ("-o", tmp_path / "b.npz", "--target", server.url, "--model", "m")
    server.decide = lambda text, _times: 413 if "train" in text else 200
    error = failed("baseline", old, *args)
    assert "no usable embeddings" in error.what
    assert error.exit_code == 7
    server.decide = lambda _text, _times: 401
    error = failed("baseline", old, *args)
    assert "stopped answering" in error.what
