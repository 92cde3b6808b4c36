"""Archives with a checkpoint of Hugging Face: our builders serve it instead of the handler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.builder.discovery import discover
from trtbuild.errors import UnsupportedError
from trtbuild.toolchain import load
from trtbuild_importing.manifest import Manifest
from trtbuild_importing.settings import Lost

_DEEPEST = 3
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_BUILDERS = {"vllm_handler": "vllm", "trt_llm_handler": "trtllm"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is converted.

    Attributes:
        source: A directory, or an id of the Hugging Face hub.
        builder: ``auto`` without a handler that names an engine.
        engine: Engine arguments.
        adapters: LoRA adapters by name.
        lost: Settings without a counterpart.
    """

    source: str
    builder: str
    engine: Mapping[str, Any]
    adapters: Mapping[str, str]
    lost: tuple[Lost, ...]


def checkpoint_of(manifest: Manifest, triton: str) -> Checkpoint | None:
    """Return the checkpoint of an archive; None if there is none.

    Raises:
        UnsupportedError: The handler serves a compiled engine, or names no model.
    """
    name = manifest.handler.name if manifest.handler.built_in else ""
    if name in _BUILDERS:
        return _of_engine(manifest, _BUILDERS[name], triton)
    folder = _inside(manifest.folder)
    if folder is None:
        return None
    lost = Lost(
        f"handler {manifest.handler.name}",
        "a builder serves the checkpoint; --keep-handler runs the handler instead",
    )
    return Checkpoint(str(folder), "auto", {}, {}, (lost,))


def _of_engine(manifest: Manifest, builder: str, triton: str) -> Checkpoint:
    given = _mapping(manifest.settings.get("handler"))
    arguments = _mapping(given.get("vllm_engine_config"))
    key = "vllm_engine_config.model or model_path" if builder == "vllm" else "engine_dir"
    model = given.get("engine_dir")
    if builder == "vllm":
        model = arguments.get("model") or given.get("model_path")
    if not isinstance(model, str) or not model:
        raise UnsupportedError(
            f"the handler {manifest.handler.name} names no model",
            where=f"model-config.yaml: handler.{key}",
            fix="convert the checkpoint itself: trtbuild convert SOURCE",
        )
    source = _source(manifest.folder, model)
    if builder == "trtllm" and _is_engine(Path(source)):
        raise UnsupportedError(
            "the archive has a compiled TensorRT engine, which needs its own GPU and release",
            where=f"handler.engine_dir: {model}",
            fix="convert the checkpoint: trtbuild convert SOURCE --backend trtllm",
        )
    known = _arguments(builder, triton)
    left = {k: v for k, v in arguments.items() if k not in ("model", "served_model_name")}
    lost = [
        Lost(f"handler.vllm_engine_config.{k}", f"vLLM of Triton {triton} has no such argument")
        for k in left
        if k not in known
    ]
    lost += [
        Lost(f"handler.{k}", "set it with trtbuild convert --set, or in the request")
        for k in given
        if k not in ("vllm_engine_config", "model_path", "engine_dir", "tokenizer_dir", "adapters")
    ]
    lost.append(Lost("OpenAI paths of the handler", "trtbuild gateway serves OpenAI's API"))
    adapters = {
        str(one): _source(manifest.folder, str(place))
        for one, place in _mapping(given.get("adapters")).items()
    }
    return Checkpoint(
        source, builder, {k: v for k, v in left.items() if k in known}, adapters, tuple(lost)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _source(folder: Path, text: str) -> str:
    """Return a directory of the archive, or the text as an id of the hub."""
    path = (folder / text).resolve()
    return str(path) if path.is_relative_to(folder.resolve()) and path.is_dir() else text


def _is_engine(folder: Path) -> bool:
    return any(folder.glob("rank*.engine")) if folder.is_dir() else False


def _arguments(builder: str, triton: str) -> set[str]:
    tools = load(triton)
    for found in discover():
        if found.name == builder and found.builder is not None:
            return {str(row["name"]) for row in found.builder.arguments(tools)}
    return set()


def _inside(folder: Path) -> Path | None:
    """Return the outermost directory with a config.json of transformers and weights."""
    for path in sorted(folder.rglob("config.json"), key=lambda one: len(one.parts)):
        if len(path.relative_to(folder).parts) > _DEEPEST:
            break
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        named = isinstance(found, dict) and (found.get("model_type") or found.get("architectures"))
        if named and any(any(path.parent.glob(kind)) for kind in _WEIGHTS):
            return path.parent
    return None
