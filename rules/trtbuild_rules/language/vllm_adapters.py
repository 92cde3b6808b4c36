"""LoRA adapters of vLLM models: the engine can load them, checked before a request names one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild import toolchain
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Content, Example
from trtbuild.check.examples import safetensors as made
from trtbuild.check.model import Severity
from trtbuild.located.positions import Position
from trtbuild_rules.readers import safetensors
from trtbuild_rules.readers.served import ModelJson, engines, local_folder, release_of
from trtbuild_rules.readers.tokenizing import settings

if TYPE_CHECKING:
    from trtbuild.toolchain import AdapterFault, BaseModules

_VLLM = ("vllm",)
_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["lm_head"]}
_FOLDER = "m/1/adapters/fr/"


def _adapter(
    config: Mapping[str, Any] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    **files: Content,
) -> Example:
    """A model with the adapter ``fr``, right but for what is given."""
    a, b = (f"base_model.model.lm_head.lora_{part}.weight" for part in "AB")
    text = json.dumps({**_CONFIG, **(config or {})})
    tensors = {a: (2, 8), b: (4, 2)} if shapes is None else shapes
    return Example(
        base="checkpoint",
        files={
            "m/1/model.json": '{ "model": "/models/m/1/weights", "enable_lora": true }',
            "m/1/multi_lora.json": '{ "fr": "/models/m/1/adapters/fr" }',
            f"{_FOLDER}adapter_config.json": text,
            f"{_FOLDER}adapter_model.safetensors": partial(made, **tensors),
            **{_FOLDER + name.replace("__", "."): content for name, content in files.items()},
        },
    )


@dataclass(frozen=True, slots=True)
class _Adapter:
    """An adapter of the repository: its directory, and where multi_lora.json names it."""

    engine: ModelJson
    name: str
    folder: Path
    file: str
    at: Position


def _adapters(model: Model) -> Iterator[_Adapter]:
    for engine in engines(model):
        file = f"{engine.version}/multi_lora.json"
        text = model.json(file)
        if text is None or not isinstance(text.value, dict):
            continue
        for name, value in text.value.items():
            folder = local_folder(model, value) if isinstance(value, str) else None
            if folder is not None and (folder / "adapter_config.json").is_file():
                yield _Adapter(engine, name, folder, file, text.of(name))


def _config(model: Model, folder: Path, name: str = "adapter_config.json") -> Mapping[str, Any]:
    return settings(folder, model.repository.root, name)


def _problems(adapter: _Adapter, faults: Iterator[AdapterFault]) -> Problems:
    for fault in faults:
        # A release that leaves a key out serves the adapter all the same, only not as trained.
        warned = fault.loads and fault.kind == "feature"
        yield Problem(
            f"the adapter {adapter.name!r} is not usable: {fault.what}",
            adapter.at,
            file=adapter.file,
            fix=fault.fix,
            server=fault.server,
            severity=Severity.WARNING if warned else None,
        )


def _of_config(model: Model, *kinds: str) -> Problems:
    release = release_of(model)
    if not release:
        return
    for adapter in _adapters(model):
        found = toolchain.config_faults(
            _config(model, adapter.folder), release, adapter.engine.settings
        )
        yield from _problems(adapter, (one for one in found if one.kind in kinds))


@rule(
    "TRT721",
    "an adapter is plain LoRA, which the engine supports",
    fix="merge the adapter into the checkpoint, or train it as plain LoRA",
    backends=_VLLM,
    bad=_adapter({"use_dora": True}),
    good=_adapter({"use_dora": False, "bias": "none", "modules_to_save": None}),
)
def features(model: Model) -> Problems:
    """vLLM reads an adapter when the first request names it. An adapter that it cannot run (DoRA,
    biases, whole modules, …) raises inside the engine and kills it for all clients."""
    yield from _of_config(model, "config", "feature")


@rule(
    "TRT722",
    "max_lora_rank is at least the rank of every adapter",
    fix='write "max_lora_rank" into model.json',
    backends=_VLLM,
    bad=_adapter({"r": 64}),
    good=_adapter({"r": 2}),
)
def ranks(model: Model) -> Problems:
    """The default is 16. It reserves memory, so keep it no larger than needed."""
    yield from _of_config(model, "rank")


@rule(
    "TRT723",
    "an adapter's weights exist and fit the base model",
    fix="convert the base model that the adapter was trained on",
    backends=_VLLM,
    bad=_adapter(
        shapes={
            "base_model.model.lm_head.lora_A.weight": (2, 6),
            "base_model.model.lm_head.lora_B.weight": (4, 2),
        }
    ),
    good=_adapter(),
)
def fits(model: Model) -> Problems:
    """vLLM does not compare them: a tensor that is too large fails during the copy; one that is
    too small, or for a missing module, loads, and the answers are wrong."""
    for adapter in _adapters(model):
        yield from _problems(adapter, _weight_faults(model, adapter))


def _weight_faults(model: Model, adapter: _Adapter) -> Iterator[AdapterFault]:
    root, path = model.repository.root, adapter.folder / "adapter_model.safetensors"
    if not path.is_file():
        if not any((adapter.folder / f"adapter_model.{end}").is_file() for end in ("bin", "pt")):
            what = "it has no adapter_model.safetensors"
            yield toolchain.AdapterFault(
                "modules", what, "convert it again", "doesn't contain tensors"
            )
        return
    if problem := safetensors.problem_of(path, root):
        what = f"adapter_model.safetensors is damaged: {problem}"
        yield toolchain.AdapterFault("modules", what, "fetch the adapter again and convert")
        return
    config = _config(model, adapter.folder)
    rank = config.get("r") if not config.get("rank_pattern") else 0
    yield from toolchain.weight_faults(
        safetensors.shapes_of(path, root),
        _base(model, adapter),
        rank if type(rank) is int else 0,
        toolchain.lora_embeddings(_architecture(model, adapter), release_of(model) or "0.4.3"),
    )


def _base(model: Model, adapter: _Adapter) -> BaseModules:
    """The checkpoint's modules; none when it is not in the repository."""
    folder = _weights(model, adapter)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        shapes |= safetensors.shapes_of(path, model.repository.root)
    return toolchain.BaseModules.of(shapes)


def _weights(model: Model, adapter: _Adapter) -> Path | None:
    value = adapter.engine.settings.get("model")
    return local_folder(model, value) if isinstance(value, str) else None


def _architecture(model: Model, adapter: _Adapter) -> str:
    folder = _weights(model, adapter)
    found = _config(model, folder, "config.json").get("architectures") if folder else None
    return str(found[0]) if isinstance(found, list) and found else ""


@rule(
    "TRT724",
    "the architecture supports adapters",
    fix="merge the adapter into the checkpoint and convert that",
    backends=_VLLM,
    bad=Example(
        base="checkpoint",
        files={
            **_adapter().files,
            "m/1/weights/config.json": '{ "architectures": ["GPT2LMHeadModel"] }',
        },
    ),
    good=_adapter(),
)
def takes_adapters(model: Model) -> Problems:
    """If vLLM's class does not support LoRA, the model fails to load with ``enable_lora``."""
    release = release_of(model)
    for adapter in _adapters(model):
        fault = (
            toolchain.architecture_fault(_architecture(model, adapter), release)
            if release
            else None
        )
        yield from _problems(adapter, iter((fault,) if fault else ()))
