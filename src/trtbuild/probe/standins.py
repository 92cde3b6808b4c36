"""Stand-ins for backends and GPUs that this machine does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild import pbtxt
from trtbuild.server import Contents

# Platforms that name a backend (triton core, model_config_utils.cc).
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
_HERE = {"python", "vllm", "ensemble"}
_ONNX_RUNTIME = "onnxruntime"
_TENSORRT_LLM = "tensorrtllm"
_GPU, _CPU = 1, 2  # of ModelInstanceGroup.Kind


@dataclass(frozen=True, slots=True)
class StandIns:
    """The stand-ins of a live check.

    Attributes:
        echo: Backends replaced by the echo backend.
        models: Why a model is not really tested, one sentence for each.
        view: A view of the repository without GPU instances; None if there are none.
    """

    echo: tuple[str, ...]
    models: dict[str, str]
    view: Path | None = None


def stand_ins(contents: Contents, folder: Path) -> StandIns:
    """Choose the stand-ins, and create the view in ``folder`` if needed."""
    configs = dict(_configs(contents.repo))
    echo: set[str] = set()
    models: dict[str, str] = {}
    for name, config in configs.items():
        backend = config.backend or _PLATFORMS.get(config.platform, config.platform)
        if name in contents.trtllm:
            models[name] = "vLLM on the CPU stood in for TensorRT-LLM; no TensorRT kernel ran"
        elif backend == _ONNX_RUNTIME:
            models[name] = "the onnxruntime package on the CPU stood in for NVIDIA's backend"
        elif backend not in _HERE and backend != _TENSORRT_LLM:
            echo.add(backend)
            models[name] = (
                f"there is no backend {backend!r} here: an echo with its tensors stood in"
            )
    on_gpu = [name for name, config in configs.items() if _wants_gpu(config)]
    for name in on_gpu:
        models[name] = f"{models[name]}; " if name in models else ""
        models[name] += "it asks for a GPU, and ran on the CPU"
    view = _view(contents.repo, configs, set(on_gpu), folder) if on_gpu else None
    return StandIns(tuple(sorted(echo)), models, view)


def _configs(repo: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(repo.glob("*/config.pbtxt")):
        try:
            yield path.parent.name, pbtxt.read(path)
        except (OSError, UnicodeDecodeError, pbtxt.PbtxtError):
            continue


def _wants_gpu(config: Any) -> bool:
    return any(group.kind == _GPU for group in config.instance_group)


def _view(repo: Path, configs: dict[str, Any], on_gpu: set[str], folder: Path) -> Path:
    """Create links to all files, with changed configurations for the models ``on_gpu``."""
    view = folder / "view"
    for name, config in configs.items():
        model = view / name
        model.mkdir(parents=True)
        for path in sorted((repo / name).iterdir()):
            if path.name != "config.pbtxt" or name not in on_gpu:
                (model / path.name).symlink_to(path.resolve())
        if name in on_gpu:
            for group in config.instance_group:
                if group.kind == _GPU:
                    group.kind = _CPU
                    del group.gpus[:]
            (model / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    return view
