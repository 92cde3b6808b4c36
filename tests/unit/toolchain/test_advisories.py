"""Which releases a known vulnerability concerns."""

from __future__ import annotations

import datetime
import tomllib

import pytest

from trtbuild.resources import data_file
from trtbuild.toolchain import advisories_as_of, advisories_of, releases, safe_since


def ids(program: str, version: str) -> set[str]:
    return {one.ids[0] for one in advisories_of(program, version)}


VIDEO = {"CVE-2026-22778"}
# Of every TensorRT-LLM that a Triton image carries; nobody reaches them from outside the machine.
EVERY = {"CVE-2026-47471", "CVE-2026-24233", "CVE-2026-24226"}


@pytest.mark.parametrize(
    ("program", "version", "known"),
    [
        ("triton", "26.05", {"CVE-2026-47627", "CVE-2026-47630"}),
        ("triton", "26.06", set()),
        ("vllm", "0.8.4", {"CVE-2025-30202", "CVE-2026-22773", "CVE-2026-22778", "CVE-2025-66448"}),
        ("vllm", "0.11.1", {"CVE-2026-22807", "CVE-2026-27893", "CVE-2026-22773"} | VIDEO),
        ("vllm", "0.17.1", {"CVE-2026-27893"}),
        ("tensorrt-llm", "1.1.0", {"CVE-2025-33255", "CVE-2026-24205"} | EVERY),
        ("tensorrt-llm", "1.2.0", {"CVE-2026-24205"} | EVERY),
        ("tensorrt-llm", "1.2.1", EVERY),
        ("tensorrt-llm", "1.3.0rc17", set()),
        ("vllm", "0.18.0", set()),
        ("transformers", "4.55.4", set()),
        ("transformers", "5.2.0", {"CVE-2026-4372"}),
        ("transformers", "5.3.0", set()),
        ("vllm", "", set()),
        ("vllm", "nightly", set()),
    ],
)
def test_a_release_and_what_is_known_of_it(program: str, version: str, known: set[str]) -> None:
    assert ids(program, version) == known


def test_the_table_has_a_day_and_sources() -> None:
    day = datetime.date.fromisoformat(advisories_as_of())
    rows = {one for row in releases() for one in advisories_of("triton", row.triton)}
    for row in rows | set(advisories_of("vllm", "0.10.1.1")):
        assert "https://" in row.source
        assert datetime.date.fromisoformat(row.published) <= day


# NVIDIA's bulletins: the first release that has what each one fixes.
FIXED = {
    "5565": {"24.09"}, "5612": {"24.12"}, "5687": {"25.05", "25.06", "25.07"},
    "5691": {"25.07", "25.08"}, "5723": {"25.09"}, "5734": {"25.10"}, "5790": {"26.01"},
    "5816": {"26.02"}, "5828": {"26.03"}, "5860": {"26.03"}, "5848": {"26.04"}, "5853": {"26.05"},
    "5865": {"26.06"}, "5648": {"0.18.2"}, "5805": {"1.2.0", "1.2.1"},
    "5840": {"1.3.0rc12", "1.3.0rc13", "1.3.0rc15", "1.3.0rc16", "1.3.0rc17"},
}  # fmt: skip


def test_every_bulletin_is_there_with_the_releases_that_it_names() -> None:
    found: dict[str, set[str]] = {}
    for row in tomllib.loads(data_file("advisories.toml").read_text())["advisory"]:
        if row["source"].startswith("NVIDIA security bulletin "):
            found.setdefault(row["source"][25:29], set()).add(row["fixed"])
    assert found == FIXED


def test_the_first_safe_release_is_computed() -> None:
    assert safe_since("triton") == "26.06"
    assert safe_since("vllm") == "0.18.0"


def test_the_newest_release_has_none() -> None:
    newest = releases()[0]
    assert not advisories_of("triton", newest.triton)
    assert not advisories_of("vllm", newest.vllm)
