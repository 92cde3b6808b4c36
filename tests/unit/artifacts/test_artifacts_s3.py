"""The same over S3's API, which a server of this process speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from support.artifacts import CONFIG, WEIGHTS, lock_repository
from support.command_line import trtbuild
from trtbuild.errors import BuildError
from trtbuild_artifacts.reference import parse
from trtbuild_artifacts.stores.bucket import Bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server with the empty bucket ``models``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    pyarrow.fs.S3FileSystem(endpoint_override=url, allow_bucket_creation=True).create_dir("models")
    yield server
    server.stop()


@pytest.mark.slow
def test_a_repository_in_a_bucket(
    bucket: Any, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild_artifacts.stores.bucket._RETRIES", 0)
    url, target = "s3://models/chat@v1", tmp_path / "out"
    assert trtbuild("push", repo, url).returncode == 0
    assert trtbuild("tag", url, "--alias", "production").returncode == 0
    assert trtbuild("pull", "s3://models/chat@production", target).returncode == 0

    (repo / "two/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    pushed = trtbuild("push", repo, url, "--json")
    assert json.loads(pushed.stdout)["sent"] < 10_000
    pulled = trtbuild("pull", url, target, "--json")
    assert json.loads(pulled.stdout)["reused"] >= 2 * WEIGHTS
    assert (target / "two/config.pbtxt").read_bytes() == (repo / "two/config.pbtxt").read_bytes()

    assert "s3://models/chat@v9 does not exist" in trtbuild("pull", f"{url[:-1]}9", target).stderr
    before = Bucket(parse(url)).at("tags/v1")
    assert trtbuild("tag", "s3://models/chat@production", "--alias", "v1").returncode == 0
    with pytest.raises(BuildError, match="moved by somebody else"):
        Bucket(parse(url)).point("v1", f"sha256:{'1' * 64}", before)
    with pytest.raises(BuildError, match="the tag v1 cannot be moved safely"):
        Bucket(parse(url)).point("v1", f"sha256:{'1' * 64}", {})  # of a store without them
    bucket.stop()
    gone = trtbuild("pull", url, target)
    assert gone.returncode == 5 and "s3://models/chat cannot be reached" in gone.stderr
    assert "s3cret" not in gone.stderr
