"""What is pushed is pulled again: the same files, and nothing is sent twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.artifacts import CONFIG, MODEL, WEIGHTS, lock_repository, write_repository
from support.command_line import trtbuild
from support.registry import Registry
from support.trees import snapshot
from trtbuild.errors import BuildError
from trtbuild_artifacts.contents import read
from trtbuild_artifacts.listing import LISTING_NAME
from trtbuild_artifacts.reference import parse
from trtbuild_artifacts.stores.objects import ObjectStores

Place = Callable[[str], str]


def ran(*arguments: object) -> dict[str, Any]:
    """The JSON of a command that succeeds."""
    done = trtbuild(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pulled(folder: Path) -> dict[str, bytes | None]:
    """What a pull left, without its listing."""
    return {path: content for path, content in snapshot(folder).items() if path != LISTING_NAME}


def test_what_was_pushed_is_pulled(place: Place, repo: Path, tmp_path: Path) -> None:
    (repo / "one/empty").mkdir()
    (repo / "one/1/stub").write_text("#!/bin/sh\n")
    (repo / "one/1/stub").chmod(0o755)
    lock_repository(repo, "one", "two")
    for left_out in ("one/1/__pycache__/model.pyc", "README.md"):
        (repo / left_out).parent.mkdir(exist_ok=True)
        (repo / left_out).write_text("x")

    first, again = ran("push", repo, place("v1")), ran("push", repo, place("v1"))
    assert first["sent"] > 2 * WEIGHTS > again["present"] - 60_000
    assert again["sent"] < 4000 and again["version"] == first["version"]

    target = tmp_path / "out"
    done = ran("pull", place("v1"), target)
    assert done["received"] > 2 * WEIGHTS and done["models"] == ["one", "two"]
    for left_out in ("one/1/__pycache__", "README.md"):
        path = repo / left_out
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert pulled(target) == snapshot(repo)
    assert os.access(target / "one/1/stub", os.X_OK)
    assert not os.access(target / "one/1/model.py", os.X_OK)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []

    assert ran("pull", first["url"], target)["received"] == 0
    assert ran("push", target, place("again"))["version"] == first["version"]


def test_the_version_follows_from_the_content_alone(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(repo, tmp_path / "copy", copy_function=shutil.copyfile))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert ran("push", repo, place("a"))["version"] == ran("push", copy, place("b"))["version"]


@pytest.mark.slow
def test_of_ten_models_with_one_changed_configuration_little_is_sent(
    place: Place, tmp_path: Path
) -> None:
    names = [f"m{number}" for number in range(10)]
    repo = write_repository(tmp_path / "ten", *names)
    ran("push", repo, place("v1"))
    target = tmp_path / "out"
    ran("pull", place("v1"), target)
    (repo / "m7/config.pbtxt").write_text(CONFIG + "instance_group { count: 2 kind: KIND_CPU }\n")
    lock_repository(repo, *names)

    assert ran("push", repo, place("v2"))["sent"] <= 50_000
    done = ran("pull", place("v2"), target)
    assert done["received"] <= 50_000 and done["reused"] >= 10 * WEIGHTS
    assert pulled(target) == snapshot(repo)
    ran("pull", place("v1"), target)  # and back
    assert CONFIG.encode() == (target / "m7/config.pbtxt").read_bytes()


def test_one_model_is_pulled_alone(place: Place, repo: Path, tmp_path: Path) -> None:
    ran("push", repo, place("v1"))
    target = tmp_path / "out"
    done = ran("pull", place("v1"), target, "--only", "two")
    assert done["received"] < 1.2 * WEIGHTS and done["models"] == ["two"]
    assert not (target / "one").exists()
    assert [model["name"] for model in ran("list", "--repo", target)] == ["two"]
    assert trtbuild("validate", target).returncode == 0
    missing = trtbuild("pull", place("v1"), target, "--only", "three")
    assert missing.returncode == 2 and "has no model 'three'" in missing.stderr


def test_an_alias_names_a_version_until_it_is_moved(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    first = ran("push", repo, place("v1"))
    ran("tag", place("v1"), "--alias", "production")
    (repo / "one/1/model.py").write_text(MODEL + "# other\n")
    lock_repository(repo, "one", "two")
    second = ran("push", repo, place("v2"))
    done = ran("pull", place("production"), tmp_path / "out")
    assert done["version"] == first["version"] != second["version"]
    ran("tag", second["url"], "--alias", "production")
    assert ran("pull", place("production"), tmp_path / "out")["version"] == second["version"]


def test_files_changed_by_hand_are_pushed_when_told_so(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    (repo / "two/config.pbtxt").write_text(CONFIG + "# ours\n")
    refused = trtbuild("push", repo, place("v1"))
    assert refused.returncode == 6 and "two/config.pbtxt" in refused.stderr
    ran("push", repo, place("v1"), "--edited")
    done = trtbuild("pull", place("v1"), tmp_path / "out")
    assert done.returncode == 0
    assert "warning: two/config.pbtxt was changed by hand before it was pushed" in done.stderr
    assert trtbuild("pull", place("v1"), tmp_path / "out").returncode == 0


def test_an_image_is_what_container_runtimes_mount(oci: Registry, repo: Path) -> None:
    ran("push", repo, f"oci://{oci.address}/acme/chat:v1")
    manifest = oci.manifest("v1")
    assert {layer["mediaType"] for layer in manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar"
    }
    config = json.loads(oci.blobs[manifest["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert len(manifest["layers"]) == 5  # weights and the rest of each model, the lock
    lock = manifest["annotations"]["dev.trtbuild.lock.sha256"]
    assert lock == json.loads((repo / "trtbuild.lock").read_bytes()) or len(lock) == 64


@pytest.mark.parametrize("basic", [False, True])
def test_credentials_of_docker_are_used_and_not_shown(
    basic: bool, oci: Registry, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oci.account, oci.basic = "me:s3cret", basic
    url = f"oci://{oci.address}/acme/chat:v1"
    auth = {"auths": {oci.address: {"auth": "bWU6d3Jvbmc="}}}  # me:wrong
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(auth))
    refused = trtbuild("push", repo, url)
    assert refused.returncode == 5 and f"docker login {oci.address}" in refused.stderr
    assert "wrong" not in refused.stderr
    monkeypatch.delenv("DOCKER_AUTH_CONFIG")

    helper = tmp_path / "bin/docker-credential-ours"
    helper.parent.mkdir()
    helper.write_text(
        f"""#!/bin/sh
