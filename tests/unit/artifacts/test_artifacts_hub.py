"""The Hugging Face hub, played on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.artifacts import CONFIG, WEIGHTS, lock_repository
from support.command_line import trtbuild
from support.fake_hub import Hub
from support.trees import snapshot
from trtbuild_artifacts.listing import LISTING_NAME
from trtbuild_artifacts.stores.hub import HubRemote


@pytest.mark.slow
def test_commits_and_tags(hub: Hub, repo: Path, tmp_path: Path) -> None:
    url, target = "hf://acme/chat@v1", tmp_path / "out"
    pushed = trtbuild("push", repo, url, "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["sent"] > 2 * WEIGHTS
    first = snapshot(repo)
    assert trtbuild("tag", url, "--alias", "production").returncode == 0
    (repo / "one/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    again = json.loads(trtbuild("push", repo, url, "--json").stdout)
    assert again["sent"] < 10_000 and again["present"] >= 2 * WEIGHTS
    assert sum(path.startswith("/put/") for _, path, _ in hub.log) == 2

    for tag, wanted in (("production", first), ("v1", snapshot(repo))):
        done = trtbuild("pull", f"hf://acme/chat@{tag}", target, "--json")
        assert done.returncode == 0, done.stderr
        found = snapshot(target)
        assert found.pop(LISTING_NAME) and found == wanted
    assert json.loads(done.stdout)["version"] == again["version"]
    assert "hf_s3cret" in hub.tokens and "hf_s3cret" not in done.stderr + pushed.stderr


def test_what_the_hub_has_not(
    hub: Hub, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trtbuild("push", repo, "hf://acme/chat").returncode == 0
    (hub.repos["acme/chat"].folder / LISTING_NAME).unlink()
    for url, code, says in (
        ("hf://acme/chat@v9", 2, "has no revision 'v9'"),
        ("hf://acme/other", 2, "the hub knows no acme/other"),
        ("hf://chat", 2, "is not a repository of the hub"),
        ("hf://acme/chat", 2, "was not made by trtbuild push"),
    ):
        done = trtbuild("pull", url, tmp_path / "out")
        assert done.returncode == code and says in done.stderr, done.stderr
    download = HubRemote._download
    with monkeypatch.context() as patched:

        def broken(remote: HubRemote, path: str, folder: Path) -> Path:
            hub.status = 400
            return download(remote, path, folder)

        patched.setattr(HubRemote, "_download", broken)
        done = trtbuild("pull", "hf://acme/chat", tmp_path / "out")
    assert done.returncode == 5 and "the hub answers HTTP 400" in done.stderr, done.stderr
    hub.status = 403
    done = trtbuild("push", repo, "hf://acme/chat")
    assert done.returncode == 5 and "refuses" in done.stderr, done.stderr
