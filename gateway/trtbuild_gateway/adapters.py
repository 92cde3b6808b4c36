"""Models that adapters run, in workers of this machine instead of a Triton server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trtbuild.errors import RecipeError
from trtbuild_gateway.seams import ADAPTER
from trtbuild_gateway.settings import ModelSettings, Settings

if TYPE_CHECKING:
    from trtbuild_backends.registry import ModelEntry
    from trtbuild_backends.supervisor import Supervisor


def adapted(settings: Settings) -> Settings:
    """Return settings with the models of the registry among the others.

    Raises:
        RecipeError: The registry is wrong, or a model is in both files.
    """
    if settings.registry is None:
        return settings
    from trtbuild_backends.registry import read_registry

    models = dict(settings.models)
    for name, entry in read_registry(settings.registry).models.items():
        if name in models:
            raise RecipeError(
                f"the model {name!r} is in the gateway's settings and in the registry",
                where=f"models.{name}",
                fix="keep one of the two",
            )
        models[name] = _settings_of(name, entry)
    return msgspec.structs.replace(settings, models=models)


def workers_of(settings: Settings) -> Supervisor | None:
    """Return whoever starts workers; None without a registry."""
    if settings.registry is None:
        return None
    try:
        from trtbuild_backends.registry import read_registry
        from trtbuild_backends.supervisor import Supervisor
    except ImportError:
        raise RecipeError(
            "models of a registry need the package trtbuild-backends",
            where="registry",
            fix="pip install 'trtbuild-gateway[adapters]'",
        ) from None
    install = settings.jit_install == "allow"
    return Supervisor(read_registry(settings.registry), jit_install=install)


def _settings_of(name: str, entry: ModelEntry) -> ModelSettings:
    return ModelSettings(
        url=ADAPTER + name,
        tokenizer=entry.tokenizer,
        chat_template=entry.chat_template,
        parser=entry.parser,
        context_length=entry.context_length,
        aliases=entry.aliases,
        seconds=entry.seconds,
    )
