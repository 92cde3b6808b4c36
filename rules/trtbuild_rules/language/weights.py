"""Weights: checkpoints inside a repository are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.check.reading import ReportedError, read_inside
from trtbuild.located.jsontext import read_json
from trtbuild.modelspec import spelling
from trtbuild_rules.readers.named_directories import named_directories
from trtbuild_rules.readers.safetensors import problem_of
from trtbuild_rules.readers.served import reading_of, weights
from trtbuild_rules.readers.tokenizing import settings

_INDEX = "model.safetensors.index.json"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tiktoken.model",
)
_OUT_OF_BOUNDS = (
    b'\x50\0\0\0\0\0\0\0{"lm_head.weight": {"dtype": "F32", "shape": [4, 8], '
    b'"data_offsets": [0, 4]}}   \0\0\0\0'
)
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def _relative(model: Model, path: Path) -> str:
    return Path(os.path.relpath(path, model.path)).as_posix()


def _folders(model: Model) -> Iterator[Path]:
    yield from sorted({folder for _, folder in weights(model)})


@rule(
    "TRT801",
    "a checkpoint has its config.json",
    fix="convert the checkpoint again",
    backends=("vllm",),
    bad=Example(files={"m/1/weights/config.json": None}, base="checkpoint"),
    good=[
        Example(base="checkpoint"),
        Example(
            files={
                "m/1/weights/config.json": None,
                "m/1/weights/model.safetensors": None,
                "m/1/weights/params.json": "{}",
                "m/1/weights/consolidated.safetensors": b"\2\0\0\0\0\0\0\0{}",
            },
            base="checkpoint",
        ),
    ],
)
def has_config(model: Model) -> Problems:
    """The engine learns the architecture from it, or from ``params.json`` where the weights are
    ``consolidated*.safetensors``, Mistral's own layout."""
    for folder in _folders(model):
        path = folder / "config.json"
        if not path.exists() and any(folder.glob("consolidated*.safetensors")):
            path = folder / "params.json"
        file = _relative(model, path)
        try:
            text = read_json(read_inside(path, model.repository.root))
        except ReportedError:
            raise
        except OSError as error:
            yield Problem(f"{file} cannot be read: {error.strerror}", file=file)
            continue
        if not isinstance(text.value, dict):
            why = text.problem or "it is not an object"
            yield Problem(f"{file} is not a JSON object: {why}", text.at, file=file)


@rule(
    "TRT802",
    "every shard exists and is complete",
    fix="copy the file again, or convert the checkpoint again",
    backends=("vllm",),
    bad=[
        Example(files={"m/1/weights/model.safetensors": b"cut"}, base="checkpoint"),
        Example(files={"m/1/weights/model.safetensors": _OUT_OF_BOUNDS}, base="checkpoint"),
    ],
    good=Example(base="checkpoint"),
)
def shards(model: Model) -> Problems:
    """Each shard that the index names exists, each safetensors file ends where its header says,
    and each tensor has the bytes of its type and shape, one after the other."""
    for folder in _folders(model):
        found = sorted(folder.glob("*.safetensors"))
        if not found and not any(path.suffix in _PICKLES for path in folder.iterdir()):
            file = _relative(model, folder)
            yield Problem(f"{file} has no *.safetensors weights", file=file)
        for name in _missing(folder, {path.name for path in found}, model.repository.root):
            file = _relative(model, folder / name)
            yield Problem(f"{name}, which {_INDEX} names, is missing", file=file)
        for path in found:
            problem = problem_of(path, model.repository.root)
            if problem:
                file = _relative(model, path)
                yield Problem(f"{path.name} is damaged: {problem}", file=file)


def _missing(folder: Path, present: set[str], root: Path) -> list[str]:
    try:
        index = read_json(read_inside(folder / _INDEX, root)).value
    except ReportedError:
        raise
    except OSError:
        return []
    shards = index.get("weight_map") if isinstance(index, dict) else None
    named = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    return sorted(named - present)


@rule(
    "TRT803",
    "the checkpoint has a tokenizer",
    fix="put tokenizer.json and tokenizer_config.json beside the weights",
    backends=("vllm",),
    bad=Example(files={"m/1/weights/tokenizer.json": None}, base="checkpoint"),
    good=Example(base="checkpoint"),
)
def tokenizer(model: Model) -> Problems:
    """This backend takes and returns text, so the engine needs a tokenizer."""
    for engine, folder in weights(model):
        elsewhere = engine.settings.get("tokenizer") or engine.settings.get("skip_tokenizer_init")
        if not elsewhere and not any((folder / name).is_file() for name in _TOKENIZERS):
            file = _relative(model, folder)
            yield Problem(f"{file} has no tokenizer", file=file)


