"""What can be said of the settings before a server is asked."""

from __future__ import annotations

from trtbuild import lockfile
from trtbuild.errors import RecipeError
from trtbuild.lockfile import Lock
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.parsing import UnknownFamilyError, named
from trtbuild_gateway.seams import ADAPTER, Workers
from trtbuild_gateway.settings import ModelSettings, Settings


def lock_of(settings: Settings) -> Lock:
    """Return what the repository says of its models.

    Raises:
        RecipeError: The lock cannot be read, or a model's settings are wrong.
    """
    for name, own in settings.models.items():
        _check_parser(name, own)
        _check_fallbacks(name, own)
    return Lock() if settings.repository is None else lockfile.read(settings.repository)


def wire_to(url: str, settings: Settings, workers: Workers | None = None) -> TritonHttp:
    """Return a client of a server.

    Raises:
        RecipeError: The address is none.
    """
    if url.startswith(ADAPTER):
        if workers is None:
            raise RecipeError(
                "a model registry cannot be added while the gateway runs",
                where="registry",
                fix="restart the gateway",
            )
        return workers.wire(url)
    seconds = settings.routing.connect_seconds
    try:
        return TritonHttp(url, seconds=settings.seconds, connect_seconds=seconds)
    except ValueError as error:
        raise RecipeError(
            f"{url!r} is not the address of a server: {error}",
            where="url or servers",
            fix="write HOST:PORT, or http:// or https:// with a host",
        ) from None


def _check_parser(name: str, own: ModelSettings) -> None:
    try:
        if own.parser:
            named(own.parser)
    except UnknownFamilyError as error:
        raise RecipeError(
            str(error),
            where=f"models.{name}.parser",
            fix="choose one of docs/reference/parsers.md, or leave it out to detect it",
        ) from None


def _check_fallbacks(name: str, own: ModelSettings) -> None:
    if own.url and own.servers:
        raise RecipeError(
            f"the model {name!r} has both 'url' and 'servers'",
            where=f"models.{name}",
            fix="move the address of 'url' into 'servers'",
        )
    if name in own.fallbacks:
        raise RecipeError(
            f"the model {name!r} is its own fallback",
            where=f"models.{name}.fallbacks",
            fix="name other models",
        )
