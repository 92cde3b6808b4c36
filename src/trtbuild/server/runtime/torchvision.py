"""torchvision for the embedded server: vLLM's vision-language models import its transforms.

PyPI's wheel is built for CUDA's torch. With the CPU's its compiled operators cannot be loaded, and
importing the package fails where it describes the shapes of two of them. Nothing that vLLM does
with an image calls one, so declaring them is enough.
"""

from __future__ import annotations

from pathlib import Path

from trtbuild.progress import Progress
from trtbuild.server.runtime.beside import ensure_beside, home_of
from trtbuild.server.runtime.facts import Runtime

_PACKAGE = "torchvision"
_VERSION = "0.28.0"
"""The release that belongs to the torch of the runtime's pins."""
_DECLARED = """

if not _has_ops():
    # Added by trtbuild: the operators do not exist in this environment, only their names.
    _declared = torch.library.Library("torchvision", "DEF")
    _declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def torchvision_home(runtime: Runtime) -> Path:
    """Return the directory to import it from."""
    return home_of(runtime, _PACKAGE, _VERSION)


def ensure_torchvision(runtime: Runtime, progress: Progress) -> Path:
    """Return the directory to import it from, installed first if it is missing.

    Raises:
        BuildError: It could not be installed.
    """
    return ensure_beside(runtime, _PACKAGE, _VERSION, progress, _declare)


def _declare(folder: Path) -> None:
    path = folder / "torchvision" / "extension.py"
    path.write_text(path.read_text(encoding="utf-8") + _DECLARED, encoding="utf-8")
