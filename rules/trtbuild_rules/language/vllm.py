"""vLLM: what its Triton backend needs."""

from __future__ import annotations

import os
from typing import Any

from trtbuild.check.autofix import Insert, Replace
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_JSON, Example
from trtbuild.check.model import Severity
from trtbuild.recipe import argument_findings
from trtbuild_rules.readers.served import (
    ModelJson,
    engines,
    is_hub_id,
    local_folder,
    release_of,
    vllm_table,
)

_VLLM = ("vllm",)


@rule(
    "TRT701",
    "a vLLM model is decoupled",
    fix="write model_transaction_policy { decoupled: true }",
    backends=_VLLM,
    autofix=(Replace("true"), Insert("model_transaction_policy { decoupled: true }")),
    bad="model_transaction_policy { decoupled: false }",
    good="model_transaction_policy { decoupled: true }",
)
def decoupled(model: Model) -> Problems:
    """The backend sends one response per chunk of text, even to clients that do not stream. It
    sets this itself where the configuration leaves it open and the server completes
    configurations."""
    said = model.config.HasField("model_transaction_policy")
    completed = model.repository.options.auto_complete and not said
    if not model.config.model_transaction_policy.decoupled and not completed:
        yield Problem(
            "the model is not decoupled", model.at("model_transaction_policy", "decoupled")
        )


@rule(
    "TRT702",
    "every version has a model.json that is a JSON object",
    fix='write {"model": "…"} with the engine arguments',
    backends=_VLLM,
    bad={"m/1/model.json": None, "m/1/": ""},
    good={"m/1/model.json": MODEL_JSON},
)
def has_engine(model: Model) -> Problems:
    """``model.json`` in the version directory holds the arguments of the engine."""
    for version in model.served:
        file = f"{version}/model.json"
        text = model.json(file)
        if text is None:
            yield Problem(f"{file} is missing", file=file)
        elif text.problem:
            yield Problem(f"{file} is not JSON: {text.problem}", text.at, file=file)
        elif not isinstance(text.value, dict):
            kind = type(text.value).__name__
            yield Problem(f"{file} is not a JSON object but a {kind}", file=file)


@rule(
    "TRT703",
    "every engine argument exists in the release and has the right type",
    fix="correct or remove it (trtbuild convert … --set key=value)",
    backends=_VLLM,
    bad={"m/1/model.json": '{\n  "model": "/models/m/1/weights",\n  "max_model_length": 4096\n}'},
    good={"m/1/model.json": MODEL_JSON},
)
def engine_arguments(model: Model) -> Problems:
    """vLLM raises TypeError for an argument it does not know, and the model is not loaded."""
    release = release_of(model)
    table = vllm_table(release)
    if table is None:
        return
    for engine in engines(model):
        for path, text in argument_findings(engine.settings, table):
            key = path if path in engine.settings else path.split(".")[0]
            unknown = key not in table.arguments
            yield Problem(
                f"vLLM {release}: {text}",
                engine.json.of(key),
                file=engine.file,
                server=f"AsyncEngineArgs.__init__() got an unexpected keyword argument '{key}'"
                if unknown
                else "",
            )


@rule(
    "TRT704",
    "no key is given twice",
    fix="keep one of them",
    severity=Severity.WARNING,
    backends=_VLLM,
    bad={"m/1/model.json": '{ "model": "a/b", "model": "c/d" }'},
    good={"m/1/model.json": MODEL_JSON},
)
def repeated_keys(model: Model) -> Problems:
    """JSON silently keeps the last of two equal keys."""
    for engine in engines(model):
        for key, at in engine.json.repeated:
            yield Problem(f"{key!r} is given twice; the last one counts", at, file=engine.file)


@rule(
    "TRT705",
    "the model is in the repository, or named by its hub id",
    fix="convert the checkpoint again, or give a Hugging Face id",
    backends=_VLLM,
    bad={"m/1/model.json": '{ "model": "/models/m/1/weights" }'},
    good=Example(base="checkpoint"),
)
def model_is_there(model: Model) -> Problems:
    """``model`` is ``/models/NAME/VERSION/…``, where containers mount the repository, or a hub
    id. Any other path exists only on the machine that wrote it."""
    for engine in engines(model):
        for key in ("model", "tokenizer", "speculative_model"):
            value = engine.settings.get(key)
            if key == "model" and (not isinstance(value, str) or not value):
                yield Problem(f"{engine.file} has no 'model'", file=engine.file)
            elif isinstance(value, str):
                yield from _path_problems(model, engine, key, value)


def _path_problems(model: Model, engine: ModelJson, key: str, value: str) -> Problems:
    folder = local_folder(model, value)
    at = engine.json.of(key)
    if folder is None:
        if not is_hub_id(value):
            yield Problem(
                f"{key} is {value!r}, a path that exists on one machine only",
                at,
                file=engine.file,
                severity=Severity.WARNING,
            )
    elif not folder.is_dir():
        shown = os.path.relpath(folder, model.repository.root)
        yield Problem(f"{key} is {value!r}, but {shown} is missing", at, file=engine.file)
    elif folder.parents[0] != model.path and model.path not in folder.parents:
        yield Problem(
            f"{key} is {value!r}, inside another model, whose removal breaks this one",
            at,
            file=engine.file,
            severity=Severity.WARNING,
        )


