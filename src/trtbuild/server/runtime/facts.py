"""An embedded runtime, its location, and the platforms that support it."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trtbuild import process
from trtbuild.errors import UnsupportedError
from trtbuild.resources import cache_dir, data_file

Variant = Literal["full", "light", "modelopt", "export"]
State = Literal["missing", "incomplete", "broken", "ready"]

LOCKS: Mapping[Variant, tuple[str, ...]] = {
    "full": ("torch.txt", "requirements.txt", "wheels.txt"),
    "light": ("light.txt", "wheels.txt"),
    "modelopt": ("torch.txt", "modelopt.txt"),
    "export": ("torch.txt", "export.txt"),
}
SERVERS: tuple[Variant, ...] = ("full", "light")
"""The variants that serve; ``modelopt`` quantizes, and ``export`` writes ONNX graphs."""
# Measured on Linux x86_64, with room for pip's own temporary files.
NEEDED_BYTES: Mapping[Variant, int] = {
    "full": 4 << 30,
    "light": 700 << 20,
    "modelopt": 3 << 30,
    "export": 3 << 30,
}

# The server's Python stub needs numpy below 2, whose last wheels are for Python 3.12.
PYTHONS = ((3, 11), (3, 12))
_GLIBC = (2, 35)

_PROBE = """
import json, sys, sysconfig
try:
    import ensurepip, venv
    problem = ""
except ImportError as error:
    problem = str(error)
print(json.dumps({
    "version": sys.version.split()[0],
    "libdir": sysconfig.get_config_var("LIBDIR") or "",
    "implementation": sys.implementation.name,
    "problem": problem,
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that supports a runtime. ``libdir`` holds its shared libpython."""

    executable: Path
    version: str
    libdir: str

    @property
    def tag(self) -> str:
        """Its wheel tag, such as ``cp311``."""
        major, minor = self.version.split(".")[:2]
        return f"cp{major}{minor}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """An environment with the pinned server (and vLLM in the full variant), or with a tool.

    Attributes:
        root: Its directory in the cache.
        variant: ``light`` has the server and a client, but neither torch nor vLLM; ``modelopt``
            and ``export`` have no server, but torch, transformers and their tool.
        interpreter: The Python of its venv.
        backends: The backend directory for ``--backend-directory``; empty path until ready.
    """

    root: Path
    variant: Variant
    interpreter: Interpreter
    backends: Path = field(default_factory=Path)

    @property
    def python(self) -> Path:
        """The Python of the environment."""
        return self.root / "bin" / "python3"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        version = ".".join(self.interpreter.version.split(".")[:2])
        return self.root / "lib" / f"python{version}" / "site-packages"

    @property
    def server_home(self) -> Path:
        """The directory of the server inside its wheel."""
        return self.site_packages / "pytriton" / "tritonserver"

    @property
    def tritonserver(self) -> Path:
        """The server's binary."""
        return self.server_home / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """The directory of response cache implementations."""
        return self.server_home / "caches"

    @property
    def stub(self) -> Path:
        """The wheel's Python stub for this Python version."""
        version = ".".join(self.interpreter.version.split(".")[:2])
        return self.server_home / "python_backend_stubs" / version / "triton_python_backend_stub"

    @property
    def library_path(self) -> str:
        """``LD_LIBRARY_PATH``: a copied stub loses its RPATH, and would load another libpython
        without LIBDIR."""
        libraries = self.site_packages / "nvidia_pytriton.libs"
        return ":".join(part for part in (self.interpreter.libdir, str(libraries)) if part)


def unsupported_platform() -> str:
    """Return why the embedded server cannot run on this machine; ``""`` if it can."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        return f"the embedded server exists for Linux x86_64 only, this is {system} {machine}"
    name, version = platform.libc_ver()
    if name != "glibc":
        return "the embedded server needs glibc, this system has another C library"
    if tuple(int(part) for part in version.split(".")[:2]) < _GLIBC:
        return f"the embedded server needs glibc 2.35 or newer, this system has {version}"
    return ""


def require_platform() -> None:
    """Raise UnsupportedError if the embedded server cannot run here."""
    if reason := unsupported_platform():
        raise UnsupportedError(
            reason,
            fix="use --mode docker, or --mode local inside NVIDIA's Triton container",
        )


def find_interpreter() -> Interpreter:
    """Return the running Python if it supports the runtime, else the first on PATH that does.

    Raises:
        UnsupportedError: None does; the error has the reason for each.
    """
    reasons = []
    names = [f"python{major}.{minor}" for major, minor in reversed(PYTHONS)]
    found = [sys.executable, *filter(None, map(shutil.which, names))]
    for executable in dict.fromkeys(found):
        usable = _probe(Path(executable))
        if isinstance(usable, Interpreter):
            return usable
        reasons.append(f"{executable}: {usable}")
    raise UnsupportedError(
        "no Python on this machine can run the embedded server",
        fix="install Python 3.11 or 3.12 with venv (Debian, Ubuntu: apt install python3-venv), "
        "or use --mode docker",
        details=tuple(reasons),
    )


def _probe(executable: Path) -> Interpreter | str:
    """Return this Python's facts, or why it does not support the runtime."""
    answer = process.run([str(executable), "-I", "-c", _PROBE], timeout=30)
    if not answer.ok:
        return (answer.stderr.strip().splitlines() or ["it does not start"])[-1]
    facts = json.loads(answer.stdout)
    version = str(facts["version"])
    if tuple(int(part) for part in version.split(".")[:2]) not in PYTHONS:
        return f"Python {version}; the server's wheels need 3.11 or 3.12 (numpy below 2)"
    if facts["implementation"] != "cpython":
        return f"{facts['implementation']}; the server's Python stub needs CPython"
    if facts["problem"]:
        return f"it cannot make virtual environments ({facts['problem']})"
    return Interpreter(executable, version, str(facts["libdir"]))


def lock_digest(variant: Variant) -> str:
    """Return twelve hex digits that change with any pin of the variant."""
    digest = hashlib.sha256()
    for name in LOCKS[variant]:
        digest.update(name.encode() + b"\0" + lock_text(name).encode())
    return digest.hexdigest()[:12]


def lock_text(name: str) -> str:
    """Return the text of a shipped lock file."""
    return data_file("runtime", name).read_text(encoding="utf-8")


def pins(variant: Variant) -> tuple[str, ...]:
    """Return the requirements that the variant installs, in order."""
    lines = (line for name in LOCKS[variant] for line in wanted(name, variant).splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def wanted(name: str, variant: Variant) -> str:
    """Return a lock file as the variant installs it: the light one has no vLLM wheel."""
    text = lock_text(name)
    if variant != "light":
        return text
    return "".join(line for line in text.splitlines(keepends=True) if "vllm" not in line)


def runtime_root(variant: Variant, tag: str) -> Path:
    """Return the directory of the runtime of these pins and this Python."""
    suffix = "" if variant == "full" else f"-{variant}"
    return cache_dir("runtime", f"{lock_digest(variant)}-{tag}{suffix}")
