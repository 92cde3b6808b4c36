"""ONNX Runtime for the embedded server: the release's version, in a separate directory.

The server's wheel has only the Python backend. Our backend ``onnxruntime`` imports the package
from here, so that an installed runtime needs no update and each repository gets the version of its
target image.
"""

from __future__ import annotations

import json
from pathlib import Path

from trtbuild.errors import BuildError
from trtbuild.files import disk_trouble, exclusive, staged_dir
from trtbuild.progress import Progress
from trtbuild.resources import cache_dir
from trtbuild.server.runtime import pip
from trtbuild.server.runtime.facts import Runtime

_NEWEST = "1.32.0"
_DONE = "trtbuild.json"


def onnx_runtime_home(runtime: Runtime, version: str) -> Path:
    """Return the directory of a version for the runtime's Python."""
    return cache_dir("runtime", f"onnxruntime-{version or _NEWEST}-{runtime.interpreter.tag}")


def ensure_onnx_runtime(runtime: Runtime, version: str, progress: Progress) -> Path:
    """Return the directory to import ONNX Runtime from, which is installed first if missing.

    A version that is not on the package index is replaced by the newest tested one.

    Raises:
        BuildError: It could not be installed.
    """
    for wanted in dict.fromkeys((version or _NEWEST, _NEWEST)):
        home = onnx_runtime_home(runtime, wanted)
        try:
            return _installed(runtime, home, wanted, progress)
        except BuildError as error:
            if wanted == _NEWEST or "No matching distribution" not in " ".join(error.details):
                raise
            progress.step(f"the package index has no onnxruntime {wanted}: taking {_NEWEST}")
    raise AssertionError("one of the two returned or raised")


def _installed(runtime: Runtime, home: Path, version: str, progress: Progress) -> Path:
    if (home / _DONE).is_file():
        return home
    with disk_trouble(home.parent):
        home.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step("waiting for another trtbuild that is installing ONNX Runtime")

    with exclusive(home.parent, waiting=waiting):
        if (home / _DONE).is_file():
            return home
        progress.step(f"installing onnxruntime {version}")
        with disk_trouble(home), staged_dir(home) as new:
            arguments = ["--target", str(new), "--only-binary", ":all:", f"onnxruntime=={version}"]
            log = home.with_name(f"{home.name}.log")
            pip.install(runtime.python, arguments, total=1, log_path=log, progress=progress)
            (new / _DONE).write_text(json.dumps({"version": version}), encoding="utf-8")
    return home
