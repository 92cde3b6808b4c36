"""ONNX Runtime for the embedded server: the release's version, in a separate directory.

The server's wheel has only the Python backend. Our backend ``onnxruntime`` imports the package
from here, so that an installed runtime needs no update and each repository gets the version of its
target image.
"""

from __future__ import annotations

from pathlib import Path

from trtbuild.errors import BuildError
from trtbuild.progress import Progress
from trtbuild.server.runtime.beside import ensure_beside, home_of
from trtbuild.server.runtime.facts import Runtime

_PACKAGE = "onnxruntime"
_NEWEST = "1.32.0"


def onnx_runtime_home(runtime: Runtime, version: str) -> Path:
    """Return the directory of a version for the runtime's Python."""
    return home_of(runtime, _PACKAGE, version or _NEWEST)


def ensure_onnx_runtime(runtime: Runtime, version: str, progress: Progress) -> Path:
    """Return the directory to import ONNX Runtime from, which is installed first if missing.

    A version that is not on the package index is replaced by the newest tested one.

    Raises:
        BuildError: It could not be installed.
    """
    for wanted in dict.fromkeys((version or _NEWEST, _NEWEST)):
        try:
            return ensure_beside(runtime, _PACKAGE, wanted, progress)
        except BuildError as error:
            if wanted == _NEWEST or "No matching distribution" not in " ".join(error.details):
                raise
            progress.step(f"the package index has no onnxruntime {wanted}: taking {_NEWEST}")
    raise AssertionError("one of the two returned or raised")
