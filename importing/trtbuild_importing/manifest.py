"""What an archive says of itself: its manifest, its settings, and its handler's text."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError

MANIFEST = "MAR-INF/MANIFEST.json"
BUILT_IN = frozenset({
    "base_handler", "text_classifier", "image_classifier", "object_detector", "image_segmenter",
    "dali_image_classifier", "vllm_handler", "trt_llm_handler",
})  # fmt: skip
"""Handlers that TorchServe 0.12 brings (its default handlers)."""
_FIX = "build the archive again with torch-model-archiver"
_DEEPEST, _MOST_VALUES = 32, 100_000


@dataclass(frozen=True, slots=True)
class Handler:
    """The archive's code, as far as its text tells.

    Attributes:
        name: As the manifest has it: a built-in one's name, or a module.
        file: Of the module; empty for a built-in one.
        function: The entry point if it is not ``handle``.
        loads_model: It opens the model file itself, instead of leaving that to ``BaseHandler``.
        uses: What it calls that has no counterpart, by name.
    """

    name: str
    file: str = ""
    function: str = ""
    loads_model: bool = False
    uses: frozenset[str] = frozenset()

    @property
    def built_in(self) -> bool:
        """Whether TorchServe brings it."""
        return not self.file


@dataclass(frozen=True, slots=True)
class Manifest:
    """An archive.

    Attributes:
        folder: Its files.
        name: Its modelName.
        model: The manifest's section ``model``.
        handler: Its code.
        settings: ``model-config.yaml``.
    """

    folder: Path
    name: str
    model: Mapping[str, Any]
    handler: Handler
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def serialized(self) -> str:
        """The model file; empty without."""
        return str(self.model.get("serializedFile") or "")

    @property
    def model_file(self) -> str:
        """The module with the class of an eager model; empty without."""
        return str(self.model.get("modelFile") or "")


def read_manifest(folder: Path) -> Manifest:
    """Return what a directory with an archive's files says. No code of it is run.

    Raises:
        UsageError: No manifest, a damaged one, or a file that it names and that is missing.
    """
    try:
        found = _plain(json.loads((folder / MANIFEST).read_bytes()))
        model = found["model"]
        name, handler = model["modelName"], model["handler"]
        if not isinstance(name, str) or not isinstance(handler, str):
            raise TypeError("modelName and handler must be text")
    except FileNotFoundError:
        raise UsageError(f"the archive has no {MANIFEST}", fix=_FIX) from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"{MANIFEST} is damaged: {error}", fix=_FIX) from None
    for key in ("serializedFile", "modelFile", "requirementsFile", "configFile"):
        if model.get(key):
            _require_file(folder, str(model[key]), key)
    return Manifest(folder, name, model, _handler(folder, handler), _settings(folder, model))


def _require_file(folder: Path, name: str, key: str) -> None:
    if Path(name).name != name or not (folder / name).is_file():
        raise UsageError(f"the archive has no file {name!r}", where=f"{MANIFEST}: {key}", fix=_FIX)


def _settings(folder: Path, model: Mapping[str, Any]) -> Mapping[str, Any]:
    import yaml

    name = str(model.get("configFile") or "")
    if not name:
        return {}
    try:
        found = _plain(yaml.safe_load((folder / name).read_bytes()))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        raise UsageError(
            f"{name} is not YAML that can be used",
            where=str(where or error).strip(),
            fix="correct it and build the archive again",
        ) from None
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{name} is not a mapping", fix="correct it and build the archive again")
    return found or {}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: keys are texts, and a date is one.

    Raises:
        ValueError: It would fill the memory when it is written, as aliases of YAML can, or its
            text is not Unicode.
    """
    left = _MOST_VALUES

    def made(one: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ValueError(
                f"it has more than {_MOST_VALUES} values, or {_DEEPEST} of them in each other"
            )
        if isinstance(one, dict):
            return {_text(key): made(each, depth + 1) for key, each in one.items()}
        if isinstance(one, list):
            return [made(each, depth + 1) for each in one]
        return one if one is None or isinstance(one, bool | int | float) else _text(one)

    return made(value, 0)


def _text(value: Any) -> str:
    text = str(value)
    text.encode()  # half a pair of surrogates cannot be written
    return text


def _handler(folder: Path, text: str) -> Handler:
    module, _, function = text.partition(":")
    file = f"{module.removesuffix('.py').rpartition('/')[2]}.py"
    if not (folder / file).is_file():
        if module in BUILT_IN:
            return Handler(module)
        raise UsageError(
            f"the handler {text!r} is neither in the archive nor one of TorchServe's",
            where=f"{MANIFEST}: handler",
            fix=_FIX,
        )
    try:
        tree = ast.parse((folder / file).read_bytes(), file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"the handler {file} is not Python: {str(error) or 'nested too deeply'}",
            fix="correct it, or remove Python 2 code",
        ) from None
    return Handler(module, file, function, _loads_model(tree), _uses(tree))


_FOREIGN = frozenset({
    "send_intermediate_predict_response", "add_metric", "add_counter", "add_time", "add_size",
    "add_percent", "set_response_header", "set_response_content_type", "explain_handle",
    "get_sequence_id", "describe_handle",
})  # fmt: skip


def _uses(tree: ast.AST) -> frozenset[str]:
    """The calls that have no counterpart."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return frozenset(names & _FOREIGN)


def _loads_model(tree: ast.AST) -> bool:
    """Whether there is no class that leaves ``initialize`` to its base class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases:
            methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
            own = methods.get("initialize")
            if own is None or "super" in {
                one.id for one in ast.walk(own) if isinstance(one, ast.Name)
            }:
                return False
    return True
