"""Two pushes at the same time, tags that are moved meanwhile, and stores whose files changed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from support.artifacts import CONFIG, lock_repository, write_repository
from support.command_line import trtbuild
from support.fake_hub import Hub
from support.registry import Registry
from trtbuild.errors import BuildError
from trtbuild_artifacts.contents import read
from trtbuild_artifacts.listing import LISTING_NAME, parse
from trtbuild_artifacts.reference import parse as reference
from trtbuild_artifacts.stores.bucket import Bucket
from trtbuild_artifacts.stores.hub import HubStore

SMALL = 1000


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository whose weights are small."""
    return write_repository(tmp_path / "repo", "one", "two", weights=SMALL)


def edit(repo: Path, text: str) -> None:
    """Change the configuration of a model."""
    (repo / "one/config.pbtxt").write_text(f"{CONFIG}# {text}\n")
    lock_repository(repo, "one", "two")


def test_a_push_to_the_hub_between_ours_and_its_commit(
    hub: Hub, small: Path, tmp_path: Path
) -> None:
    url, target = "hf://acme/chat@v1", tmp_path / "out"
    assert trtbuild("push", small, url).returncode == 0
    other = write_repository(tmp_path / "other", "two", "three", weights=SMALL)
    edit(small, "ours")

    hub.before_commit.append(lambda: HubStore().push(read(other), reference("hf://acme/chat@x")))
    done = trtbuild("push", small, url)
    assert done.returncode == 0, done.stderr
    for tag, models in (("v1", ["one", "two"]), ("x", ["three", "two"])):
        done = trtbuild("pull", f"hf://acme/chat@{tag}", target, "--json", "--force")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["models"] == models
        commit = hub.repos["acme/chat"].refs[tag]
        listing = parse((tmp_path / "hub" / commit / LISTING_NAME).read_bytes(), tag)
        there = {str(p.relative_to(tmp_path / "hub" / commit))
                 for p in (tmp_path / "hub" / commit).rglob("*") if p.is_file()}  # fmt: skip
        assert there == {*listing.files, LISTING_NAME, ".gitattributes"}

    refs = hub.repos["acme/chat"].refs
    before = dict(refs)
    assert trtbuild("push", small, url).returncode == 0  # nothing to commit
    assert refs == before

    def meanwhile() -> None:
        newer = f"{refs['main'][:-1]}{len(hub.before_commit)}"
        shutil.copytree(tmp_path / "hub" / refs["main"], tmp_path / "hub" / newer)
        refs["main"] = newer

    hub.before_commit += [meanwhile] * 3
    edit(small, "late")
    done = trtbuild("push", small, url)
    assert done.returncode == 5 and "others push to acme/chat at the same time" in done.stderr


def test_a_tag_of_the_hub_that_cannot_be_made_anew_stays(
    hub: Hub, small: Path, tmp_path: Path
) -> None:
    url = "hf://acme/chat@v1"
    assert trtbuild("push", small, url).returncode == 0
    refs = hub.repos["acme/chat"].refs
    first = refs["v1"]
    edit(small, "second")
    hub.tag_faults.append(400)
    done = trtbuild("push", small, url)
    assert done.returncode == 5 and "HTTP 400" in done.stderr
    assert refs["v1"] == first != refs["main"]
    assert trtbuild("push", small, url).returncode == 0
    assert refs["v1"] == refs["main"]
    sent = len(hub.log)
    assert (
        trtbuild("tag", "hf://acme/chat", "--alias", "v1").returncode == 0
    )  # it means that already
    assert not any(method == "DELETE" for method, _, _ in hub.log[sent:])


def test_a_file_that_was_changed_in_the_store_is_sent_again(small: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/chat@v1"
    assert trtbuild("push", small, url).returncode == 0
    blobs = (tmp_path / "store/chat/blobs/sha256").iterdir()
    damaged = next(one for one in blobs if one.stat().st_size == SMALL)
    damaged.unlink()
    damaged.write_bytes(bytes(SMALL))
    assert "files are damaged" in trtbuild("pull", url, tmp_path / "out").stderr
    sent = json.loads(trtbuild("push", small, url, "--json").stdout)["sent"]
    assert SMALL < sent < 2 * SMALL + 4000
    assert trtbuild("pull", url, tmp_path / "out").returncode == 0


def test_a_tag_that_was_moved_meanwhile_is_not_moved_again(tmp_path: Path) -> None:
    where = reference(f"file://{tmp_path}/store@v1")
    ours, theirs = Bucket(where, create=True), Bucket(where)
    digests = [f"sha256:{str(number) * 64}" for number in range(3)]
    before = ours.at("tags/v1")
    theirs.point("v1", digests[0], theirs.at("tags/v1"))
    with pytest.raises(BuildError, match="moved by somebody else") as caught:
        ours.point("v1", digests[1], before)
    assert digests[0] in caught.value.details[0] and digests[1] in (caught.value.fix or "")
    ours.point("v1", digests[0], before)  # both mean the same
    before = ours.at("tags/v1")
    theirs.point("v1", digests[2], theirs.at("tags/v1"))
    with pytest.raises(BuildError, match="moved by somebody else"):
        ours.point("v1", digests[1], before)
    assert theirs.tagged(where) == digests[2]


def test_an_endless_error_of_a_registry(oci: Registry, small: Path) -> None:
    oci.endless = True
    done = trtbuild("push", small, f"oci://{oci.address}/acme/chat:v1")
    assert done.returncode == 5 and "HTTP 400" in done.stderr


class Server:
    """MLflow's client, as far as a push calls it before its files are logged."""

    ended: ClassVar[list[tuple[str, str]]] = []

    def create_registered_model(self, name: str) -> None: ...

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1")

    def create_run(self, experiment: str, run_name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id="r1", artifact_uri="x:/"))

    def log_param(self, run: str, key: str, value: str) -> None: ...

    def log_artifact(self, run: str, file: str, folder: str) -> None:
        raise OSError("the disk of the server is full")

    def set_terminated(self, run: str, status: str = "FINISHED") -> None:
        self.ended.append((run, status))


def test_a_failed_push_ends_its_run(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.exceptions")}
    vars(modules["mlflow"])["MlflowClient"] = Server
    for name in ("MlflowException", "RestException"):
        vars(modules["mlflow.exceptions"])[name] = type(name, (Exception,), {})
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(Server, "ended", [])
    done = trtbuild("push", small, "mlflow:chat")
    assert done.returncode == 5 and "the disk of the server is full" in done.stderr
    assert Server.ended == [("r1", "FAILED")]
