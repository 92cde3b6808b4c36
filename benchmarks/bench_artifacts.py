"""Push and pull of a large repository, as a multiple of hashing and copying its files.

    python benchmarks/bench_artifacts.py [--megabytes 500]

To a directory, and to Docker's own registry on this machine (Debian's package docker-registry is
downloaded if it is not on the PATH). The lower bound is what no store can avoid:
SHA-256 of every byte
and one copy, in the same run, in one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.artifacts import CONFIG, lock_repository, write_repository
from support.debian import program
from support.waiting import wait_for
from trtbuild.process import free_ports, port_is_free
from trtbuild_artifacts.jobs.pulling import pull
from trtbuild_artifacts.jobs.pushing import push

MODELS = ("one", "two")


@contextlib.contextmanager
def places(folder: Path) -> Iterator[dict[str, str]]:
    """The URLs by name."""
    (port,) = free_ports(1)
    (folder / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder / 'kept'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    command = [program("docker-registry", "docker-registry"), "serve", folder / "registry.yml"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as child:
        try:
            wait_for(lambda: not port_is_free(port))
            yield {
                "directory": f"file://{folder}/store/chat@v1",
                "OCI registry": f"oci://127.0.0.1:{port}/acme/chat:v1",
            }
        finally:
            child.terminate()


def lower_bound(repo: Path, target: Path) -> None:
    """Hash and copy every file."""
    for path in sorted(one for one in repo.rglob("*") if one.is_file()):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
        target.mkdir(exist_ok=True)
        shutil.copyfile(path, target / str(path.relative_to(repo)).replace("/", "_"))


def took(act: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measure(url: str, repo: Path, folder: Path) -> list[float]:
    """Return the seconds of: the first push, one with a changed configuration, a pull into a new
    directory, and one into a directory that lacks the change."""
    target = folder / "out"
    write(repo, "")
    found = [took(lambda: push(repo, url))]
    pull(url, folder / "older")
    write(repo, "# newer\n")
    found.append(took(lambda: push(repo, url)))
    found += [took(lambda place=place: pull(url, place)) for place in (target, folder / "older")]
    for used in (target, folder / "older"):
        shutil.rmtree(used)
    return found


def write(repo: Path, more: str) -> None:
    """Give a model another configuration."""
    (repo / "one/config.pbtxt").write_text(CONFIG + more)
    lock_repository(repo, *MODELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repo = write_repository(
            folder / "repo", *MODELS, weights=given.megabytes * 1_000_000 // len(MODELS)
        )
        print("| store | push | push, configuration changed | pull | pull of the change | bound |")
        print("|---|---|---|---|---|---|")
        with places(folder) as urls:
            for store, url in urls.items():
                base = took(lambda: lower_bound(repo, folder / "copy"))
                shutil.rmtree(folder / "copy")
                ratios = " | ".join(f"{one / base:.2f}" for one in measure(url, repo, folder))
                print(f"| {store} | {ratios} | {base:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
