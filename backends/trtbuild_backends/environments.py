"""The environment in which an adapter's class is imported: made from a lock, or given."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trtbuild import process
from trtbuild.errors import BuildError, ServerError, UnsupportedError
from trtbuild.files import atomic_write, disk_trouble, exclusive
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import cache_dir
from trtbuild.server.runtime import pip
from trtbuild_backends.registry import AdapterSettings

_PROBE = "import sys, json; print(json.dumps(sys.path))"
_SECONDS = 60.0
_READY = "ready.json"
_LOG = "install.log"
_NEEDS_HASHES = ("--require-hashes", "--only-binary=:all:")


@dataclass(frozen=True)
class Environment:
    """An interpreter, and where its packages are; None: beside the gateway."""

    python: Path
    path: Sequence[str] | None


def environment_for(
    adapter: str,
    settings: AdapterSettings | None,
    *,
    install: bool,
    progress: Progress = SILENT,
) -> Environment:
    """Return the environment of an adapter.

    Args:
        adapter: Its name.
        settings: What the registry says of it; None: it is installed beside the gateway.
        install: Whether one that does not exist may be made.
        progress: Told what happens.

    Raises:
        TrtbuildError: There is none, or it cannot be made.
    """
    if settings is None:
        return Environment(Path(sys.executable), None)
    if settings.lock is None:
        assert settings.python is not None
        return _opened(settings.python)
    text = _allowed(adapter, settings)
    root = _root(text)
    if not (root / _READY).is_file():
        if not install:
            raise UnsupportedError(
                f"the environment of the adapter {adapter!r} has not been made, and the gateway "
                "must not install packages (jit_install: never)",
                where=str(root),
                fix=f"make it beforehand: trtbuild adapters install {adapter} -f REGISTRY",
            )
        _make(root, text, settings, progress)
    return _opened(root / "bin" / "python")


def is_made(adapter: str, settings: AdapterSettings) -> bool:
    """Whether an adapter's environment exists; BuildError if its lock cannot be used."""
    return settings.lock is None or (_root(_allowed(adapter, settings)) / _READY).is_file()


@dataclass(frozen=True)
class Unused:
    """An environment that no lock asks for.

    Attributes:
        path: Its directory.
        size: In bytes.
        in_use: Whether a worker still runs in it; it stays then.
    """

    path: Path
    size: int
    in_use: bool


def prune(
    wanted: Mapping[str, AdapterSettings], *, dry_run: bool, progress: Progress = SILENT
) -> list[Unused]:
    """Remove the environments of this machine that adapters do not need, and return them.

    Args:
        wanted: The adapters whose environments stay.
        dry_run: Whether to remove nothing.
        progress: Told what happens.

    Raises:
        BuildError: A lock is not the one that its registry allows, or the disk refuses.
    """
    kept = {_root(_allowed(name, one)) for name, one in wanted.items() if one.lock is not None}
    folder, found = cache_dir("adapters"), list[Unused]()
    if not folder.is_dir():
        return found

    def waiting() -> None:
        progress.step("waiting for another process that is installing an adapter")

    with exclusive(folder, waiting=waiting), disk_trouble(folder):
        for root in sorted(folder.iterdir()):
            if root in kept or not root.is_dir():
                continue
            progress.step(f"looking at {root}")
            size = sum(file.lstat().st_size for file in root.rglob("*"))
            one = Unused(root, size, in_use=bool(process.running_from(root)))
            found.append(one)
            if not (dry_run or one.in_use):
                (root / _READY).unlink(missing_ok=True)  # half of one must not count as made
                shutil.rmtree(root)
    return found


def _allowed(adapter: str, settings: AdapterSettings) -> str:
    """Return the lock's text; BuildError unless it is the one that the registry allows."""
    assert settings.lock is not None
    try:
        content = settings.lock.read_bytes()
    except OSError as error:
        raise BuildError(
            f"the lock of the adapter {adapter!r} cannot be read: {error.strerror}",
            where=str(settings.lock),
            fix="correct 'lock' in the registry",
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != settings.sha256:
        raise BuildError(
            f"the lock of the adapter {adapter!r} is not the one that the registry allows",
            where=f"{settings.lock}: sha256 {found}",
            fix="restore the lock; if you trust the new one, write its sha256 into the registry",
        )
    return content.decode("utf-8", "replace")


def _root(lock: str) -> Path:
    """Return the directory that only this lock, Python and platform use."""
    what = (lock, sys.version, sys.executable, platform.machine(), platform.libc_ver()[1])
    key = hashlib.sha256("\0".join(what).encode()).hexdigest()[:16]
    return cache_dir("adapters", key)


def _make(root: Path, lock: str, settings: AdapterSettings, progress: Progress) -> None:
    """Make an environment. It counts as made once its record is written, which is last.

    A virtual environment cannot be moved, so it is made in its place; what an interrupted
    installation left is removed by the next.
    """
    with disk_trouble(root):
        root.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step("waiting for another process that is installing an adapter")

    with exclusive(root.parent, waiting=waiting):
        if (root / _READY).is_file():
            return
        began = time.monotonic()
        with disk_trouble(root):
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
        _install(root, lock, settings, progress)
        record = {
            "version": 1,
            "python": sys.version,
            "seconds": round(time.monotonic() - began, 1),
        }
        with disk_trouble(root):
            atomic_write(root / _READY, json.dumps(record, indent=1).encode())


def _install(root: Path, lock: str, settings: AdapterSettings, progress: Progress) -> None:
    log, lines = root / _LOG, list[str]()
    progress.step("making an environment")
    ours = Path(sys.executable) if find_spec("pip") else None  # a copy of its own takes seconds
    argv = [sys.executable, "-I", "-m", "venv", *(["--without-pip"] if ours else []), str(root)]
    code = process.run_lines(argv, on_line=lines.append, log_path=log)
    if code:
        raise pip.failure("\n".join(lines), (lines or ["venv failed"])[-1], log, "the adapter")
    kept = root / "lock.txt"  # the file that was checked: the other may change
    kept.write_text(lock, encoding="utf-8")
    offline = ["--no-index", f"--find-links={settings.wheels}"] if settings.wheels else []
    total = sum("==" in line for line in lock.splitlines())
    progress.step(f"installing {total} packages")
    pip.install(
        root / "bin" / "python",
        [*_NEEDS_HASHES, *offline, "--requirement", str(kept)],
        total=total,
        log_path=log,
        progress=progress,
        what="the adapter",
        by=ours,
    )


def _opened(python: Path) -> Environment:
    asked = process.run([str(python), "-I", "-c", _PROBE], timeout=_SECONDS)
    if not asked.ok:
        raise ServerError(
            f"the adapter's Python does not run: {asked.stderr.strip() or asked.returncode}",
            where=str(python),
            fix="name the interpreter of an environment that works",
        )
    return Environment(python, [entry for entry in json.loads(asked.stdout) if entry])