@rule(
    "TRT706",
    "a model from the hub has a pinned revision",
    fix='write "revision": "<commit>" (trtbuild convert ID --weights hub does)',
    severity=Severity.WARNING,
    backends=_VLLM,
    bad={"m/1/model.json": '{ "model": "org/name" }'},
    good={"m/1/model.json": MODEL_JSON},
)
def pinned(model: Model) -> Problems:
    """Without a commit, the next start of the server may serve a different model."""
    for engine in engines(model):
        value = engine.settings.get("model")
        if isinstance(value, str) and is_hub_id(value) and not engine.settings.get("revision"):
            yield Problem(
                f"{value!r} is loaded from the hub in its state at that moment",
                engine.json.of("model"),
                file=engine.file,
            )


@rule(
    "TRT707",
    "max_batch_size is 0",
    fix="write max_batch_size: 0",
    severity=Severity.WARNING,
    backends=_VLLM,
    autofix=Replace("0"),
    bad="max_batch_size: 8",
    good="max_batch_size: 0",
)
def no_batching(model: Model) -> Problems:
    """The engine batches by itself; the backend forces 0, and tensors have no batch dimension."""
    if model.config.max_batch_size:
        yield Problem(
            f"max_batch_size is {model.config.max_batch_size}, but the backend sets it to 0",
            model.at("max_batch_size"),
        )


@rule(
    "TRT708",
    "the engine assigns several GPUs itself",
    fix="write instance_group [{ count: 1, kind: KIND_MODEL }]",
    backends=_VLLM,
    bad=Example(
        "instance_group [ { kind: KIND_GPU } ]",
        {"m/1/model.json": '{ "model": "org/name", "tensor_parallel_size": 2 }'},
        base="vllm",
    ),
    good="instance_group [ { kind: KIND_MODEL } ]",
)
def kind_model(model: Model) -> Problems:
    """KIND_GPU pins an instance to one GPU, and the backend refuses tensor or pipeline
    parallelism then."""
    gpu = 1  # KIND_GPU in model_config.proto
    groups = [i for i, group in enumerate(model.config.instance_group) if group.kind == gpu]
    for engine in engines(model):
        world = _world(engine.settings)
        for number in groups:
            if world > 1:
                yield Problem(
                    f"KIND_GPU with tensor × pipeline parallel size {world}",
                    model.at("instance_group", number, "kind"),
                )


def _world(settings: Any) -> int:
    sizes = (settings.get("tensor_parallel_size", 1), settings.get("pipeline_parallel_size", 1))
    world = 1
    for size in sizes:
        world *= size if isinstance(size, int) else 1
    return world


@rule(
    "TRT709",
    "config.pbtxt has all tensors of the backend",
    fix="convert the model again, or copy the tensors from a generated config.pbtxt",
    backends=_VLLM,
    bad='input [ { name: "prompt" data_type: TYPE_STRING dims: [ 1 ] } ]',
    good='input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]',
)
def tensors(model: Model) -> Problems:
    """A server that does not complete configurations knows only the tensors that are written."""
    if model.repository.options.auto_complete:
        return
    from trtbuild_dialects.vllm import dialect

    for kind, required in zip(("input", "output"), dialect.required, strict=True):
        written = {tensor.name for tensor in getattr(model.config, kind)}
        for name in required:
            if name not in written:
                yield Problem(f"the {kind} {name!r} is missing", model.at(kind, name=True))


@rule(
    "TRT710",
    "every adapter exists",
    fix="convert again with --adapter NAME=SOURCE",
    backends=_VLLM,
    bad={"m/1/multi_lora.json": '{ "fr": "/models/m/1/adapters/fr" }'},
    good={"m/1/model.json": MODEL_JSON},
)
def adapters(model: Model) -> Problems:
    """``multi_lora.json`` maps names to PEFT directories, and the engine must allow adapters."""
    for engine in engines(model):
        file = f"{engine.version}/multi_lora.json"
        text = model.json(file)
        if text is None:
            continue
        if not isinstance(text.value, dict):
            why = text.problem or "not an object"
            yield Problem(f"{file} is not a JSON object: {why}", text.at, file=file)
            continue
        if not engine.settings.get("enable_lora"):
            yield Problem(
                "the model has adapters, but model.json does not set enable_lora",
                file=engine.file,
                fix='write "enable_lora": true',
            )
        for name, value in text.value.items():
            folder = local_folder(model, value) if isinstance(value, str) else None
            if folder is not None and not (folder / "adapter_config.json").is_file():
                message = f"the adapter {name!r} has no adapter_config.json at {value}"
                yield Problem(message, text.of(name), file=file)
