"""TensorRT-LLM engines: what can be known of them without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example, engine_config, engine_parameters
from trtbuild.check.model import Severity
from trtbuild.check.reading import OutsideError, PointerError, is_inside
from trtbuild.errors import RepositoryError
from trtbuild.files import stand_in
from trtbuild.located.positions import NOWHERE, Position
from trtbuild_engine_flow import engineconfig
from trtbuild_rules.readers.served import local_folder, trtllm_release_of

if TYPE_CHECKING:
    from trtbuild_engine_flow.engineconfig import EngineConfig

_ENGINE = ("tensorrtllm",)
_PATHS = ("gpt_model_path", "encoder_model_path")
_LONG = 262_144
_BUILD = "build it: trtbuild convert SOURCE --backend trtllm-engine"


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine directory inside the repository; ``file`` is relative to the model's directory."""

    key: str
    folder: Path
    file: str


def _engines(model: Model) -> Iterator[_Engine]:
    parameters = model.filled()
    for key in _PATHS:
        folder = local_folder(model, parameters.get(key, ""))
        if folder is not None and is_inside(folder, model.repository.root):
            inside = folder.is_relative_to(model.path)
            file = folder.relative_to(model.path).as_posix() if inside else ""
            yield _Engine(key, folder, file)


def _read(model: Model, engine: _Engine) -> EngineConfig:
    _require_inside(engine.folder / engineconfig.CONFIG, model.repository.root)
    return engineconfig.read(engine.folder)


def _readable(model: Model) -> Iterator[tuple[_Engine, EngineConfig]]:
    for engine in _engines(model):
        try:
            yield engine, _read(model, engine)
        except RepositoryError:
            continue  # TRT731 says so


@rule(
    "TRT731",
    "an engine has the config.json that trtllm-build wrote",
    fix="set gpt_model_path to the directory with config.json and rank*.engine, or " + _BUILD,
    mirrors="GptJsonConfig::parse",
    backends=_ENGINE,
    bad=Example(engine_parameters(), files={"m/1/config.json": ""}, base="engine"),
    good=Example(engine_parameters(), base="engine"),
)
def has_config(model: Model) -> Problems:
    """The backend reads from it how to run the engine; missing, empty or of another kind, it fails
    with a JSON error that names no file."""
    for engine in _engines(model):
        try:
            _read(model, engine)
        except RepositoryError as error:
            at = "config.json" if not engine.file else f"{engine.file}/config.json"
            yield Problem(f"{engine.key}: {error.what}", file=at, server=_JSON)


_JSON = "unexpected error when creating modelInstanceState: [json.exception.parse_error.101]"


@rule(
    "TRT732",
    "an engine has a file for each of its ranks",
    fix=_BUILD,
    artifact=True,
    backends=_ENGINE,
    bad=Example(engine_parameters(), files={"m/1/rank0.engine": None}, base="engine"),
    good=Example(engine_parameters(), base="engine"),
)
def has_ranks(model: Model) -> Problems:
    """One ``rank<N>.engine`` for each GPU: tensor × pipeline × context parallel size. The server
    must be started with as many processes (MPI), or in orchestrator mode."""
    for engine, config in _readable(model):
        names = [path.name for path in engine.folder.iterdir()]
        if lacking := engineconfig.lacking_ranks(config, names):
            built = bool(engineconfig.ranks(names))
            yield Problem(
                f"the engine is not whole: {lacking}" if built else f"no engine is here: {lacking}",
                file=engine.file,
            )


@rule(
    "TRT733",
    "an engine was built by the server's TensorRT-LLM",
    fix="build it again with the release that serves it",
    backends=_ENGINE,
    bad=Example(
        engine_parameters(),
        {"m/1/config.json": engine_config(version="0.9.0")},
        "engine",
        triton="26.07",
    ),
    good=Example(engine_parameters(), base="engine", triton="26.07"),
)
def right_version(model: Model) -> Problems:
    """An engine loads in the release that built it only, and its ``config.json`` changes from
    release to release."""
    release = trtllm_release_of(model)
    for engine, config in _readable(model):
        # without in-flight batching nothing but the release can be in conflict
        for conflict in engineconfig.conflicts(config, {"gpt_model_type": "V1"}, release=release):
            file = f"{engine.file}/config.json"
            yield Problem(conflict.text, file=file, fix=conflict.fix)


