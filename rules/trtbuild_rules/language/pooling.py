"""Pooling: models of vectors, scores and labels answer as their checkpoint means it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Content, Example, onnx_file
from trtbuild.check.model import Severity
from trtbuild.check.reading import open_inside, read_inside
from trtbuild_rules.readers.graphs.onnxmodel import BACKEND, onnx_files
from trtbuild_rules.readers.served import ModelJson, weights
from trtbuild_rules.readers.tokenizing import settings

_WEIGHTS = "m/1/weights/"
_JSON = '{ "model": "/models/m/1/weights", "runner": "pooling", "pooler_config": { %s } }'
_MODULES = (
    '[ { "path": "", "type": "sentence_transformers.models.Transformer" },\n'
    '  { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },\n'
    '  { "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" } ]'
)
_POOLERS = ("pooler_config", "override_pooler_config")
_VLLM_TYPES = {"CLS": "cls", "LAST": "lasttoken", "MEAN": "mean"}


def _pooled(text: str) -> Example:
    files = {
        "m/1/model.json": _JSON % text,
        f"{_WEIGHTS}modules.json": _MODULES,
        f"{_WEIGHTS}1_Pooling/config.json": '{ "pooling_mode_mean_tokens": true }',
    }
    return Example(files=files, base="checkpoint")


@rule(
    "TRT661",
    "an engine pools as its checkpoint",
    fix="give the pooler the checkpoint's own values (1_Pooling/config.json, modules.json), or "
    "convert the checkpoint again",
    severity=Severity.WARNING,
    backends=("vllm", "python"),
    bad=[_pooled('"pooling_type": "CLS"'), _pooled('"use_activation": false')],
    good=[_pooled('"pooling_type": "MEAN", "use_activation": true'), _pooled("")],
)
def same_pooling(model: Model) -> Problems:
    """sentence-transformers stores how tokens become one vector and whether that has length 1. An
    engine with other settings answers without an error, with vectors that rank differently."""
    for engine, folder in weights(model):
        name, pooler = _pooler(engine)
        modules = _modules(model, folder)
        if not pooler or modules is None:
            continue
        at = engine.json.of(name)
        kind = pooler.get("pooling_type") or pooler.get("seq_pooling_type")
        known, modes = _VLLM_TYPES.get(str(kind).upper()), _modes(model, folder, modules)
        if known and modes and modes != [known]:
            yield Problem(
                f"{name} pools by {kind}, and the checkpoint by {' + '.join(modes)}",
                at,
                file=engine.file,
            )
        normalized = any(kind == "Normalize" for kind, _ in modules)
        switch = pooler.get("use_activation", pooler.get("normalize"))
        if isinstance(switch, bool) and switch != normalized and modes:
            length = "length 1" if normalized else "their own length"
            yield Problem(
                f"{name} sets use_activation to {str(switch).lower()}, and the checkpoint's "
                f"vectors have {length}",
                at,
                file=engine.file,
            )


def _pooler(engine: ModelJson) -> tuple[str, Mapping[str, Any]]:
    for name in _POOLERS:
        value = engine.settings.get(name)
        if isinstance(value, dict):
            return name, value
    return "", {}


def _modules(model: Model, folder: Path) -> list[tuple[str, str]] | None:
    """Return class and directory of each module; None for no sentence-transformers checkpoint."""
    try:
        found = json.loads(read_inside(folder / "modules.json", model.repository.root))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    if not rows:
        return None
    return [(str(row.get("type", "")).rpartition(".")[2], str(row.get("path", ""))) for row in rows]


def _modes(model: Model, folder: Path, modules: list[tuple[str, str]]) -> list[str]:
    """Return the poolings, in both formats of ``1_Pooling/config.json``."""
    path = next((path for kind, path in modules if kind == "Pooling"), "")
    if not path or ".." in path or path.startswith("/"):
        return []
    config = settings(folder / path, model.repository.root, "config.json")
    mode = config.get("pooling_mode")
    if mode is not None:
        return [str(one) for one in (mode if isinstance(mode, list) else [mode])]
    old = (key for key, value in config.items() if key.startswith("pooling_mode_") and value)
    return [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key in old
    ]


def _activated(operator: str) -> Example:
    said = '{ "core": "m", "activation": "sigmoid" }'
    files: dict[str, Content] = {
        "m/1/model.onnx": partial(onnx_file, operator=operator),
        "a/config.pbtxt": 'backend: "python"\n',
        "a/1/model.py": MODEL_PY,
        "a/1/settings.json": said,
    }
    return Example(files=files, base="onnx")


@rule(
    "TRT662",
    "an activation is applied once",
    fix="export the graph without its last operator, or set activation to identity in "
    "settings.json",
    severity=Severity.WARNING,
    backends=(BACKEND,),
    bad=_activated("Sigmoid"),
    good=_activated("Identity"),
)
def one_activation(model: Model) -> Problems:
    """The model that clients call applies the checkpoint's activation to the graph's output. A
    graph that ends with the same one gives scores between 0.5 and 0.73, in the right order and
    useless for a threshold."""
    for caller in model.repository.all_models:
        text = caller.json("1/settings.json") if caller is not model else None
        said = text.value if text is not None and isinstance(text.value, dict) else {}
        activation = str(said.get("activation", ""))
        if said.get("core") != model.name or activation not in ("sigmoid", "softmax"):
            continue
        for file, onnx in onnx_files(model):
            twice = [n for n, made in onnx.made_by.items() if made.lower() == activation]
            if twice:
                yield Problem(
                    f"{file} ends with {activation} ({twice[0]}), and {caller.name} applies it "
                    "again",
                    file=file,
                )


_CUTTING = '{ "truncation": { "max_length": 128 }, "padding": null, "model": {} }'
_PLAIN = '{ "truncation": null, "padding": null, "model": {} }'
_TOKENIZES = "from tokenizers import Tokenizer\n" + MODEL_PY


@rule(
    "TRT663",
    "a model's own code decides where texts are cut",
    fix="call no_truncation() and no_padding() on the tokenizer, then enable_truncation() with the "
    "model's length",
    severity=Severity.WARNING,
    backends=("python",),
    bad={"m/1/model.py": _TOKENIZES, "m/1/tokenizer.json": _CUTTING},
    good=[
        {"m/1/model.py": _TOKENIZES, "m/1/tokenizer.json": _PLAIN},
        {
            "m/1/model.py": _TOKENIZES + "\nTokenizer.no_truncation\n",
            "m/1/tokenizer.json": _CUTTING,
        },
    ],
)
def no_hidden_truncation(model: Model) -> Problems:
    """A tokenizer.json may have a truncation of its own, often a shorter one than the model's
    length: that of all-MiniLM-L6-v2 cuts at 128 tokens, and the model is used with 256. The package
    ``tokenizers`` applies it without a word; what is behind it is not in the vector."""
    for version in model.served:
        file = f"{version}/tokenizer.json"
        try:
            with open_inside(model.path / file, model.repository.root) as stream:
                found = _TRUNCATION.search(stream.read(_HEAD))
        except FileNotFoundError:
            continue
        if found and _leaves_truncation(model, version):
            yield Problem(
                f"{file} cuts texts at {int(found[1])} tokens, and the code beside it does not "
                "change that",
                file=file,
            )


_HEAD = 4096  # bytes; the tokenizers package writes truncation and padding before everything else
_TRUNCATION = re.compile(rb'"truncation"\s*:\s*\{[^}]*"max_length"\s*:\s*(\d+)')
_TURNED_OFF = re.compile(rb"\b(no_truncation|enable_truncation)\b")


def _leaves_truncation(model: Model, version: int) -> bool:
    """Whether the code reads a tokenizer itself, and leaves its truncation alone."""
    folder = model.path / str(version)
    try:
        names = sorted(path.name for path in folder.glob("*.py"))
    except OSError:
        return False
    code = [model.read(f"{version}/{name}") for name in names]
    reads = any(b"tokenizers" in one and b"Tokenizer" in one for one in code)
    return reads and not any(_TURNED_OFF.search(one) for one in code)


def _accelerated(*parameters: str) -> Example:
    rows = "".join(
        f' parameters {{ key: "{key}" value: "{value}" }}'
        for key, _, value in (one.partition("=") for one in parameters)
    )
    accelerator = f'gpu_execution_accelerator [ {{ name: "tensorrt"{rows} }} ]'
    return Example(f"optimization {{ execution_accelerators {{ {accelerator} }} }}", base="onnx")


_SHAPES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")


@rule(
    "TRT664",
    "TensorRT knows the shapes of every input",
    fix="give trt_profile_min_shapes, trt_profile_opt_shapes and trt_profile_max_shapes with each "
    "input, such as IN:1x4,…",
    severity=Severity.WARNING,
    backends=(BACKEND,),
    bad=[
        _accelerated(),
        _accelerated("trt_profile_min_shapes=IN:1x4", "trt_profile_max_shapes=IN:8x4"),
        _accelerated(*(f"{name}=OTHER:1x4" for name in _SHAPES)),
    ],
    good=[_accelerated(*(f"{name}=IN:1x4" for name in _SHAPES)), ""],
)
def profile_shapes(model: Model) -> Problems:
    """Without profiles ONNX Runtime compiles a TensorRT engine for every new shape of a batch, for
    half a minute each, while requests wait; with some of the three it ignores those that it has."""
    accelerators = model.config.optimization.execution_accelerators
    for number, one in enumerate(accelerators.gpu_execution_accelerator):
        if one.name != "tensorrt" or not _varies(model):
            continue
        at = model.at(
            "optimization", 0, "execution_accelerators", 0, "gpu_execution_accelerator", number
        )
        given = {name: _inputs(one.parameters[name]) for name in _SHAPES if name in one.parameters}
        if missing := [name for name in _SHAPES if name not in given]:
            yield Problem(f"the accelerator tensorrt has no {', '.join(missing)}", at)
            continue
        for tensor in model.config.input:
            if lacking := [name for name, known in given.items() if tensor.name not in known]:
                yield Problem(f"{lacking[0]} has no shape of the input {tensor.name!r}", at)


def _varies(model: Model) -> bool:
    """Whether any input has an open size."""
    return model.config.max_batch_size > 0 or any(
        size < 0 for tensor in model.config.input for size in tensor.dims
    )


def _inputs(shapes: str) -> set[str]:
    return {part.rpartition(":")[0].strip() for part in shapes.split(",")}


_LLM_IMAGES = {"vllm": "-vllm-python-py3", "tensorrtllm": "-trtllm-python-py3"}


@rule(
    "TRT665",
    "an image has the backends of all models",
    fix="serve the two from repositories of their own, each in its image, or build an image with "
    "the server's compose.py: --backend onnxruntime --backend python, and the other",
    severity=Severity.WARNING,
    backends=(BACKEND,),
    bad=Example(
        files={
            "llm/config.pbtxt": 'backend: "vllm"\n',
            "llm/1/model.json": '{ "model": "org/name" }',
        },
        base="onnx",
    ),
    good="",
)
def one_image(model: Model) -> Problems:
    """The ONNX Runtime backend is in NVIDIA's image …-py3 only; the images with vLLM or
    TensorRT-LLM have no other backend than Python beside it. A server finds the models of both and
    loads those of one."""
    for other, image in _others(model):
        yield Problem(
            f"{model.name} needs the image …-py3, and {other} needs …{image}: no NVIDIA image has "
            "both backends",
            server=f"unable to find backend library for backend '{BACKEND}', try specifying "
            "runtime on the model configuration.",
        )
        return


def _others(model: Model) -> Iterator[tuple[str, str]]:
    """Return models of the repository that another image serves, by their backend or the lock."""
    locked = model.repository.lock.models
    for other in model.repository.all_models:
        if other.backend in _LLM_IMAGES:
            yield other.name, _LLM_IMAGES[other.backend]
            continue
        owner = locked.get(model.repository.lock.owner(other.name))
        for image in _LLM_IMAGES.values():
            if owner is not None and owner.image.endswith(image):
                yield other.name, image
