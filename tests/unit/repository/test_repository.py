"""Writing, listing and removing models: all or nothing, also when killed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from support.repositories import MODEL, beside, entry
from support.trees import snapshot
from trtbuild import lockfile, repository
from trtbuild.errors import BuildError, RepositoryError, UsageError
from trtbuild.lockfile import Lock
from trtbuild.modelspec import SourceRef
from trtbuild.plan import ModelEntry, RepoFile
from trtbuild.repository import WeightFile, transaction, write_model


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def test_several_models_side_by_side(repo: Path) -> None:
    write_model(repo, "a", [entry("a")], {}, MODEL)
    written = write_model(repo, "b", [entry("b"), entry("b_pre", b"two")], {}, MODEL)
    assert sorted(path.name for path in repo.iterdir()) == ["a", "b", "b_pre", "trtbuild.lock"]
    assert written.directories == ("b", "b_pre")
    assert set(lockfile.read(repo).models) == {"a", "b"}
    assert beside(repo) == []


def test_directories_that_a_new_conversion_no_longer_has_go(repo: Path) -> None:
    write_model(repo, "b", [entry("b"), entry("b_pre")], {}, MODEL)
    write_model(repo, "b", [entry("b", b"new")], {}, MODEL)
    assert sorted(path.name for path in repo.iterdir()) == ["b", "trtbuild.lock"]
    assert (repo / "b" / "config.pbtxt").read_bytes() == b"new"


def test_weights_are_placed_with_their_digests(repo: Path, tmp_path: Path) -> None:
    shard = tmp_path / "src" / "model.safetensors"
    shard.parent.mkdir()
    shard.write_bytes(b"w" * 100)
    file = WeightFile("sub/model.safetensors", shard, "f" * 64, 100, link=False)
    written = write_model(repo, "m", [entry(weights=True)], {"": [file]}, MODEL)
    assert (repo / "m/1/weights/sub/model.safetensors").read_bytes() == b"w" * 100
    assert written.files["m/1/weights/sub/model.safetensors"].size == 100


def test_weights_that_change_after_they_were_digested_are_refused(
    repo: Path, tmp_path: Path
) -> None:
    shard = tmp_path / "model.safetensors"
    shard.write_bytes(b"w" * 100)
    then = shard.stat().st_mtime_ns
    os.utime(shard, ns=(then, then + 1_000_000_000))  # a training job wrote as many bytes
    file = WeightFile("model.safetensors", shard, "f" * 64, 100, link=False, modified=then)
    with pytest.raises(BuildError, match=r"model\.safetensors changed during the copy"):
        write_model(repo, "m", [entry(weights=True)], {"": [file]}, MODEL)
    assert not (repo / "m").exists()


def test_another_source_under_a_taken_name(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(repo)
    other = replace(MODEL, source=SourceRef("hub", "org/other", "v2", "c" * 40))
    with pytest.raises(UsageError) as caught:
        write_model(repo, "m", [entry(text=b"two")], {}, other)
    assert "llama (local)" in caught.value.what
    assert "org/other@v2 (hub)" in caught.value.what
    assert "--name" in caught.value.fix
    assert "--force" in caught.value.fix
    assert snapshot(repo) == before
    write_model(repo, "m", [entry(text=b"two")], {}, other, force=True)
    assert (repo / "m/config.pbtxt").read_bytes() == b"two"


def test_a_folder_that_somebody_else_made(repo: Path) -> None:
    (repo / "m").mkdir(parents=True)
    (repo / "m" / "precious").touch()
    with pytest.raises(UsageError, match="was not written by trtbuild"):
        write_model(repo, "m", [entry()], {}, MODEL)
    assert (repo / "m" / "precious").exists()


def test_a_folder_of_another_conversion(repo: Path) -> None:
    write_model(repo, "a", [entry("a"), entry("shared")], {}, MODEL)
    with pytest.raises(UsageError, match="belongs to the model 'a'"):
        write_model(repo, "b", [entry("b"), entry("shared")], {}, MODEL)


def test_an_edit_by_hand_is_not_overwritten(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    (repo / "m/config.pbtxt").write_bytes(b"mine")
    with pytest.raises(UsageError, match="changed by hand") as caught:
        write_model(repo, "m", [entry(text=b"two")], {}, MODEL)
    assert caught.value.details == ("m/config.pbtxt differs from what was written",)
    assert (repo / "m/config.pbtxt").read_bytes() == b"mine"


def test_what_fails_its_check_is_not_put_in_place(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(repo)

    def check(folder: Path, lock: Lock) -> None:
        assert (folder / "m/config.pbtxt").read_bytes() == b"two"
        assert "m/config.pbtxt" in lock.models["m"].files
        raise RepositoryError("no")

    with pytest.raises(RepositoryError):
        write_model(repo, "m", [entry(text=b"two")], {}, MODEL, check=check)
    assert snapshot(repo) == before
    assert beside(repo) == []


def test_a_first_conversion_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    repo = tmp_path / "a" / "b" / "repo"

    def check(*_: object) -> None:
        raise RepositoryError("no")

    with pytest.raises(RepositoryError):
        write_model(repo, "m", [entry()], {}, MODEL, check=check)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b", "a\\..\\b", ""])
def test_no_builder_writes_outside_its_folder(repo: Path, path: str) -> None:
    bad = ModelEntry("m", (RepoFile(path, b""),))
    with pytest.raises(BuildError, match="outside its directory"):
        write_model(repo, "m", [bad], {}, MODEL)
    assert not repo.exists()


@pytest.mark.parametrize("name", ["../m", "a/b", ".hidden", "a b", "a'b", "x" * 300])
def test_no_builder_names_a_folder_badly(repo: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model name"):
        write_model(repo, "m", [ModelEntry(name, ())], {}, MODEL)
    assert not repo.exists()


def test_a_file_in_the_place_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repo").write_text("x")
    with pytest.raises(UsageError, match="is not a directory"):
        write_model(tmp_path / "repo", "m", [entry()], {}, MODEL)


def test_a_damaged_lock_stops_before_anything_is_written(repo: Path) -> None:
    repo.mkdir()
    (repo / "trtbuild.lock").write_text("{")
    with pytest.raises(RepositoryError, match="damaged"):
        write_model(repo, "m", [entry()], {}, MODEL)
    assert snapshot(repo) == {"trtbuild.lock": b"{"}


def test_remove_takes_the_folders_and_the_entry(repo: Path) -> None:
    write_model(repo, "m", [entry("m"), entry("m_pre")], {}, MODEL)
    write_model(repo, "n", [entry("n")], {}, MODEL)
    assert repository.remove(repo, "m") == ("m", "m_pre")
    assert sorted(path.name for path in repo.iterdir()) == ["n", "trtbuild.lock"]
    assert set(lockfile.read(repo).models) == {"n"}
    assert beside(repo) == []


def test_remove_of_an_unknown_name_says_the_nearest(repo: Path) -> None:
    write_model(repo, "smollm2", [entry("smollm2")], {}, MODEL)
    with pytest.raises(UsageError) as caught:
        repository.remove(repo, "smolm2")
    assert caught.value.fix == "did you mean 'smollm2'?"
    for name in ("", ".", "..", "../repo", "trtbuild.lock"):
        with pytest.raises(UsageError):
            repository.remove(repo, name)
    assert (repo / "smollm2/config.pbtxt").exists()


def test_remove_of_a_part_names_the_whole(repo: Path) -> None:
    write_model(repo, "m", [entry("m"), entry("m_pre")], {}, MODEL)
    with pytest.raises(UsageError, match="part of the model 'm'"):
        repository.remove(repo, "m_pre")


def test_remove_forgets_a_model_whose_folder_is_gone(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    shutil.rmtree(repo / "m")
    repository.remove(repo, "m")
    assert lockfile.read(repo) == Lock()


def test_list_knows_ours_and_others(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    (repo / "vision").mkdir()
    (repo / "vision/config.pbtxt").write_text('name: "vision"\nbackend: "onnxruntime"\n')
    (repo / "empty").mkdir()
    (repo / "broken").mkdir()
    (repo / "broken/config.pbtxt").write_text("name: {")
    rows = {row.name: row for row in repository.list_models(repo)}
    assert list(rows) == ["broken", "empty", "m", "vision"]
    assert (rows["m"].locked, rows["m"].source, rows["m"].bytes) == (True, "llama (local)", 3)
    assert (rows["vision"].locked, rows["vision"].backend) == (False, "onnxruntime")
    assert rows["empty"].problem == "it has no config.pbtxt"
    assert "cannot be read" in rows["broken"].problem


def test_list_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        repository.list_models(tmp_path / "nowhere")
    assert repository.list_models(tmp_path) == ()


def test_the_lock_has_no_trace_of_this_machine(repo: Path, tmp_path: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    text = (repo / "trtbuild.lock").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["models"]["m"]["directories"] == ["m"]


def test_a_transaction_without_a_commit_changes_nothing(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(repo)
    with transaction(repo) as change:
        (change.new / "x").mkdir()
    assert snapshot(repo) == before
    assert beside(repo) == []
