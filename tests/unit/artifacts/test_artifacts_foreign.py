"""Programs of others read what was pushed: a registry, skopeo and umoci."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.artifacts import CONFIG, WEIGHTS, lock_repository
from support.command_line import trtbuild
from support.debian import environment, program
from support.trees import snapshot
from support.waiting import wait_for
from trtbuild.process import free_ports, port_is_free
from trtbuild_artifacts.listing import LISTING_NAME

pytestmark = [pytest.mark.nightly, pytest.mark.network]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of Docker's own registry."""
    (port,) = free_ports(1)
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'kept'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    binary = program("docker-registry", "docker-registry")
    command = [str(binary), "serve", str(tmp_path / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        wait_for(lambda: not port_is_free(port))
        yield f"127.0.0.1:{port}"
        child.terminate()


def run(binary: Path, *words: object) -> str:
    """What a program prints."""
    done = subprocess.run(
        [str(binary), *map(str, words)],
        capture_output=True,
        check=False,
        env=environment(binary),
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("layout", ["image", "modelpack"])
def test_other_programs_copy_and_unpack_it(
    layout: str, registry: str, repo: Path, tmp_path: Path
) -> None:
    url = f"oci://{registry}/acme/chat:v1"
    assert trtbuild("push", repo, url, "--layout", layout).returncode == 0
    again = json.loads(trtbuild("push", repo, url, "--layout", layout, "--json").stdout)
    assert again["present"] > 2 * WEIGHTS and again["sent"] < 4000
    skopeo = program("skopeo", "skopeo", "libgpgme11", "libassuan0", "libdevmapper1.02.1")
    plain = ("--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false")
    place = f"oci:{tmp_path}/layout:v1"
    run(skopeo, *plain, f"docker://{registry}/acme/chat:v1", place)
    run(
        skopeo, *plain, "--dest-tls-verify=false", place,
        f"docker://{registry}/other/copy:v2",
    )  # fmt: skip
    pulled = trtbuild("pull", f"oci://{registry}/other/copy:v2", tmp_path / "out", "--json")
    assert json.loads(pulled.stdout)["version"] == again["version"]
    assert trtbuild("tag", url, "--alias", "production").returncode == 0
    (repo / "one/config.pbtxt").write_text(CONFIG + "# newer\n")
    lock_repository(repo, "one", "two")
    assert trtbuild("push", repo, url, "--layout", layout).returncode == 0
    done = trtbuild("pull", url, tmp_path / "out", "--json")
    assert json.loads(done.stdout)["received"] < 20_000


def test_umoci_unpacks_the_same_bytes(registry: str, repo: Path, tmp_path: Path) -> None:
    assert trtbuild("push", repo, f"oci://{registry}/acme/chat:v1").returncode == 0
    skopeo = program("skopeo", "skopeo", "libgpgme11", "libassuan0", "libdevmapper1.02.1")
    run(
        skopeo, "--insecure-policy", "copy", "--src-tls-verify=false",
        f"docker://{registry}/acme/chat:v1", f"oci:{tmp_path}/layout:v1",
    )  # fmt: skip
    umoci = program("umoci", "umoci")
    run(umoci, "unpack", "--rootless", "--image", f"{tmp_path}/layout:v1", tmp_path / "bundle")
    found = snapshot(tmp_path / "bundle/rootfs/models")
    assert found.pop(LISTING_NAME)
    assert found == snapshot(repo)
