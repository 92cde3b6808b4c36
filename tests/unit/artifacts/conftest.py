"""A repository of two models, and places to push it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.artifacts import write_repository
from support.fake_hub import Hub
from support.hub_commits import writable_hub
from support.registry import Registry, registry


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with the models ``one`` and ``two``."""
    return write_repository(tmp_path / "repo", "one", "two")


@pytest.fixture
def oci(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry; nobody waits between attempts, and no credentials of the user are seen."""
    monkeypatch.setattr("trtbuild_artifacts.stores.oci.client._PAUSES", (0.0, 0.0))
    monkeypatch.setattr("trtbuild_artifacts.stores.oci.ranged._PAUSE", 0.0)
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with registry() as found:
        yield found


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without repositories, and an account there."""
    (tmp_path / "hub").mkdir()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret")
    # What large files are sent with if the client has no Xet; that protocol has no double here.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("trtbuild_artifacts.stores.hub._TAG_GAP", 0.0)
    with writable_hub(tmp_path / "hub") as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture(params=["oci", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a tag in an OCI registry, and in a directory."""
    if request.param == "file":
        return lambda tag: f"file://{tmp_path}/store/chat@{tag}"
    found = request.getfixturevalue("oci")
    return lambda tag: f"oci://{found.address}/acme/chat:{tag}"
