"""Read the LLMs of an engine-flow repository and their settings.

A deployment is one model of the ``tensorrtllm`` backend (or NVIDIA's Python runtime in its place)
with the models around it: the ensemble that clients call, the two that handle text, the BLS one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild import pbtxt
from trtbuild.errors import RepositoryError, UsageError
from trtbuild_engine_flow import engineconfig
from trtbuild_engine_flow.engineconfig import EngineConfig
from trtbuild_engine_flow.migration.callers import Caller, callers
from trtbuild_engine_flow.migration.roles import roles
from trtbuild_engine_flow.migration.table import table

_BACKENDS = {"tensorrtllm", "tensorrt_llm"}
_MOUNT = "/models/"
_UNFILLED = re.compile(r"\$\{\w*\}")
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class LegacyDeployment:
    """One LLM of the repository.

    Attributes:
        engine_model: The model that runs the engine.
        entry: The model that clients call: the ensemble, else BLS, else the engine's own.
        models: All of its models, the entry first.
        parameters: Key to value, of all models; without empty ones.
        unfilled: Keys whose value is still a placeholder such as ``${engine_dir}``.
        max_batch_size: Of the engine's model.
        instances: Of the engine's model.
        decoupled: Whether it streams.
        queue_delay: Microseconds that requests wait to form a batch.
        queue_size: Maximum number of waiting requests; 0 for no limit.
        tensors: Names that clients see.
        roles: The usual name of renamed tensors: ``text`` is ``text_input``.
        callers: Other models that call one of its models by name.
        tokenizer_dir: Directory of the tokenizer, empty if it is not named or missing.
        engine: What the engine was built for, None without its ``config.json``.
        engine_problem: Why ``engine`` is None.
    """

    engine_model: str
    entry: str
    models: tuple[str, ...]
    parameters: Mapping[str, str]
    unfilled: tuple[str, ...] = ()
    max_batch_size: int = 0
    instances: int = 1
    decoupled: bool = False
    queue_delay: int = 0
    queue_size: int = 0
    tensors: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    callers: tuple[Caller, ...] = ()
    tokenizer_dir: str = ""
    engine: EngineConfig | None = field(default=None, repr=False)
    engine_problem: str = ""


def deployments(repository: Path) -> tuple[LegacyDeployment, ...]:
    """Return every LLM of the engine flow in ``repository``, by name.

    Raises:
        UsageError: There is no such directory, or no such model in it.
        RepositoryError: A ``config.pbtxt`` is invalid; the error has the place.
    """
    if not repository.is_dir():
        raise UsageError(f"there is no directory {repository}", fix="name a model repository")
    configs = dict(_configs(repository))
    engines = [name for name, config in configs.items() if _runs_engine(config)]
    if not engines:
        raise UsageError(
            f"no model of {repository} runs a TensorRT-LLM engine",
            where=str(repository),
            details=tuple(
                f"{name}: {_kind(config, repository / name)}" for name, config in configs.items()
            ),
            fix="name a repository with a model of the tensorrtllm backend",
        )
    # A draft model for another one does not count as an LLM.
    drafts = {_draft(config) for config in configs.values()}
    served = [name for name in engines if name not in drafts] or engines
    return tuple(_deployment(repository, name, configs) for name in served)


def left_behind(repository: Path, deployments: Sequence[LegacyDeployment]) -> Mapping[str, str]:
    """Return the models of ``repository`` outside all deployments, with their backends."""
    taken = {model for deployment in deployments for model in deployment.models}
    configs = dict(_configs(repository))
    folders = {path.name: path for path in sorted(repository.iterdir()) if _is_model(path)}
    return {
        name: _kind(configs.get(name, _NO_CONFIG), folder)
        for name, folder in folders.items()
        if name not in taken
    }


def _is_model(folder: Path) -> bool:
    """Whether the server would treat a directory as a loadable model."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return (folder / "config.pbtxt").exists() or any(folder.glob("[1-9]*/model.*"))


