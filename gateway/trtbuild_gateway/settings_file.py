"""``gateway.yaml`` as it is read from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trtbuild.errors import RecipeError
from trtbuild.server_records import server_of
from trtbuild_gateway.settings import Settings, settings_of

_ADDRESSES = ("url", "servers")


def read_settings(path: Path | None, **given: Any) -> Settings:
    """Return the settings of a file, with values given elsewhere instead of its own.

    Relative paths are relative to the file. Without a ``url`` it is the server of this machine that
    serves the repository, if one runs.

    Raises:
        RecipeError: The file cannot be read, or a key or value is wrong.
    """
    value = {} if path is None else _loaded(path)
    own = {key: item for key, item in given.items() if item is not None}
    if not own.keys().isdisjoint(_ADDRESSES):
        value = {key: item for key, item in value.items() if key not in _ADDRESSES}
    value |= own
    if all(key in value for key in _ADDRESSES):
        raise RecipeError(
            "there is both 'url' and 'servers'",
            where=str(path or "the command line"),
            fix="move the address of 'url' into 'servers'",
        )
    try:
        found = settings_of(value)
    except msgspec.ValidationError as error:
        raise RecipeError(
            f"the gateway's settings are invalid: {error}",
            where=str(path or "the command line"),
            fix="correct the key; docs/reference/gateway.md lists all of them",
        ) from None
    found = found if path is None else _placed(found, path.parent)
    if found.repository is None or not value.keys().isdisjoint(_ADDRESSES):
        return found
    server = server_of(found.repository)
    return msgspec.structs.replace(found, url=server.url("http")) if server else found


def with_control_port(settings: Settings, port: int) -> Settings:
    """Return settings with another control port.

    Raises:
        RecipeError: It is not a port.
    """
    if not 0 <= port <= 65535:
        raise RecipeError(
            f"{port} is not a port", where="--control-port", fix="use a number from 0 to 65535"
        )
    control = msgspec.structs.replace(settings.control, port=port)
    return msgspec.structs.replace(settings, control=control)


def _loaded(path: Path) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read: {error.strerror}", fix="name the file with -f"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not YAML: {' '.join(str(error).split())}", fix="correct the file"
        ) from None
    if value is not None and not isinstance(value, dict):
        raise RecipeError(f"{path} must be a mapping", fix="write `key: value` lines")
    return dict(value or {})


def _placed(settings: Settings, base: Path) -> Settings:
    def below(path: Path | None) -> Path | None:
        return None if path is None else base / path

    models = {
        name: msgspec.structs.replace(
            one, tokenizer=below(one.tokenizer), chat_template=below(one.chat_template)
        )
        for name, one in settings.models.items()
    }
    control = msgspec.structs.replace(
        settings.control, token_file=below(settings.control.token_file)
    )
    return msgspec.structs.replace(
        settings,
        repository=below(settings.repository),
        registry=below(settings.registry),
        models=models,
        access=settings.access.placed(base),
        batches=msgspec.structs.replace(
            settings.batches, directory=below(settings.batches.directory)
        ),
        exposures=msgspec.structs.replace(
            settings.exposures, directory=below(settings.exposures.directory)
        ),
        control=control,
    )
