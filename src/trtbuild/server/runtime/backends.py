"""The backend directory: copies of the Python backend and of our own Python-based backends.

Copies, because the server refuses a Python-based backend whose ``libtriton_python.so`` is a
symbolic link ("escapes backend directory"). The directory's name contains the digest of its
contents: a newer trtbuild creates a new directory and never runs a stale backend, and a running
server keeps the one it started with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from trtbuild import process
from trtbuild.errors import ServerError
from trtbuild.files import disk_trouble, staged_dir
from trtbuild.resources import template_dir
from trtbuild.server.runtime.facts import Runtime

REINSTALL = "trtbuild runtime install --force"
# Modules of templates/shared by the backend that imports them.
_SHARED: Mapping[str, tuple[str, ...]] = {"vllm": ("request_images.py",)}


def prepare(
    runtime: Runtime,
    *,
    rehearsal: Mapping[str, Path] | None = None,
    echo: Sequence[str] = (),
) -> Path:
    """Return the backend directory of this runtime and this trtbuild, created if it is missing.

    With ``rehearsal`` it also has the stand-ins for TensorRT-LLM: the backends given by name and
    directory, and packages next to the stub's own module, where the stub's isolated Python looks
    for imports. Each backend of ``echo`` is replaced by one that answers with the tensors of the
    configuration.

    Raises:
        ServerError: A file of the runtime is missing, or the stub would not start.
    """
    sources = _sources(runtime)
    if rehearsal is not None:
        sources |= _stand_ins(rehearsal)
    if echo:
        model = template_dir("standins") / "echo" / "model.py"
        sources |= {f"{name}/model.py": model for name in echo}
    stem = "backends" if rehearsal is None else "rehearsal"
    folder = runtime.root / f"{stem}-{_digest(sources, runtime.root)}"
    if not folder.is_dir():
        with disk_trouble(folder.parent), staged_dir(folder) as staged:
            _copy(sources, staged)
            check_stub(staged / "python" / runtime.stub.name, runtime)
    return folder


def _sources(runtime: Runtime) -> dict[str, Path]:
    """Return the files to copy, by path in the backend directory."""
    python = runtime.server_home / "backends" / "python"
    parts = ("libtriton_python.so", "triton_python_backend_utils.py")
    sources = {f"python/{name}": python / name for name in parts}
    sources[f"python/{runtime.stub.name}"] = runtime.stub
    for path in sources.values():
        if not path.is_file():
            raise broken(f"{path} is missing", runtime.root)
    return sources | _python_based(template_dir("backends"))


def _stand_ins(backends: Mapping[str, Path]) -> dict[str, Path]:
    packages = _files(template_dir("rehearsal", "llmapi"))
    guard = template_dir("backends") / "vllm" / "backend_guard.py"
    found = {f"python/{name}": path for name, path in packages.items()}
    for backend, folder in backends.items():
        found |= {f"{backend}/{name}": path for name, path in _files(folder).items()}
        found[f"{backend}/standin_guard.py"] = guard
    return found


def _python_based(folder: Path) -> dict[str, Path]:
    """Return the files of each backend that is a directory with a ``model.py``."""
    found = {
        f"{model.parent.name}/{name}": path
        for model in sorted(folder.glob("*/model.py"))
        for name, path in _files(model.parent).items()
    }
    for backend, names in _SHARED.items():
        found |= {f"{backend}/{name}": template_dir("shared", name) for name in names}
    return found


def _files(folder: Path) -> dict[str, Path]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if "__pycache__" not in path.parts
    }


def _digest(sources: dict[str, Path], root: Path) -> str:
    """Return the digest of our files' bytes and the names of the wheel's pinned files."""
    digest = hashlib.sha256()
    for name, path in sources.items():
        digest.update(name.encode() + b"\0")
        if not path.is_relative_to(root):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _copy(sources: dict[str, Path], folder: Path) -> None:
    for name, path in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "python" / "triton_python_backend_stub").chmod(0o755)


def check_stub(stub: Path, runtime: Runtime) -> None:
    """Raise ServerError if a library of the stub is missing.

    A stub that cannot start makes the server hang for minutes, so this is checked first.
    """
    answer = process.run(["ldd", str(stub)], timeout=30, env=stub_environment(runtime))
    if answer.returncode == 127:
        return  # no ldd (a slim container); the timeout of the start still applies
    missing = [line.strip() for line in f"{answer.stdout}{answer.stderr}".splitlines()]
    missing = [line for line in missing if "not found" in line]
    if not missing and answer.ok:
        return
    version = ".".join(runtime.interpreter.version.split(".")[:2])
    needs_python = any("libpython" in line for line in missing)
    raise ServerError(
        "the server's Python stub cannot start: a library is missing",
        where=str(stub),
        fix=f"install the shared libpython (Debian, Ubuntu: apt install libpython{version}), or "
        "use a Python built with --enable-shared"
        if needs_python
        else f"run `{REINSTALL}`",
        details=tuple(missing) or ((answer.stderr or answer.stdout).strip(),),
    )


def stub_environment(runtime: Runtime) -> dict[str, str]:
    """Return the variables with which server and stub find their libraries and their venv."""
    return {
        "PATH": f"{runtime.root / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": runtime.library_path,
    }


def broken(reason: str, root: Path) -> ServerError:
    """Return the error for a runtime with missing files."""
    return ServerError(
        f"the embedded runtime is broken: {reason}", where=str(root), fix=f"run `{REINSTALL}`"
    )
