"""Stores that lie, break off or disappear, and directories that must not be overwritten."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.artifacts import CONFIG, WEIGHTS, lock_repository, write_repository
from support.command_line import trtbuild
from support.registry import Registry
from support.trees import snapshot
from trtbuild.errors import RepositoryError, UsageError
from trtbuild_artifacts import listing
from trtbuild_artifacts.contents import read
from trtbuild_artifacts.reference import parse
from trtbuild_artifacts.stores.oci import OciStore

GOOD = {
    "version": 1,
    "models": {"m": ["m"]},
    "files": {"m/config.pbtxt": {"sha256": "0" * 64, "size": 1}},
    "folders": [],
    "edited": [],
}


@pytest.fixture
def url(oci: Registry, repo: Path) -> str:
    """A repository that was pushed to the registry."""
    found = f"oci://{oci.address}/acme/chat:v1"
    assert trtbuild("push", repo, found).returncode == 0
    return found


def refused(*arguments: object, code: int) -> str:
    """What a command says that fails."""
    done = trtbuild(*arguments)
    assert done.returncode == code, done.stderr
    return done.stderr


def weights_of(oci: Registry, model: str) -> str:
    """The digest of the layer with the weights of a model."""
    layers = oci.manifest("v1")["layers"]
    mine = [one for one in layers if one["annotations"]["dev.trtbuild.model"] == model]
    return str(max(mine, key=lambda one: one["size"])["digest"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model_repository", "is not a URL"),
        ("ftp://host/place", "there is no store for 'ftp'"),
        ("oci://registry", "is not the name of an image"),
        ("oci://registry/Name:v1", "lower-case"),
        ("oci://[::1/name:v1", "is not the name of an image"),
        ("oci://me:s3cret@registry/name:v1", "must not contain a key or a password"),
        ("s3://me:s3cret@bucket/path", "must not contain a key or a password"),
        ("s3://me:s3cret@bucket", "must not contain a key or a password"),
        ("s3://bucket/path@-x", "cannot be a tag"),
        ("oci://registry/name@sha256:12", "is not a digest"),
        ("s3://", "names no place"),
    ],
)
def test_urls_that_are_refused(text: str, says: str, tmp_path: Path) -> None:
    error = refused("pull", text, tmp_path / "out", code=2)
    assert says in error and "s3cret" not in error


@pytest.mark.parametrize(
    ("text", "place", "tag"),
    [
        ("oci://registry:5000/a/b:v1", "registry:5000/a/b", "v1"),
        ("oci://registry:5000/a/b", "registry:5000/a/b", "latest"),
        (f"oci://registry/a:v1@sha256:{'0' * 64}", "registry/a", f"sha256:{'0' * 64}"),
        ("s3://bucket/a@b/c@v1", "bucket/a@b/c", "v1"),
        (f"gs://bucket@sha256:{'0' * 64}", "bucket", f"sha256:{'0' * 64}"),
        ("mlflow:chat@production", "chat", "production"),
    ],
)
def test_urls_name_a_place_and_a_tag_or_a_digest(text: str, place: str, tag: str) -> None:
    found = parse(text)
    assert (found.place, found.tag or found.digest) == (place, tag)
    assert parse(str(found)) == parse(text)


def test_a_file_whose_name_is_no_text_is_refused(repo: Path, tmp_path: Path) -> None:
    (repo / "one/1" / os.fsdecode(b"\xff.bin")).touch()
    says = refused("push", repo, f"file://{tmp_path}/store", code=2)
    assert "cannot be stored" in says and "in UTF-8" in says
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"files": {"../x": GOOD["files"]}}, "cannot be used"),
        ({"files": {"m/../../x": {"sha256": "0" * 64, "size": 1}}}, "leads out"),
        ({"files": {"/etc/x": {"sha256": "0" * 64, "size": 1}}}, "leads out"),
        ({"files": {"C:/x": {"sha256": "0" * 64, "size": 1}}}, "leads out"),
        ({"folders": ["m/../.."]}, "leads out"),
        ({"files": {"other/x": {"sha256": "0" * 64, "size": 1}}}, "belongs to no model"),
        ({"folders": ["m/config.pbtxt/1"]}, "both a file and a directory"),
        ({"files": {"m/x": {"sha256": "../../x", "size": 1}}}, "not 64 hex digits"),
        ({"files": {"m/x": {"sha256": "0" * 64, "size": -1}}}, "not a number of bytes"),
        ({"version": 2}, "version is 2"),
        ({"models": []}, "cannot be used"),
    ],
)
def test_listings_that_are_refused(change: dict[str, Any], says: str) -> None:
    assert listing.parse(json.dumps(GOOD).encode(), "here").models == {"m": ("m",)}
    with pytest.raises(RepositoryError, match=says):
        listing.parse(json.dumps({**GOOD, **change}).encode(), "here")


def archive(**member: Any) -> bytes:
    """A layer of one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(member.pop("name"))
        for name, value in member.items():
            setattr(info, name, value)
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


