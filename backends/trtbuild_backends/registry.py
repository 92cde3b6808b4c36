"""The model registry: which adapter runs which model, and what may be installed for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trtbuild.errors import RecipeError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

Seconds = Annotated[float, Meta(gt=0)]


class AdapterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an adapter's environment comes from. Only what is listed here is ever installed.

    Attributes:
        lock: A requirements file with a hash for every package; the environment is made from it.
        sha256: Of the lock, in hexadecimal: another file is refused.
        wheels: A directory of wheels to install from instead of a package index.
        python: The interpreter of an environment that exists already, instead of ``lock``.
    """

    lock: Path | None = None
    sha256: str = ""
    wheels: Path | None = None
    python: Path | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model may use.

    Attributes:
        load_seconds: The longest that its worker may take until the model is loaded.
        drain_seconds: How long a worker that is replaced may finish its requests.
        restarts: Failures in a row after which it is not started again.
    """

    load_seconds: Seconds = 900.0
    drain_seconds: Seconds = 30.0
    restarts: Annotated[int, Meta(ge=0)] = 5


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model.

    Attributes:
        adapter: The name under which a package offers the adapter.
        framework: What the adapter's manifest must say, if it is given.
        backend_class: ``package.module:Class``, if not the manifest's own.
        source: The checkpoint: a directory, relative to the registry, or an id.
        revision: Of the source.
        tokenizer: The directory of its tokenizer and chat template; the source if that is one.
        chat_template: A file with a chat template to use instead of the model's own.
        parser: How it writes reasoning and tool calls.
        context_length: Tokens of prompt and answer, if the adapter does not say.
        aliases: More names for the model.
        seconds: The longest that a whole answer may take.
        limits: What it may use.
        options: The adapter's own settings.
        environment: Variables of the worker.
        preload: Load it when the gateway starts.
        token: Whether the worker gets ``HF_TOKEN``.
    """

    adapter: str
    source: str
    framework: str = ""
    backend_class: str = ""
    revision: str = ""
    tokenizer: Path | None = None
    chat_template: Path | None = None
    parser: str = ""
    context_length: Annotated[int, Meta(ge=0)] = 0
    aliases: tuple[str, ...] = ()
    seconds: Seconds | None = None
    limits: Limits = Limits()
    options: dict[str, Any] = {}
    environment: dict[str, str] = {}
    preload: bool = False
    token: bool = False


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        models: By name.
        adapters: By name. One that is not listed must be installed beside the gateway.
    """

    models: dict[str, ModelEntry] = {}
    adapters: dict[str, AdapterSettings] = {}


def read_registry(path: Path | None) -> Registry:
    """Return the registry of a file; an empty one without a file.

    Raises:
        RecipeError: The file cannot be read, or a key or value is wrong.
    """
    if path is None:
        return Registry()
    try:
        found = msgspec.convert(_loaded(path), Registry, strict=False, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise RecipeError(
            f"the model registry is invalid: {error}",
            where=str(path),
            fix="correct the key; docs/reference/adapters.md lists all of them",
        ) from None
    for name in found.models:
        if not _NAME.fullmatch(name):
            raise RecipeError(
                f"{name!r} cannot be the name of a model",
                where=f"{path}: models",
                fix="use letters, digits, '.', '_' and '-'",
            )
    for name, adapter in found.adapters.items():
        _check_adapter(f"{path}: adapters.{name}", adapter)
    return _placed(found, path.parent)


def _check_adapter(where: str, adapter: AdapterSettings) -> None:
    if (adapter.lock is None) == (adapter.python is None):
        raise RecipeError(
            "an adapter needs either 'lock' or 'python'",
            where=where,
            fix="name a lock with its 'sha256', or the interpreter of an environment",
        )
    if adapter.lock is not None and not re.fullmatch(r"[0-9a-f]{64}", adapter.sha256):
        raise RecipeError(
            "the lock has no 'sha256', which is what allows it to be installed",
            where=where,
            fix=f"add the output of: sha256sum {adapter.lock}",
        )


def _decoded(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError


def _loaded(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"the model registry {path} cannot be read: {error.strerror}",
            fix="correct 'registry' in the gateway's settings",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} is not YAML: {' '.join(str(error).split())}", fix="correct the file"
        ) from None
    if value is not None and not isinstance(value, dict):
        raise RecipeError(f"{path} must be a mapping", fix="write `models:` and `adapters:`")
    return value or {}


def _placed(registry: Registry, base: Path) -> Registry:
    """Return the registry with paths relative to its file."""

    def below(path: Path | None) -> Path | None:
        return None if path is None else base / path

    def model(one: ModelEntry) -> ModelEntry:
        local = base / one.source
        source, tokenizer = one.source, below(one.tokenizer)
        if local.is_dir():
            source, tokenizer = str(local.resolve()), tokenizer or local
        template = below(one.chat_template)
        return msgspec.structs.replace(
            one, source=source, tokenizer=tokenizer, chat_template=template
        )

    def adapter(one: AdapterSettings) -> AdapterSettings:
        return msgspec.structs.replace(
            one, lock=below(one.lock), wheels=below(one.wheels), python=below(one.python)
        )

    return Registry(
        {name: model(one) for name, one in registry.models.items()},
        {name: adapter(one) for name, one in registry.adapters.items()},
    )
