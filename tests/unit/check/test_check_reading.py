"""What is read of a repository, and what is not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from trtbuild.check.reading import OutsideError, is_inside, open_inside, read_inside, walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "m/1").mkdir(parents=True)
    (root / "m/1/file").write_text("text")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "repo-of-others").mkdir()
    (tmp_path / "repo-of-others/file").write_text("secret")
    return root


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("m/1/file", True),
        ("m/1/none", True),
        ("m/none/none", True),
        ("m/1/../1/file", True),
        ("m/../../secret", False),
        ("../repo-of-others/file", False),
        ("link_in", True),
        ("link_out", False),
        ("folder_out/file", False),
        ("up/secret", False),
        ("loop/file", True),
        ("nul\0l", False),
    ],
)
@pytest.mark.parametrize("named", ["absolute", "relative", "here", "linked"])
def test_inside(
    root: Path, path: str, inside: bool, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link_in").symlink_to("m/1/file")
    (root / "link_out").symlink_to(root.parent / "secret")
    (root / "folder_out").symlink_to("../repo-of-others")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root.parent / "alias").symlink_to("repo")
    monkeypatch.chdir(root if named == "here" else root.parent)
    top = {"absolute": root, "relative": Path("repo"), "here": Path(), "linked": Path("alias")}
    assert is_inside(top[named] / path, top[named]) is inside


def test_a_file_is_read(root: Path) -> None:
    assert read_inside(root / "m/1/file", root) == b"text"
    with pytest.raises(OSError, match="it has 4 bytes"):
        read_inside(root / "m/1/file", root, limit=3)


def test_outside_is_not_read(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "secret")
    with pytest.raises(OutsideError):
        read_inside(root / "out", root)


def test_only_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        server.bind("socket")
        os.chdir(here)
    for name in ("pipe", "socket", "m"):
        with pytest.raises(OSError):
            open_inside(root / name, root)


def test_a_walk_follows_no_link_and_says_what_it_cannot_list(root: Path) -> None:
    (root / "m/loop").symlink_to("..")
    os.mkfifo(root / "m/pipe")
    assert [(entry.path, entry.kind) for entry in walk(root / "m")] == [
        ("1", "folder"),
        ("loop", "link"),
        ("pipe", "other"),
        ("1/file", "file"),
    ]
    assert [entry.kind for entry in walk(root / "none")] == ["unreadable"]
