"""What a package says of its adapter, read without importing the package.

An adapter is an entry point of the group ``trtbuild.backends.v1``, whose value is its class, in a
package that has a file ``adapter.toml``.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

import msgspec

from trtbuild.errors import ServerError

GROUP = "trtbuild.backends.v1"
_FILE = "adapter.toml"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``adapter.toml``.

    Attributes:
        framework: What computes: ``transformers``, ``vllm``.
        tasks: What its models can be asked for: ``generate``, ``embed``.
        summary: One sentence.
        architecture: Of the models that it is for; a checkpoint of this machine says its own.
        backend_class: ``package.module:Class``; the entry point's value.
        distribution: The package and its version.
    """

    framework: str
    tasks: tuple[str, ...]
    summary: str
    architecture: str = ""
    backend_class: str = ""
    distribution: str = ""


def manifests(path: Sequence[str] | None = None) -> dict[str, Manifest]:
    """Return the adapters that packages offer, by name; broken ones are left out.

    Args:
        path: The directories of the packages; None: those of the running Python.
    """
    made: dict[str, Manifest] = {}
    for name, point in _points(path).items():
        try:
            made[name] = _read(point, path)
        except _UnreadableError:
            continue
    return made


def manifest(name: str, path: Sequence[str] | None = None) -> Manifest:
    """Return one adapter's manifest.

    Raises:
        ServerError: No package offers it, or its manifest cannot be read.
    """
    points = _points(path)
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise ServerError(
            f"no package offers the adapter {name!r}; there is: {known}",
            where=str(path[0]) if path else sys.prefix,
            fix="install its package there, or list the adapter in the registry with a lock",
        )
    try:
        return _read(points[name], path)
    except _UnreadableError as error:
        raise ServerError(
            f"the manifest of the adapter {name!r} cannot be read: {error}",
            where=points[name].value,
            fix=f"install a package with a valid {_FILE}: docs/guides/writing-an-adapter.md",
        ) from None


class _UnreadableError(Exception):
    """A manifest that is missing or wrong."""


def _points(path: Sequence[str] | None) -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.distributions(path=list(sys.path if path is None else path))
    return {
        point.name: point
        for distribution in found
        for point in distribution.entry_points
        if point.group == GROUP
    }


def _read(point: importlib.metadata.EntryPoint, path: Sequence[str] | None) -> Manifest:
    package = point.module.partition(".")[0]
    try:
        spec = PathFinder.find_spec(package, None if path is None else list(path))
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not places:
            raise _UnreadableError(f"there is no package {package!r}")
        values = tomllib.loads((Path(places[0]) / _FILE).read_text("utf-8"))
        made = msgspec.convert(values, Manifest)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise _UnreadableError(" ".join(str(error).split())) from None
    dist = point.dist
    return msgspec.structs.replace(
        made,
        backend_class=made.backend_class or point.value,
        distribution=f"{dist.name} {dist.version}" if dist is not None else "",
    )