def _configs(repository: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(repository.glob("*/config.pbtxt")):
        try:
            if not path.is_file():  # a pipe would never end
                raise RepositoryError(f"{path} is not a file", where=str(path), fix="remove it")
            if path.stat().st_size > _MAX_BYTES:
                raise RepositoryError(
                    f"{path} has more than {_MAX_BYTES >> 20} MiB, which no configuration has",
                    where=str(path),
                    fix="put the model's config.pbtxt in its place",
                )
            yield path.parent.name, pbtxt.parse(path.read_text(encoding="utf-8"))
        except pbtxt.PbtxtError as error:
            raise _unreadable(path, error) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RepositoryError(
                f"{path} cannot be read: {error}", where=str(path), fix="check the file"
            ) from None


def _unreadable(path: Path, error: pbtxt.PbtxtError) -> RepositoryError:
    line = path.read_text(encoding="utf-8").splitlines()[error.line - 1 : error.line]
    left = _UNFILLED.search(line[0]) if line else None
    return RepositoryError(
        f"a placeholder was never filled in: {left[0]}" if left else error.message,
        where=f"{path}:{error.line}:{error.column}",
        fix="fill the templates in first (fill_template.py)" if left else "correct the file",
    )


_NO_CONFIG = pbtxt.model_config()
# The backend that the server infers from a file's name if the configuration names none.
_INFERRED = {
    "model.py": "python", "model.onnx": "onnxruntime", "model.plan": "tensorrt",
    "model.pt": "pytorch", "model.xml": "openvino", "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
}  # fmt: skip


def _kind(config: Any, folder: Path) -> str:
    """Return a model's backend, from its configuration or inferred like the server does."""
    if said := config.backend or config.platform:
        return str(said)
    named = _INFERRED.get(config.default_model_filename, "")
    names = sorted({path.name for path in folder.glob("[1-9]*/model.*")})
    found = next((_INFERRED[name] for name in names if name in _INFERRED), "")
    return named or found or "no backend"


def _runs_engine(config: Any) -> bool:
    if config.backend in _BACKENDS:
        return True
    inputs = {tensor.name for tensor in config.input}
    chosen = config.backend == "python" or bool(_UNFILLED.search(config.backend))
    asks = "context_model_name" in config.parameters  # BLS in front of engines that share a request
    return chosen and not asks and {"input_ids", "request_output_len"} <= inputs


def _deployment(repository: Path, name: str, configs: Mapping[str, Any]) -> LegacyDeployment:
    config = configs[name]
    ensembles = [one for one, other in configs.items() if name in _steps(other)]
    bls = [one for one, other in configs.items() if _asks(other, name, configs)]
    entry = next(iter((*ensembles, *bls, name)))
    helpers = [step for one in ensembles for step in _steps(configs[one]) if step in configs]
    helpers += [draft for one in bls if (draft := _draft(configs[one])) in configs]
    models = tuple(dict.fromkeys((entry, *ensembles, *bls, *helpers, name)))
    given = _parameters(config)  # the engine's own take precedence
    for model in reversed(models):
        given = {**_parameters(configs[model]), **given}
    parameters = {key: value for key, value in given.items() if not _UNFILLED.search(value)}
    engine, problem = _engine(repository, name, parameters)
    if "gpt_model_path" in given.keys() - parameters.keys():
        problem = f"gpt_model_path is still {given['gpt_model_path']}"
    tensors = [
        tensor.name for part in ("input", "output") for tensor in getattr(configs[entry], part)
    ]
    return LegacyDeployment(
        engine_model=name,
        entry=entry,
        models=models,
        parameters=parameters,
        unfilled=tuple(sorted(given.keys() - parameters.keys())),
        max_batch_size=config.max_batch_size,
        instances=max((group.count for group in config.instance_group), default=1) or 1,
        decoupled=config.model_transaction_policy.decoupled,
        queue_delay=config.dynamic_batching.max_queue_delay_microseconds,
        queue_size=config.dynamic_batching.default_queue_policy.max_queue_size,
        tensors=tuple(tensors),
        roles=roles(entry, configs, _members()),
        callers=callers(repository, models, configs),
        tokenizer_dir=_tokenizer(repository, {model: configs[model] for model in models}),
        engine=engine,
        engine_problem=problem,
    )


def _members() -> Mapping[str, str]:
    """Return the usual names of the members' tensors."""
    members: Mapping[str, str] = table()["members"]
    return members


def _steps(config: Any) -> list[str]:
    return [step.model_name for step in config.ensemble_scheduling.step]


def _asks(config: Any, engine_model: str, configs: Mapping[str, Any]) -> bool:
    """Whether a BLS model calls this engine: by its parameter, else by the default name."""
    if not {"tensorrt_llm_model_name", "accumulate_tokens"} & set(config.parameters):
        return False
    named = _parameters(config).get("tensorrt_llm_model_name", "")
    if not named or _UNFILLED.search(named):
        named = "tensorrt_llm"
    return str(named) == engine_model and engine_model in configs


def _draft(config: Any) -> str:
    """Return the draft engine of a BLS model, ``""`` without one."""
    return _parameters(config).get("tensorrt_llm_draft_model_name", "")


def _parameters(config: Any) -> dict[str, str]:
    found = {key: str(value.string_value).strip() for key, value in config.parameters.items()}
    return {key: value for key, value in found.items() if value}


def _tokenizer(repository: Path, configs: Mapping[str, Any]) -> str:
    for model, config in configs.items():
        given = _parameters(config).get("tokenizer_dir", "")
        for path in _places(repository, model, given):
            if path.is_dir():
                return str(path)
    return ""


def _engine(
    repository: Path, model: str, parameters: Mapping[str, str]
) -> tuple[EngineConfig | None, str]:
    given = parameters.get("gpt_model_path") or parameters.get("engine_dir", "")
    problem = ""
    for path in _places(repository, model, given or "."):
        try:
            return engineconfig.read(path), ""
        except RepositoryError as error:
            problem = problem or error.what
    return None, problem


def _places(repository: Path, model: str, path: str) -> Iterator[Path]:
    """Return possible places of a container's path on this machine."""
    if not path:
        return
    if path.startswith(_MOUNT):
        yield repository / path.removeprefix(_MOUNT)
    if path.startswith("/"):
        yield Path(path)
    else:
        yield repository / model / "1" / path
