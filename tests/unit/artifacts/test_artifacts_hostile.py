"""Registries and servers that lie about sizes, addresses and digests."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.artifacts import write_repository
from trtbuild.errors import BuildError, RepositoryError, UsageError
from trtbuild.progress import SILENT
from trtbuild_artifacts import listing
from trtbuild_artifacts.contents import read
from trtbuild_artifacts.reference import parse
from trtbuild_artifacts.stores.hub import HubStore
from trtbuild_artifacts.stores.model_registry import ModelRegistry, _reason
from trtbuild_artifacts.stores.oci import image
from trtbuild_artifacts.stores.oci.client import Registry as Client
from trtbuild_artifacts.stores.oci.layers import digests_of, layers_of, members_of


def test_a_link_to_a_directory_is_not_left_out_silently(repo: Path) -> None:
    (repo / "one/1/shared").symlink_to("../../two/1")
    with pytest.raises(RepositoryError, match="'one/1/shared' is a link to a directory"):
        read(repo)


def headed(size: int, **pax: str) -> bytes:
    """A layer whose header lies."""
    info = tarfile.TarInfo(f"models/{listing.LISTING_NAME}")
    info.size, info.pax_headers = size, pax
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + bytes(2048)


@pytest.mark.parametrize(
    "layer",
    [headed(-512), headed(-1024), headed(0, **{"GNU.sparse.map": "x"})],
)
def test_headers_that_lie(layer: bytes) -> None:
    with pytest.raises((BuildError, RepositoryError)):
        list(members_of(io.BytesIO(layer), listing.Listing({}, {}), "here"))


def test_headers_of_headers_end() -> None:
    more = tarfile.TarInfo.create_pax_global_header({"a": "b"}) * 1500
    with pytest.raises(BuildError, match="damaged"):
        list(members_of(io.BytesIO(more + headed(0)), listing.Listing({}, {}), "here"))


@pytest.mark.parametrize(
    ("name", "value"), [("size", math.inf), ("digest", "sha256:../../other/blobs/x")]
)
def test_manifests_that_lie(tmp_path: Path, name: str, value: Any) -> None:
    contents = read(write_repository(tmp_path / "repo", "one", weights=10))
    layers = layers_of(contents)
    digests = digests_of(layers, SILENT)
    made = image.manifest(image.IMAGE, contents.listing, layers, digests, b"{}")
    assert image.parse(made, "here")
    manifest = json.loads(made)
    manifest["layers"][0][name] = value
    with pytest.raises(UsageError, match="was not made by trtbuild push"):
        image.parse(json.dumps(manifest).encode(), "here")


def over_https(answers: Callable[[httpx.Request], httpx.Response]) -> Client:
    """A client that knows a token of a registry, whose answers are given."""
    client = Client(parse("oci://registry.example/a/b:v1"))
    client._http = httpx.Client(transport=httpx.MockTransport(answers))
    client._authorization = "Bearer s3cret"
    return client


@pytest.mark.parametrize("location", ["http://registry.example/up", "http://[", "ftp://other/"])
def test_an_upload_stays_encrypted(location: str) -> None:
    asked: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(202, headers={"Location": location})

    with pytest.raises(BuildError, match="which others could read"):
        over_https(answers).put_blob(f"sha256:{'0' * 64}", 1, lambda: iter((b"x",)))
    assert [str(one.url) for one in asked] == ["https://registry.example/v2/a/b/blobs/uploads/"]


@pytest.mark.parametrize("realm", ["http://[", "http://other.example/token"])
def test_a_realm_gets_no_credentials_unless_it_is_encrypted(
    realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"auths": {"registry.example": {"auth": "YTpi"}}}')
    with pytest.raises(BuildError, match="refuses access"):
        over_https(answers).has_blob(f"sha256:{'0' * 64}")
    assert set(asked) == {"registry.example"}


def test_an_answer_with_a_token_may_be_nested_without_end() -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(200, content=b"[" * 200_000)
        head = {"WWW-Authenticate": 'Bearer realm="https://registry.example/token"'}
        return httpx.Response(401, headers=head)

    with pytest.raises(BuildError, match="refuses access"):
        over_https(answers).has_blob(f"sha256:{'0' * 64}")


@pytest.mark.parametrize("place", ["hf://acme/chat", "mlflow:chat"])
def test_a_digest_is_refused_where_the_store_has_none(place: str) -> None:
    store = HubStore() if place.startswith("hf") else ModelRegistry()
    with pytest.raises(UsageError, match="have no digest"):
        store.resolve(parse(f"{place}@sha256:{'0' * 64}"))


def test_a_message_of_mlflow_has_no_password() -> None:
    error = ValueError("API request to http://me:s3cret@mlflow:5000/api failed\nmore")
    assert _reason(error) == "API request to http://mlflow:5000/api failed"