EVIL: list[tuple[dict[str, Any], str]] = [
    ({"name": "models/../../x", "size": 3}, "leads out of the directory"),
    ({"name": "/etc/x", "size": 3}, "leads out of the directory"),
    ({"name": "models/m", "type": tarfile.SYMTYPE, "linkname": "/"}, "a link or a device"),
    ({"name": "models/m", "type": tarfile.LNKTYPE, "linkname": "x"}, "a link or a device"),
    ({"name": "models/m", "type": tarfile.FIFOTYPE}, "a link or a device"),
    ({"name": "models/one/other", "size": 3}, "is not in the listing"),
]


@pytest.mark.slow
def test_layers_that_are_refused(oci: Registry, url: str, tmp_path: Path) -> None:
    digest = weights_of(oci, "one")
    length = len(oci.blobs[digest])
    for member, says in EVIL:
        oci.blobs[digest] = archive(**member).ljust(length, b"\0")
        assert says in refused("pull", url, tmp_path / "out", code=6), member
        assert not (tmp_path / "out").exists() and not (tmp_path / "x").exists()


def test_a_truncated_layer(oci: Registry, url: str, tmp_path: Path) -> None:
    digest = weights_of(oci, "one")
    whole = oci.blobs[digest]
    oci.blobs[digest] = whole[: WEIGHTS // 2]
    error = refused("pull", url, tmp_path / "out", code=5)
    assert "one/1/weights.bin is truncated" in error and not (tmp_path / "out").exists()
    other = trtbuild("pull", url, tmp_path / "out", "--only", "two")
    assert other.returncode == 0 and not (tmp_path / "out/one").exists()
    shutil.rmtree(tmp_path / "out")
    error = refused("pull", url, tmp_path / "out", code=5)
    oci.blobs[digest] = whole
    done = trtbuild("pull", url, tmp_path / "out", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["received"] < 2 * WEIGHTS


def test_damaged_bytes_are_found_and_fetched_again(
    oci: Registry, url: str, repo: Path, tmp_path: Path
) -> None:
    digest = weights_of(oci, "two")
    whole = oci.blobs[digest]
    oci.blobs[digest] = whole[:99_000] + b"?" + whole[99_001:]
    error = refused("pull", url, tmp_path / "out", code=5)
    assert "files are damaged" in error and "- two/1/weights.bin" in error
    oci.blobs[digest] = whole
    done = trtbuild("pull", url, tmp_path / "out", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["received"] < 1.1 * WEIGHTS
    assert (tmp_path / "out/two/1/weights.bin").read_bytes() == (
        repo / "two/1/weights.bin"
    ).read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_opened_again(
    ranges: bool, oci: Registry, url: str, tmp_path: Path
) -> None:
    oci.ranges, oci.cut = ranges, [700_000, 900_000]
    assert trtbuild("pull", url, tmp_path / "out").returncode == 0


def test_a_registry_that_is_gone_half_way(
    oci: Registry, url: str, repo: Path, tmp_path: Path
) -> None:
    oci.cut = [100_000] * 40
    error = refused("pull", url, tmp_path / "out", code=5)
    assert "cannot be reached" in error and "run the command again to resume" in error
    oci.cut = []
    assert trtbuild("pull", url, tmp_path / "out").returncode == 0
    (repo / "one/1/more.bin").write_bytes(os.urandom(WEIGHTS))
    lock_repository(repo, "one", "two")
    oci.fail = [503, 503, 503]
    assert "answers with HTTP 503" in refused("push", repo, url, code=5)
    oci.fail = [503, 429]
    assert trtbuild("push", repo, url).returncode == 0


def test_a_registry_that_is_not_there(repo: Path, oci: Registry) -> None:
    error = refused("push", repo, "oci://127.0.0.1:9/a/b:v1", code=5)
    assert "cannot be reached" in error
    assert "digests" not in error, "hashing the weights takes minutes: ask first"
    assert "does not exist" in refused("pull", f"file://{repo}/none@v1", "out", code=2)
    assert not (repo / "none").exists()
    assert "has no 'v9'" in refused("pull", f"oci://{oci.address}/a/b:v9", "out", code=2)


def test_a_tag_that_moves_during_a_pull(
    oci: Registry, url: str, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(repo)
    (repo / "one/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    resolve = OciStore.resolve

    def moved(*arguments: Any) -> Any:
        found = resolve(*arguments)
        monkeypatch.setattr(OciStore, "resolve", resolve)
        assert trtbuild("push", repo, url).returncode == 0
        return found

    monkeypatch.setattr(OciStore, "resolve", moved)
    done = trtbuild("pull", url, tmp_path / "out")
    assert done.returncode == 0 and "the tag was moved during the pull, to sha256:" in done.stderr
    assert {**snapshot(tmp_path / "out"), **before} == snapshot(tmp_path / "out")


def test_a_listing_that_contradicts_the_lock(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "one/config.pbtxt").write_text(CONFIG + "# ours\n")
    monkeypatch.setattr("trtbuild_artifacts.contents._edited", lambda *_: ())
    url = f"file://{tmp_path}/store/chat@v1"
    assert trtbuild("push", repo, url).returncode == 0
    error = refused("pull", url, tmp_path / "out", code=6)
    assert "are not those of their lock" in error and "one/config.pbtxt" in error


def test_a_full_disk(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Iterator[bytes]:
        yield b""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("trtbuild_artifacts.stores.oci._reader", lambda *_: full)
        error = refused("pull", url, tmp_path / "out", code=5)
    assert "is full" in error and "what was received is kept" in error
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    assert "not enough space" in refused("pull", url, tmp_path / "out", code=5)


def test_a_directory_with_files_changed_by_hand(url: str, repo: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert trtbuild("pull", url, target).returncode == 0
    (target / "one/config.pbtxt").write_text(CONFIG + "# ours\n")
    (target / "two/notes.txt").write_text("ours")
    (target / "two/link").symlink_to("/etc")
    before = snapshot(target / "one")
    error = refused("pull", url, target, code=2)
    assert "changed or added by hand" in error
    for path in ("one/config.pbtxt", "two/notes.txt", "two/link"):
        assert f"- {path}" in error
    assert snapshot(target / "one") == before
    assert trtbuild("pull", url, target, "--force").returncode == 0
    assert (target / "one/config.pbtxt").read_text() == CONFIG
    assert not (target / "two/notes.txt").exists() and not (target / "two/link").is_symlink()


def test_a_directory_that_is_no_repository(url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    assert "not a repository that trtbuild made" in refused("pull", url, home, "--force", code=2)
    assert "is not a directory" in refused("pull", url, home / "letter.txt", code=2)
    assert "is a mount point" in refused("pull", url, "/", code=2)
    assert snapshot(home) == {"letter.txt": b"dear"}


def test_a_repository_that_was_converted_here_keeps_its_other_models(url: str, repo: Path) -> None:
    write_repository(repo, "one", "three")
    assert "- three/config.pbtxt" in refused("pull", url, repo, code=2)


def test_what_was_not_pushed_and_what_was_repacked(oci: Registry, url: str, tmp_path: Path) -> None:
    manifest = oci.manifest("v1")
    for layer in manifest["layers"]:
        layer["mediaType"] += "+gzip"
    oci.manifests["v1"] = json.dumps(manifest).encode()
    assert "were repacked" in refused("pull", url, tmp_path / "out", code=5)
    del manifest["annotations"]
    oci.manifests["v1"] = json.dumps(manifest).encode()
    assert "was not made by trtbuild push" in refused("pull", url, tmp_path / "out", code=2)


def test_a_repository_that_would_not_load_is_not_pushed(repo: Path, tmp_path: Path) -> None:
    (repo / "one/config.pbtxt").write_text("backend: 7")
    store = tmp_path / "store"
    error = refused("push", repo, f"file://{store}@v1", code=6)
    assert "would not load" in error and not store.exists()


def test_a_link_out_of_the_repository_is_not_followed(repo: Path) -> None:
    (repo / "one/1/host").symlink_to("/etc/hostname")
    with pytest.raises(RepositoryError, match="is a link out of the repository"):
        read(repo)


def test_options_of_other_stores(repo: Path, oci: Registry, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store@v1"
    assert "--layout has no meaning" in refused("push", repo, url, "--layout", "image", code=2)
    url = f"oci://{oci.address}/a/b:v1"
    assert "unknown --layout" in refused("push", repo, url, "--layout", "zip", code=2)
    with pytest.raises(UsageError, match="cannot be pushed to"):
        parse(f"s3://bucket@sha256:{'0' * 64}").require_tag()


def test_a_url_without_a_plug_in_that_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtbuild.pipeline.fetching.points", lambda _: [])
    assert "cannot be fetched" in refused("serve", "oci://registry/name:v1", code=2)
