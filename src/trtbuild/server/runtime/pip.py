"""Run pip inside a runtime, with progress and with errors that have a fix."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from pathlib import Path

from trtbuild import process
from trtbuild.errors import BuildError
from trtbuild.progress import Progress, counted

CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_INDEX_VARIABLE = "TRTBUILD_TORCH_INDEX"

# The user's pip configuration is respected (indexes, certificates, proxies), except settings
# that would install packages outside the runtime. pip ignores empty values.
_HERE = {"PIP_USER": "0", "PIP_TARGET": "", "PIP_PREFIX": "", "PIP_ROOT": ""}

# pip's messages, and their fixes. The first match wins.
_MENDS = (
    (
        r"No space left on device|Disk quota exceeded",
        "the disk filled up",
        "free space, or set TRTBUILD_CACHE_DIR to a directory on another disk",
    ),
    (
        r"Temporary failure in name resolution|Failed to establish a new connection|"
        r"Network is unreachable|Connection refused|Read timed out|ConnectTimeout|ProxyError",
        "the package index did not answer",
        "check the network, a proxy (HTTPS_PROXY), or name a mirror (PIP_INDEX_URL)",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the package index's certificate was not accepted",
        "point PIP_CERT to your organisation's certificate bundle",
    ),
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES|Hashes are required in --require-hashes mode",
        "a package is not the one that the lock names",
        "ask whoever published it; if it is right, make the lock again",
    ),
    (
        r"No matching distribution found for torch",
        "the package index has no such torch",
        f"name an index that has its CPU build: --torch-index {CPU_TORCH_INDEX}",
    ),
    (
        r"No matching distribution found",
        "the package index lacks a pinned package",
        "name an index that has it (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL), or update trtbuild",
    ),
)


class PipOutput:
    """Reads pip's output: counts packages for the progress, keeps the last lines for an error."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._seen: set[str] = set()
        self.tail: deque[str] = deque(maxlen=40)

    def line(self, text: str) -> None:
        """Read one line of pip's output."""
        self.tail.append(text)
        match = re.match(r"(?:Collecting|Requirement already satisfied:|Processing) (\S+)", text)
        if match:
            self._seen.add(match[1])
            self._progress.advance(min(len(self._seen), self._total), self._total, "packages")
        elif text.startswith("Installing collected packages"):
            self._progress.step(f"unpacking {counted(self._total, 'package')}")

    def reason(self) -> str:
        """Return the last meaningful line."""
        lines = [line for line in self.tail if line and not line.startswith("WARNING")]
        errors = [line for line in lines if line.startswith("ERROR:")]
        return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def command(python: Path, *arguments: str, by: Path | None = None) -> list[str]:
    """Return a pip command line without the variables of the running Python; ``by`` is an
    interpreter with the pip to use, instead of the environment's own."""
    pip = [str(by or python), "-I", "-m", "pip", *(["--python", str(python)] if by else [])]
    head = [*pip, "install", "--no-input", "--no-deps"]
    return [*head, "--disable-pip-version-check", "--progress-bar=off", *arguments]


def install(
    python: Path,
    arguments: list[str],
    *,
    total: int,
    log_path: Path,
    progress: Progress,
    what: str = "the runtime",
    by: Path | None = None,
) -> None:
    """Run ``pip install`` with ``arguments``; BuildError with pip's reason and the log."""
    output = PipOutput(total, progress)
    code = process.run_lines(
        command(python, *arguments, by=by), on_line=output.line, log_path=log_path, env=_HERE
    )
    if code:
        raise failure("\n".join(output.tail), output.reason(), log_path, what)


def failure(text: str, reason: str, log_path: Path, what: str = "the runtime") -> BuildError:
    """Return the error for what pip printed."""
    for pattern, why, fix in _MENDS:
        if re.search(pattern, text):
            return BuildError(
                f"{what} was not installed: {why}",
                where=str(log_path),
                fix=f"{fix}; then try again",
                details=(reason,),
            )
    return BuildError(
        f"{what} was not installed: {reason}",
        where=str(log_path),
        fix="read the log above; then try again",
    )


def torch_arguments(python: Path, requirement: str, index: str, progress: Progress) -> list[str]:
    """Return the arguments that choose where pip gets torch.

    PyPI's torch for Linux is a CUDA build that needs gigabytes of libraries useless on a CPU. An
    index named by the user (``index`` or ``TRTBUILD_TORCH_INDEX``) is used as it is. Otherwise
    pip reports what it would install, and a CUDA build is replaced by that of PyTorch's own CPU
    index.
    """
    index = index or os.environ.get(TORCH_INDEX_VARIABLE, "")
    if not index:
        progress.step("asking the package index for its build of torch")
        ask = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-", requirement]
        answer = process.run(command(python, *ask), timeout=900, env=_HERE)
        if not answer.ok or brings_cuda(answer.stdout):
            index = CPU_TORCH_INDEX
    return [*(["--index-url", index] if index else []), requirement]


def brings_cuda(report: str) -> bool:
    """Whether the torch of a pip installation report depends on CUDA libraries."""
    start = report.find("{")
    try:
        items = json.loads(report[start:])["install"] if start >= 0 else []
    except (ValueError, KeyError):
        return False
    needed = (name for item in items for name in item["metadata"].get("requires_dist", []))
    return any(name.startswith(("nvidia-", "cuda-")) for name in needed)
