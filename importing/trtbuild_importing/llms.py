"""Archives with a checkpoint of Hugging Face: our builders serve it instead of the handler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.builder.discovery import discover
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.toolchain import load
from trtbuild_importing.manifest import Manifest
from trtbuild_importing.settings import Lost

_DEEPEST = 3
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_WORDS = frozenset({
    "attention_backend", "convert", "dtype", "kv_cache_dtype", "lora_dtype", "max_model_len",
    "performance_mode", "prefix_caching_hash_algo", "quantization", "reasoning_parser", "runner",
    "scheduling_policy", "tokenizer_mode",
})  # fmt: skip
"""Arguments of vLLM whose text is one of a few words, or a number with its unit."""
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


def checkpoint_of(manifest: Manifest, triton: str, *, outside: bool = False) -> Checkpoint | None:
    """Return the checkpoint of an archive; None if there is none.

    Args:
        manifest: The archive.
        triton: The release, which knows its engines' arguments.
        outside: Whether the archive may name what is outside itself.

    Raises:
        UsageError: It names a model outside itself.
        UnsupportedError: The handler serves a compiled engine, or names no model.
    """
    name = manifest.handler.name if manifest.handler.built_in else ""
    if name in _BUILDERS:
        return _of_engine(manifest, _BUILDERS[name], triton, outside=outside)
    folder = _inside(manifest.folder)
    if folder is None:
        return None
    lost = Lost(
        f"handler {manifest.handler.name}",
        "a builder serves the checkpoint; --keep-handler runs the handler instead",
    )
    return Checkpoint(str(folder), "auto", {}, {}, (lost,))


def _of_engine(manifest: Manifest, builder: str, triton: str, *, outside: bool) -> Checkpoint:
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
    source = _source(manifest.folder, model, f"handler.{key}", outside=outside)
    if builder == "trtllm" and _is_engine(Path(source)):
        raise UnsupportedError(
            "the archive has a compiled TensorRT engine, which needs its own GPU and release",
            where=f"handler.engine_dir: {model}",
            fix="convert the checkpoint: trtbuild convert SOURCE --backend trtllm",
        )
    engine, lost = _split(arguments, builder, triton, outside=outside)
    lost += [
        Lost(f"handler.{k}", "set it with trtbuild convert --set, or in the request")
        for k in given
        if k not in ("vllm_engine_config", "model_path", "engine_dir", "tokenizer_dir", "adapters")
    ]
    lost.append(Lost("OpenAI paths of the handler", "trtbuild gateway serves OpenAI's API"))
    adapters = {
        str(one): _source(manifest.folder, str(place), "handler.adapters", outside=outside)
        for one, place in _mapping(given.get("adapters")).items()
    }
    return Checkpoint(source, builder, engine, adapters, tuple(lost))


def _split(
    arguments: Mapping[str, Any], builder: str, triton: str, *, outside: bool
) -> tuple[dict[str, Any], list[Lost]]:
    """Return the engine arguments that are carried over, and those that are not."""
    known = _arguments(builder, triton)
    engine: dict[str, Any] = {}
    lost = []
    for key, value in arguments.items():
        if key in ("model", "served_model_name"):
            continue
        if key not in known:
            why = f"vLLM of Triton {triton} has no such argument"
        elif not (outside or _is_plain(key, value)):
            why = "it may name files or code outside the archive; --allow-outside carries it over"
        else:
            engine[key] = value
            continue
        lost.append(Lost(f"handler.vllm_engine_config.{key}", why))
    return engine, lost


def _is_plain(key: str, value: Any) -> bool:
    """Whether an argument can name neither files nor code: a number, a switch, a known word."""
    if isinstance(value, list):
        return all(_is_plain(key, one) for one in value)
    if isinstance(value, str):
        return key in _WORDS
    return isinstance(value, int | float) and key != "trust_remote_code"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _source(folder: Path, text: str, where: str, *, outside: bool) -> str:
    """Return a directory of the archive, or what the text names elsewhere. UsageError."""
    path = (folder / text).resolve()
    if path.is_relative_to(folder.resolve()) and path.is_dir():
        return str(path)
    if not outside:
        raise UsageError(
            f"the archive names a model that is not in it: {text!r}",
            where=f"model-config.yaml: {where}",
            fix="if you trust that directory or hub repository, add --allow-outside",
        )
    return text


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