@rule(
    "TRT804",
    "weights are safetensors",
    fix="convert them to safetensors",
    severity=Severity.WARNING,
    backends=("vllm",),
    bad=Example(files={"m/1/weights/pytorch_model.bin": b""}, base="checkpoint"),
    good=Example(base="checkpoint"),
)
def no_pickles(model: Model) -> Problems:
    """Loading a pickle can run any code that its author put there."""
    for folder in _folders(model):
        for path in sorted(folder.iterdir()):
            if path.suffix in _PICKLES:
                file = _relative(model, path)
                yield Problem(f"{path.name} is a pickle", file=file)


@rule(
    "TRT805",
    "the weights come without code unless it is trusted",
    fix="read the code; remove it, or convert with --trust-remote-code",
    severity=Severity.WARNING,
    backends=("vllm",),
    bad=Example(files={"m/1/weights/modeling_x.py": ""}, base="checkpoint"),
    good=Example(base="checkpoint"),
)
def no_code(model: Model) -> Problems:
    """Python files of a checkpoint run in the server when trust_remote_code is set."""
    for engine, folder in weights(model):
        code = sorted(path.name for path in folder.glob("*.py"))
        if code and not engine.settings.get("trust_remote_code"):
            file = _relative(model, folder)
            yield Problem(f"{', '.join(code)} came with the checkpoint", file=file)


_FIVE = '{ "rope_parameters": { "rope_theta": 500000.0, "rope_type": "default" } }'


@rule(
    "TRT806",
    "the release can read the config.json that transformers wrote",
    fix="convert the checkpoint again to get both spellings, or use --triton 26.07 or newer",
    severity=Severity.WARNING,
    bad=Example(files={"m/1/weights/config.json": _FIVE}, base="checkpoint", triton="25.10"),
    good=[
        Example(files={"m/1/weights/config.json": _FIVE}, base="checkpoint", triton="26.07"),
        Example(
            files={"m/1/weights/config.json": '{ "rope_theta": 500000.0 }'},
            base="checkpoint",
            triton="25.10",
        ),
    ],
)
def spelling_of_config(model: Model) -> Problems:
    """transformers 5 keeps the RoPE base only in ``rope_parameters``, which transformers 4 does not
    read: it uses the family's default, and the model gives other answers. The same applies to
    the type of the weights (``dtype``) and to layers (``layers_block_type``)."""
    reading = reading_of(model)
    for folder in named_directories(model) if reading and reading.maybe_four else ():
        config = settings(folder.path, model.repository.root, "config.json")
        for key in spelling.only_five(config, {}):
            if reading and (key != "dtype" or not reading.reads_dtype):
                file = folder.relative(model, "config.json")
                yield Problem(
                    f"{reading.engine} may read config.json by transformers 4, which does not "
                    f"understand {key}",
                    file=file,
                )


@rule(
    "TRT807",
    "the release knows the tokenizer's class",
    fix="convert the checkpoint again, which names PreTrainedTokenizerFast, or use --triton 26.07",
    bad=Example(
        files={"m/1/weights/tokenizer_config.json": '{ "tokenizer_class": "TokenizersBackend" }'},
        base="checkpoint",
        triton="25.10",
    ),
    good=Example(
        files={"m/1/weights/tokenizer_config.json": '{ "tokenizer_class": "TokenizersBackend" }'},
        base="checkpoint",
        triton="26.07",
    ),
)
def tokenizer_class(model: Model) -> Problems:
    """transformers 5 writes generic class names that transformers 4 does not have, and an engine
    with transformers 4 does not start."""
    reading = reading_of(model)
    for folder in named_directories(model) if reading and reading.surely_four else ():
        found = settings(folder.path, model.repository.root, "tokenizer_config.json")
        name = found.get("tokenizer_class")
        if name in spelling.CLASSES_OF_FIVE and reading:
            file = folder.relative(model, "tokenizer_config.json")
            yield Problem(f"the transformers of {reading.engine} has no {name}", file=file)