_MANIFEST = '{ "sm": 89, "gpu": "NVIDIA L4" }'


@rule(
    "TRT734",
    "an engine was compiled on the kind of GPU that runs it",
    fix="convert again on a GPU of the kind that serves it",
    backends=_ENGINE,
    bad=Example(engine_parameters(), {"m/1/manifest.json": _MANIFEST}, "engine", sm=90),
    good=Example(engine_parameters(), {"m/1/manifest.json": _MANIFEST}, "engine", sm=89),
)
def right_gpu(model: Model) -> Problems:
    """An engine runs on the compute capability that it was compiled on. Its own files do not say
    which; ``manifest.json``, which ``trtbuild convert`` writes, does. Asked when the GPU is known,
    as it is to ``trtbuild serve``."""
    sm = model.repository.options.sm
    for engine in _engines(model):
        text = model.json(f"{engine.file}/manifest.json") if sm and engine.file else None
        built = text.value.get("sm") if text is not None and isinstance(text.value, dict) else 0
        if isinstance(built, int) and built and built != sm:
            gpu = str(text.value.get("gpu") or "another GPU") if text else ""
            yield Problem(
                f"the engine was compiled on {gpu} (SM {built}), and the server's GPU is SM {sm}",
                file=f"{engine.file}/manifest.json",
            )


@rule(
    "TRT736",
    "the engine was built for what the configuration asks of it",
    fix="change the parameter, or build the engine for it",
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(enable_kv_cache_reuse="true"), base="engine"),
        Example(engine_parameters(max_beam_width="4"), base="engine"),
        Example("max_batch_size: 64\n" + engine_parameters(), base="engine"),
        Example(
            "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
            + engine_parameters(gpu_device_ids="0;1"),
            base="engine",
        ),
    ],
    good=Example(engine_parameters(), base="engine"),
)
def engine_fits(model: Model) -> Problems:
    """KV cache reuse and chunked context want paged context FMHA, in-flight batching a paged
    cache; batch, beams and the paged cache are limited by what the engine was built for. Parameters
    that only work together (lookahead decoding, guided decoding, several sets of GPUs) are all
    there."""
    for engine, config in _readable(model):
        if engine.key != "gpt_model_path":
            continue
        found = engineconfig.conflicts(
            config,
            model.filled(),
            max_batch_size=model.config.max_batch_size,
            instances=sum(group.count or 1 for group in model.config.instance_group),
        )
        for conflict in found:
            severity = Severity.WARNING if conflict.starts else None
            place = _place(model, conflict.key)
            yield Problem(conflict.text, place, fix=conflict.fix, severity=severity)


def _place(model: Model, key: str) -> Position:
    if key == "max_batch_size":
        return model.at(key)
    return model.at_parameter(key) if key else NOWHERE


@rule(
    "TRT737",
    "an engine is built for lengths that are needed",
    fix="build with a max_seq_len that you need (--set max_seq_len=8192)",
    severity=Severity.WARNING,
    backends=_ENGINE,
    bad=Example(
        engine_parameters(),
        {"m/1/config.json": engine_config(max_seq_len=1_048_576)},
        base="engine",
    ),
    good=Example(engine_parameters(), base="engine"),
)
def lengths(model: Model) -> Problems:
    """Without a limit an engine is built for the longest sequence that the checkpoint names, which
    may be a million tokens and takes memory at once. A max_num_tokens below max_input_len, without
    chunked context, refuses the longer prompts."""
    for engine, config in _readable(model):
        file = f"{engine.file}/config.json"
        if config.max_seq_len > _LONG:
            yield Problem(f"max_seq_len is {config.max_seq_len:,}", file=file)
        chunked = model.filled().get("enable_chunked_context", "").lower() in ("true", "1")
        if 0 < config.max_num_tokens < config.max_input_len and not chunked:
            yield Problem(
                f"prompts longer than max_num_tokens {config.max_num_tokens:,} are refused, "
                f"although max_input_len is {config.max_input_len:,}",
                file=file,
                fix="build with max_num_tokens of at least max_input_len, or set "
                "enable_chunked_context",
            )


def _require_inside(path: Path, root: Path) -> Path:
    """``path``, for a reader of its own.

    Raises:
        ReportedError: A link leads out of ``root``, or it is a Git LFS pointer.
    """
    if not is_inside(path, root):
        raise OutsideError(path)
    if stand_in(path) == "pointer":
        raise PointerError(path)
    return path
