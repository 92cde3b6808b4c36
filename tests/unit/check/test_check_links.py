"""Links in a repository that the server follows: what it refuses, and where it never ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Finding, Severity, write_example
from trtbuild.check.examples import Link


def found(root: Path, rule: str) -> list[Finding]:
    return [one for one in check.validate(root).findings if one.rule == rule]


def test_a_link_that_leads_nowhere_is_reported_once(tmp_path: Path) -> None:
    write_example(Example(files={"m/bpe.model": Link("/nowhere/bpe.model")}), tmp_path)
    (one,) = [one for one in check.validate(tmp_path).findings if "bpe.model" in one.message]
    assert (one.rule, one.severity, one.file) == ("TRT211", Severity.ERROR, "m/bpe.model")
    assert one.server_message == (
        "Poll failed for model directory 'm': failed to stat file bpe.model"
    )


def test_a_link_into_the_mounted_repository_leads_there(tmp_path: Path) -> None:
    files = {"m/labels.txt": Link("/models/m/1/labels.txt"), "m/1/labels.txt": "cat\n"}
    write_example(Example(files=files), tmp_path)
    assert found(tmp_path, "TRT211") == []
    (tmp_path / "m/1/labels.txt").unlink()
    assert found(tmp_path, "TRT211")


# Each was given to the server 2.51: those of True had no answer after eight seconds, the others at
# once.
CIRCLES = [
    ({"m/self": "."}, False),
    ({"m/1/up": ".."}, False),
    ({"m/l1": ".", "m/l2": "."}, True),
    ({"m/1/l1": "..", "m/1/l2": ".."}, True),
    ({"m/1/l": "..", "m/2/l": ".."}, True),
    ({"m/x/l": ".", "m/y/l": "."}, False),
    ({"m/n": "../n", "n/m": "../m"}, False),
    ({"m/n": "../n", "m/n2": "../n", "n/m": "../m"}, True),
]


@pytest.mark.parametrize(("links", "endless"), CIRCLES)
def test_links_that_lead_back(links: dict[str, str], endless: bool, tmp_path: Path) -> None:
    for folder in ("m/1", "m/2", "n/1"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.py").touch()
    for path, target in links.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).symlink_to(target)
    assert any(one.model == "m" for one in found(tmp_path, "TRT212")) is endless


def test_many_links_to_a_large_directory_are_no_circle(tmp_path: Path) -> None:
    (tmp_path / "m/1/data").mkdir(parents=True)
    for number in range(300):
        (tmp_path / f"m/1/data/{number}").touch()
    for level in range(12):  # as many entries, but they come to an end
        for name in "ab":
            folder = tmp_path / f"m/1/l{level}"
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(f"../l{level + 1}" if level < 11 else "../data")
    assert found(tmp_path, "TRT212") == []


def test_a_link_at_the_root_that_leads_nowhere(tmp_path: Path) -> None:
    write_example(Example(files={".old": Link("nowhere"), "new": Link("m")}), tmp_path)
    (one,) = found(tmp_path, "TRT213")
    assert (one.severity, one.file, one.model) == (Severity.ERROR, ".old", "")
