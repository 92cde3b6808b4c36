"""Libraries: shared libraries that the server loads from a model's directory."""

from __future__ import annotations

import os
from collections.abc import Iterator

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild.check.reading import ReportedError, is_inside, is_placeholder, open_inside
from trtbuild_rules.readers.datafiles import joined

_ELF = b"\x7fELF"
_STRATEGY = "batchstrategy.so"


def _found(model: Model, name: str) -> Iterator[tuple[str, str]]:
    """The directory and the path in which each version that is loaded finds a library."""
    for version in model.served:
        for folder in (str(version), "."):
            path = os.path.normpath(joined(folder, name))
            if (model.path / joined(folder, name)).exists():
                yield folder, path
                break


@rule(
    "TRT355",
    "the runtime is in the directory that it is looked for in",
    fix="write the name of a file in the version directory, without '..', and no link",
    mirrors="TritonModel::GetBackendLibraryProperties",
    bad='runtime: "../libtriton_other.so"',
    good='runtime: "libtriton_python.so"',
)
def runtime_stays(model: Model) -> Problems:
    """The server looks for ``runtime`` in the version, in the model's directory and in the
    backend's, and refuses a path or a link that leads out of the one in which it found it."""
    runtime = model.config.runtime
    if not runtime:
        return
    backend = f"/{model.backend}"
    leads_out = not f"{os.path.normpath(joined(backend, runtime))}/".startswith(f"{backend}/")
    linked = (
        not is_inside(model.path / path, model.path / folder)
        for folder, path in _found(model, runtime)
    )
    if leads_out or any(linked):
        yield Problem(
            f"{runtime!r} leads out of the directory",
            model.at("runtime"),
            server=f"backend library name '{runtime}' escapes backend directory",
        )


@rule(
    "TRT356",
    "a library in a model's directory is a shared library",
    fix="build it again for Linux and copy the file itself, or remove it",
    mirrors="SharedLibrary::OpenLibraryHandle",
    bad={"m/1/batchstrategy.so": "#!/bin/sh\n" + "# a build script\n" * 10},
    good={"m/1/libother.so": "a text, which the server does not load"},
)
def library_is_one(model: Model) -> Problems:
    """The server loads three files from a version or the model's directory: ``runtime``,
    ``libtriton_NAME.so`` of its backend, and ``batchstrategy.so`` of a model without
    ``sequence_batching``."""
    if model.is_ensemble:
        return
    names = [model.config.runtime or f"libtriton_{model.backend}.so"]
    if not model.config.HasField("sequence_batching"):
        names.append(_STRATEGY)
    for name in names:
        for folder, path in _found(model, name):
            if name != "model.py" and is_inside(model.path / path, model.path / folder):
                yield from _judged(model, path)


def _judged(model: Model, path: str) -> Problems:
    try:
        with open_inside(model.path / path, model.repository.root) as stream:
            right = stream.read(len(_ELF)) == _ELF
    except ReportedError:
        raise
    except OSError:
        right = False
    if not right:
        file = model.path / path
        short = file.is_file() and is_placeholder(file)
        yield Problem(
            f"{path} is a directory" if file.is_dir() else f"{path} is not a shared library",
            file=path,
            server=f"unable to load shared library: {path}",
            severity=Severity.WARNING if short else None,
        )
