"""What the server itself fills in before it judges a configuration, and which versions it sees.

Source of the facts: ``AutoCompleteBackendFields`` in triton-inference-server/core,
src/model_config_utils.cc, and ``VersionsToLoad`` in src/model_lifecycle.cc.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Completed:
    """Backend, platform and file name of a model as the server sees them."""

    backend: str
    platform: str
    filename: str


@dataclass(frozen=True, slots=True)
class _Family:
    """A backend that the server recognises by its platform or by the name of a file."""

    backend: str
    platform: str
    file: str
    kind: Literal["file", "any"] = "any"


_FAMILIES = (
    _Family("tensorrt", "tensorrt_plan", "model.plan", "file"),
    _Family("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    _Family("openvino", "", "model.xml"),
    _Family("pytorch", "pytorch_libtorch", "model.pt", "file"),
    _Family("pytorch", "torch_aoti", "model.pt2", "file"),  # of the newest releases only
    _Family("python", "", "model.py"),
)
_TENSORFLOW = {
    "model.savedmodel": "tensorflow_savedmodel",
    "model.graphdef": "tensorflow_graphdef",
}
PLATFORMS = {
    **{family.platform: family.backend for family in _FAMILIES if family.platform},
    **dict.fromkeys(_TENSORFLOW.values(), "tensorflow"),
}
"""The backend of each platform that the server knows; ``ensemble`` has none."""
_OTHER_NAMES = {
    "onnx": "onnxruntime_onnx", "onnxruntime": "onnxruntime_onnx", "ort": "onnxruntime_onnx",
    "tensorrt": "tensorrt_plan", "trt": "tensorrt_plan", "plan": "tensorrt_plan",
    "pytorch": "pytorch_libtorch", "torch": "pytorch_libtorch", "libtorch": "pytorch_libtorch",
    "torchscript": "pytorch_libtorch", "pytorch_torchscript": "pytorch_libtorch",
    "tensorflow": "tensorflow_savedmodel", "savedmodel": "tensorflow_savedmodel",
    "graphdef": "tensorflow_graphdef",
}  # fmt: skip


def nearest_platform(name: str) -> str:
    """The platform that is probably meant by ``name``, empty if none is near."""
    meant = _OTHER_NAMES.get(name.lower())
    near = [meant] if meant else difflib.get_close_matches(name.lower(), PLATFORMS, n=1)
    return near[0] if near else ""


def nearest_backend(name: str, known: Iterable[str]) -> str:
    """The one of the ``known`` backends that is probably meant by ``name``."""
    if meant := PLATFORMS.get(name.lower()) or PLATFORMS.get(_OTHER_NAMES.get(name.lower(), "")):
        return meant
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return near[0] if near else ""


def complete(config: Any, name: str, folders: Iterable[Path]) -> Completed:
    """The three fields after the server's own completion.

    Args:
        config: The ``ModelConfig``.
        name: The directory's name; ``x.identity`` means the backend ``identity``.
        directories: The model's directories. The server looks into the first one only, be it a
            version or not.
    """
    first = min(folders, key=lambda folder: os.fsencode(folder.name), default=None)
    platform, backend, filename = config.platform, config.backend, config.default_model_filename
    if not platform and backend in ("", "tensorflow"):
        platform = _tensorflow_platform(filename, first)
    if platform in _TENSORFLOW.values():
        return Completed(backend or "tensorflow", platform, filename)
    for family in _FAMILIES:
        if not backend and _is_of(family, platform, filename, first):
            backend = family.backend
        if backend == family.backend and platform in ("", family.platform):
            return Completed(backend, platform or family.platform, filename or family.file)
    if not (backend or platform or filename) and "." in name:
        backend = name.partition(".")[2]
        filename = f"model.{backend}"
    return Completed(backend, platform, filename)


def _tensorflow_platform(filename: str, first: Path | None) -> str:
    if filename in _TENSORFLOW:
        return _TENSORFLOW[filename]
    if filename or first is None:
        return ""
    if (first / "model.graphdef").is_file():
        return "tensorflow_graphdef"
    return "tensorflow_savedmodel" if (first / "model.savedmodel").is_dir() else ""


def _is_of(family: _Family, platform: str, filename: str, first: Path | None) -> bool:
    if (platform and platform == family.platform) or filename == family.file:
        return True
    if platform or filename or first is None:
        return False
    path = first / family.file
    # of the others it only asks whether the name is there, be it a link that leads nowhere
    return path.is_file() if family.kind == "file" else os.path.lexists(path)


_NO_VERSIONS = {"warmup", "initial_state", "configs"}
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def version_of(folder: str) -> int | None:
    """The version that the server reads from a directory's name, None if it ignores that.

    It reads as ``std::stoll`` does: ``1a`` and ``+1`` are 1 too, of which it then looks for a
    directory ``1``.
    """
    if folder in _NO_VERSIONS or (len(folder) > 1 and folder[0] == "0"):
        return None
    match = _NUMBER.match(folder)
    return int(match[1]) if match else None


def is_version(name: str) -> bool:
    """Whether a directory has a proper version name: 0, or a number without leading 0."""
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")


def selected(policy: Any, versions: tuple[int, ...]) -> tuple[int, ...]:
    """Those of ``versions`` (ascending) that a ``version_policy`` loads; None: the newest one."""
    if policy is None:
        return versions[-1:]
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        wanted = tuple(policy.specific.versions)
        # a version that is named twice is loaded even when it is not there
        return tuple(sorted({v for v in wanted if v in versions or wanted.count(v) > 1}))
    if choice == "latest":
        return versions[max(len(versions) - policy.latest.num_versions, 0) :]
    return versions


# Protocol name and bytes of an element, by the number of the data type (DataType in
# model_config.proto).
_TYPES = {
    1: ("BOOL", 1), 2: ("UINT8", 1), 3: ("UINT16", 2), 4: ("UINT32", 4), 5: ("UINT64", 8),
    6: ("INT8", 1), 7: ("INT16", 2), 8: ("INT32", 4), 9: ("INT64", 8), 10: ("FP16", 2),
    11: ("FP32", 4), 12: ("FP64", 8), 13: ("BYTES", 0), 14: ("BF16", 2),
}  # fmt: skip


def type_name(data_type: int) -> str:
    """What the server's messages about requests call a data type."""
    return _TYPES.get(data_type, ("<invalid>", 0))[0]


def element_size(data_type: int) -> int:
    """Bytes of one element; 0 for strings and what is not a type."""
    return _TYPES.get(data_type, ("", 0))[1]


def element_count(dims: Sequence[int]) -> int:
    """The product of dimensions as the server computes it: 0 for none, -1 if one is -1."""
    return -1 if -1 in dims else math.prod(dims) if dims else 0


def shown(dims: Iterable[int]) -> str:
    """Dimensions as the server prints them."""
    return f"[{','.join(map(str, dims))}]"


MOST_BYTES = 1 << 40
"""More memory than any server has. It takes it all at once, and dies when it does not get it."""
