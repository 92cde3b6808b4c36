"""The lock: stable bytes, no silent damage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trtbuild import lockfile, repository, server
from trtbuild.errors import RepositoryError
from trtbuild.lockfile import Lock, LockedFile, LockedModel
from trtbuild.modelspec import SourceRef

MODEL = LockedModel(
    source=SourceRef("hub", "org/name", "main", "a" * 40),
    builder="vllm",
    triton="26.07",
    image="image",
    key="k",
    directories=("m", "m_part"),
    adapters={"fr": SourceRef("local", "lora")},
    versions={"vllm": "0.24.0"},
    settings={"engine": {"max_model_len": 10}},
    files={"m/config.pbtxt": LockedFile("0" * 64, 3)},
)


def test_a_lock_survives_its_file(tmp_path: Path) -> None:
    lock = Lock({"m": MODEL})
    lockfile.write(tmp_path, lock)
    assert lockfile.read(tmp_path) == lock
    assert list(tmp_path.iterdir()) == [tmp_path / "trtbuild.lock"]


def test_the_order_of_models_does_not_show_in_the_bytes() -> None:
    one = Lock().with_model("a", MODEL).with_model("b", MODEL)
    other = Lock().with_model("b", MODEL).with_model("a", MODEL)
    assert lockfile.render(one) == lockfile.render(other)


def test_no_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert lockfile.read(tmp_path) == Lock()
    assert lockfile.read(tmp_path / "nowhere") == Lock()


def test_who_wrote_a_folder() -> None:
    lock = Lock({"m": MODEL})
    assert lock.owner("m_part") == "m"
    assert lock.owner("other") == ""
    assert lock.without("m") == Lock()


GOOD = json.loads(lockfile.render(Lock({"m": MODEL})))


def broken(**change: object) -> bytes:
    return json.dumps({**GOOD, **change}).encode()


def without(key: str) -> bytes:
    model = {k: v for k, v in GOOD["models"]["m"].items() if k != key}
    return broken(models={"m": model})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"version": 1,\n "models": }', "line 2, column 12"),
        (b"\xc3\x28", "not JSON text"),
        (b"[1]", "version None"),
        (broken(version=2), "version 2 is not supported"),
        (broken(models=[]), "an entry"),
        (broken(models={"m": []}), "an entry"),
        (without("files"), "'files'"),
        (without("source"), "'source'"),
        (broken(models={"m": {**GOOD["models"]["m"], "source": {"odd": 1}}}), "an entry"),
        (b"[" * 100_000, "not JSON text"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "trtbuild.lock").write_bytes(content)
    with pytest.raises(RepositoryError, match="is damaged") as caught:
        lockfile.read(tmp_path)
    assert why in caught.value.what
    assert caught.value.where == str(tmp_path / "trtbuild.lock")
    assert caught.value.exit_code == 6


def test_a_lock_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "trtbuild.lock").mkdir()
    with pytest.raises(RepositoryError, match="cannot be read"):
        lockfile.read(tmp_path)


@pytest.mark.parametrize("name", ["trtbuild.lock", "m/config.pbtxt", "m/1/model.json"])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    if name != "m/config.pbtxt":
        (tmp_path / "m" / "config.pbtxt").write_text('name: "m"\nbackend: "vllm"\n')
    os.mkfifo(tmp_path / name)
    if name == "trtbuild.lock":
        with pytest.raises(RepositoryError, match="not a regular file"):
            lockfile.read(tmp_path)
    else:
        assert server.read_contents(tmp_path).models == ("m",)
        assert [one.name for one in repository.list_models(tmp_path)] == ["m"]
