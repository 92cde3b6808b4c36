"""Install, find, check and remove the embedded runtime."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from trtbuild import process
from trtbuild.errors import BuildError, ServerError
from trtbuild.files import atomic_write, disk_trouble, exclusive
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import cache_dir
from trtbuild.server.runtime import backends, facts, pip
from trtbuild.server.runtime.facts import Interpreter, Runtime, Variant
from trtbuild.server.runtime.inspection import INCOMPLETE, READY, RuntimeStatus, describe

_LOG_NAME = "install.log"


def ensure(progress: Progress = SILENT, *, vllm: bool = True, torch_index: str = "") -> Runtime:
    """Return a working runtime: the installed one, or a new one.

    Args:
        vllm: Whether models need vLLM; otherwise a light runtime is enough.
        torch_index: Package index for torch, see :func:`pip.torch_arguments`.

    Raises:
        UnsupportedError: This machine cannot run it.
        BuildError: It could not be installed.
        ServerError: It is installed, but broken.
    """
    facts.require_platform()
    interpreter = facts.find_interpreter()
    wanted: tuple[Variant, ...] = ("full",) if vllm else ("light", "full")
    for variant in reversed(wanted):
        found = describe(variant, interpreter)
        if found.state == "broken":
            raise backends.broken(found.reason, found.path)
        if found.state == "ready":
            return _opened(variant, interpreter)
    return install(wanted[0], torch_index=torch_index, progress=progress)


def planned(*, vllm: bool = True) -> Runtime:
    """Return the runtime that :func:`ensure` would return, without installing or checking it."""
    interpreter = facts.find_interpreter()
    variant: Variant = "full"
    if not vllm and describe("full", interpreter).state != "ready":
        variant = "light"
    root = facts.runtime_root(variant, interpreter.tag)
    found = sorted(root.glob("backends-*"))
    return Runtime(root, variant, interpreter, found[-1] if found else root / "backends")


def rehearsal_backends(
    runtime: Runtime,
    stand_ins: Mapping[str, Path],
    *,
    echo: Sequence[str] = (),
    dry_run: bool = False,
) -> Path:
    """Return the backend directory with stand-ins for TensorRT-LLM and for whole backends, and an
    echo for each backend of ``echo``; created unless ``dry_run``."""
    if dry_run:
        found = sorted(runtime.root.glob("rehearsal-*"))
        return found[-1] if found else runtime.root / "rehearsal"
    return backends.prepare(runtime, rehearsal=stand_ins, echo=echo)


def status(variants: Sequence[Variant] = facts.SERVERS) -> tuple[RuntimeStatus, ...]:
    """Return the state of these variants for this Python, installed or not."""
    interpreter = facts.find_interpreter()
    return tuple(describe(variant, interpreter) for variant in variants)


def install(
    variant: Variant = "full",
    *,
    force: bool = False,
    torch_index: str = "",
    progress: Progress = SILENT,
) -> Runtime:
    """Install ``variant`` if it is missing; ``force`` reinstalls it.

    A venv cannot be moved, so it is created in place with a marker that only a finished
    installation removes; the next one deletes what an interrupted one left. Concurrent
    processes wait for one another.
    """
    if variant in facts.SERVERS:
        facts.require_platform()
    interpreter = facts.find_interpreter()
    root = facts.runtime_root(variant, interpreter.tag)
    with _alone(root.parent, progress):
        state = describe(variant, interpreter).state
        if state != "ready" or force:
            if force:
                _refuse_if_used(root)
            _make(variant, interpreter, root, torch_index, progress)
    return _opened(variant, interpreter)


def remove() -> tuple[Path, ...]:
    """Remove every runtime from the cache, those of old pins too; return what was removed.

    Raises:
        ServerError: A server is running from one of them.
    """
    home = cache_dir("runtime")
    if not home.is_dir():
        return ()
    with _alone(home, SILENT):
        found = [path for path in sorted(home.iterdir()) if path.is_dir()]
        for root in found:
            _refuse_if_used(root)
        for root in found:
            _discard(root)
    return tuple(found)


@contextmanager
def _alone(home: Path, progress: Progress) -> Iterator[None]:
    with disk_trouble(home):
        home.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step("waiting for another trtbuild that is installing the runtime")

    with exclusive(home, waiting=waiting):
        yield


def _refuse_if_used(root: Path) -> None:
    if users := process.running_from(root):
        raise ServerError(
            f"a server is running from this runtime (pid {users[0]})",
            where=str(root),
            fix="stop it first: trtbuild stop --all",
        )


def _make(
    variant: Variant, interpreter: Interpreter, root: Path, torch_index: str, progress: Progress
) -> None:
    began = time.monotonic()
    _discard(root)
    _require_space(root, variant)
    with disk_trouble(root):
        root.mkdir(parents=True)
        (root / INCOMPLETE).touch()
    log_path = root / _LOG_NAME
    runtime = Runtime(root, variant, interpreter)
    _create_venv(runtime, log_path, progress)
    for name in facts.LOCKS[variant]:
        _install_lock(runtime, name, torch_index, log_path, progress)
    if variant in facts.SERVERS:
        progress.step("checking the server")
        backends.prepare(runtime)
    record = {
        "version": 1,
        "variant": variant,
        "python": interpreter.version,
        "packages": sorted(facts.pins(variant)),
        "entries": sorted(path.name for path in runtime.site_packages.iterdir()),
        "size_bytes": _size(root),
        "seconds": round(time.monotonic() - began, 1),
    }
    with disk_trouble(root):
        atomic_write(root / READY, json.dumps(record, indent=1).encode())
        (root / INCOMPLETE).unlink()


def _require_space(root: Path, variant: Variant) -> None:
    needed, folder = facts.NEEDED_BYTES[variant], root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        gib = 1 << 30
        raise BuildError(
            f"the runtime needs {needed / gib:.1f} GiB, but {free / gib:.1f} GiB are free",
            where=str(folder),
            fix="free space, or set TRTBUILD_CACHE_DIR to a directory on another disk",
        )


def _create_venv(runtime: Runtime, log_path: Path, progress: Progress) -> None:
    progress.step(f"making an environment with Python {runtime.interpreter.version}")
    lines: list[str] = []
    code = process.run_lines(
        [str(runtime.interpreter.executable), "-I", "-m", "venv", str(runtime.root)],
        on_line=lines.append,
        log_path=log_path,
    )
    if code:
        raise pip.failure("\n".join(lines), (lines or ["venv failed"])[-1], log_path)


def _install_lock(
    runtime: Runtime, name: str, torch_index: str, log_path: Path, progress: Progress
) -> None:
    """Install one lock file. All packages are pinned, so no file needs a resolver."""
    text = facts.wanted(name, runtime.variant)
    pinned = [line for line in text.splitlines() if line and not line.startswith("#")]
    if name == "torch.txt":
        arguments = pip.torch_arguments(runtime.python, pinned[0], torch_index, progress)
    with tempfile.TemporaryDirectory(prefix="trtbuild-") as folder:
        if name != "torch.txt":
            lock = Path(folder) / name
            lock.write_text(text, encoding="utf-8")
            arguments = ["--requirement", str(lock)]
        what = pinned[0] if len(pinned) < 3 else f"{len(pinned)} packages"
        progress.step(f"installing {what}")
        pip.install(
            runtime.python, arguments, total=len(pinned), log_path=log_path, progress=progress
        )


def _opened(variant: Variant, interpreter: Interpreter) -> Runtime:
    root = facts.runtime_root(variant, interpreter.tag)
    runtime = Runtime(root, variant, interpreter)
    if variant not in facts.SERVERS:
        return runtime
    return replace(runtime, backends=backends.prepare(runtime))


def _size(root: Path) -> int:
    return sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())


def _discard(root: Path) -> None:
    """Remove a runtime so that an interruption leaves it marked as incomplete."""
    if root.exists():
        with disk_trouble(root):
            (root / INCOMPLETE).touch()
            shutil.rmtree(root)