[ "$1 $(cat)" = "get {oci.address}" ] && echo '{{"Username": "me", "Secret": "s3cret"}}'
"""
    )
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "ours"}))
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    done = trtbuild("push", repo, url)
    assert done.returncode == 0 and "s3cret" not in done.stdout + done.stderr
    assert trtbuild("pull", url, tmp_path / "out").returncode == 0


@pytest.mark.slow
def test_serve_takes_the_url(repo: Path, home: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/chat"
    cache = home / "cache/pulled"

    def served() -> Path:
        said = ran("serve", url, "--mode", "docker", "--dry-run")["command"]
        return next(path for path in cache.glob("*/*") if str(path) in said)

    ran("push", repo, url)
    first = served()
    assert pulled(first) == snapshot(repo) and served() == first
    (repo / "one/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    ran("push", repo, url)
    assert pulled(served()) == snapshot(repo)
    assert first.exists()  # a server may be starting on it
    os.utime(first, (0, 0))
    served()
    assert not first.exists()  # no server runs on it


def test_modelpack_is_the_same_layers(oci: Registry, repo: Path, tmp_path: Path) -> None:
    url = f"oci://{oci.address}/acme/chat"
    ran("push", repo, f"{url}:image")
    assert ran("push", repo, f"{url}:pack", "--layout", "modelpack")["sent"] < 6_000
    image, pack = oci.manifest("image"), oci.manifest("pack")
    assert [one["digest"] for one in image["layers"]] == [one["digest"] for one in pack["layers"]]
    assert pack["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    types = {one["mediaType"].partition("model.")[2] for one in pack["layers"]}
    assert types == {"weight.v1.tar", "weight.config.v1.tar"}
    config = json.loads(oci.blobs[pack["config"]["digest"]])
    assert set(config) == {"descriptor", "config", "modelfs"}  # what the specification allows
    assert config["modelfs"]["diffIds"] == [one["digest"] for one in pack["layers"]]
    ran("pull", f"{url}:pack", tmp_path / "out")
    assert pulled(tmp_path / "out") == snapshot(repo)


def test_files_that_are_equal_are_kept_and_fetched_once(tmp_path: Path) -> None:
    repo = write_repository(tmp_path / "repo", "one", "two")
    shutil.copy(repo / "one/1/weights.bin", repo / "two/1/weights.bin")
    lock_repository(repo, "one", "two")
    url, target = f"file://{tmp_path}/store@v1", tmp_path / "out"
    assert ran("push", repo, url)["sent"] < 1.1 * WEIGHTS
    assert ran("pull", url, target)["received"] < 1.1 * WEIGHTS
    assert pulled(target) == snapshot(repo)


def test_a_file_that_changes_during_a_push_is_not_stored(repo: Path, tmp_path: Path) -> None:
    reference = parse(f"file://{tmp_path}/store@v1")
    listed = read(repo)
    weights = repo / "one/1/weights.bin"
    before = weights.read_bytes()
    weights.write_bytes(before[::-1])
    with pytest.raises(BuildError, match="changed while it was read") as found:
        ObjectStores().push(listed, reference)
    assert found.value.where == str(weights)
    sha256 = listed.listing.files["one/1/weights.bin"].sha256
    assert not (tmp_path / "store/blobs/sha256" / sha256).exists()
    weights.write_bytes(before)
    ObjectStores().push(listed, reference)
    assert trtbuild("pull", str(reference), tmp_path / "out").returncode == 0
