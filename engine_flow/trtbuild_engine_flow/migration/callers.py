"""Models that call a migrated one by name: they break unless they are changed.

Their sources are read as text and as syntax, never imported or run.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_BYTES, _MAX_FILES = 1 << 20, 200  # of one source, of one model
# Signs of calls in a source: Triton's BLS request, a client of the server, or an address of it.
_ASKS = re.compile(r"\bInferenceRequest\b|\btritonclient\b|\bInferenceServerClient\b|/v2/models/")
_ADDRESS = re.compile(r"/v2/models/([^/\s\"'{}]+)")
_WORD = re.compile(r"""["']([^"'\n]{1,200})["']""")


@dataclass(frozen=True, slots=True)
class Caller:
    """A model that calls another by name.

    Attributes:
        model: The model that calls.
        file: The file that names the other model, relative to the repository.
        line: From 1.
        calls: The model that is called.
        sends, reads: Those of its tensors that the source names.
    """

    model: str
    file: str
    line: int
    calls: str
    sends: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def callers(
    repository: Path, taken: Collection[str], configs: Mapping[str, Any]
) -> tuple[Caller, ...]:
    """Return the models of ``repository`` outside ``taken`` that call one of ``taken`` by name."""
    folders = (path for path in sorted(repository.iterdir()) if path.is_dir())
    return tuple(
        caller
        for folder in folders
        if folder.name not in taken and not folder.name.startswith(".")
        for caller in _of_model(repository, folder, taken, configs)
    )


def _of_model(
    repository: Path, folder: Path, taken: Collection[str], configs: Mapping[str, Any]
) -> Iterator[Caller]:
    config = configs.get(folder.name)
    steps = config.ensemble_scheduling.step if config is not None else ()
    for called in sorted({step.model_name for step in steps} & {*taken}):
        yield _named_in_config(folder, called)
    words = _searched(dict(_sources(folder)), configs)
    every = {word for found in words.values() for word in found}
    seen: set[str] = set()
    for path, found in words.items():
        file = path.relative_to(repository).as_posix()
        for called in taken:
            if called in found and called not in seen:
                seen.add(called)
                tensors = _tensors(configs.get(called), every)
                yield Caller(folder.name, file, found[called], called, *tensors)
    parameters = config.parameters.values() if config is not None and words else ()
    for called in sorted({value.string_value for value in parameters} & {*taken} - seen):
        place = _named_in_config(folder, called)
        tensors = _tensors(configs.get(called), every)
        yield Caller(place.model, place.file, place.line, called, *tensors)


def _searched(sources: Mapping[Path, str], names: Collection[str]) -> dict[Path, dict[str, int]]:
    """Return the words of the files that call a model, and of all where none of those names one."""
    asking = {path for path, text in sources.items() if _ASKS.search(text)}
    words = {path: _words(text) for path, text in sources.items() if asking}
    calling = {path: found for path, found in words.items() if path in asking}
    return calling if any(found.keys() & {*names} for found in calling.values()) else words


def _named_in_config(folder: Path, called: str) -> Caller:
    text = (folder / "config.pbtxt").read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    line = next((n for n, row in enumerate(lines, 1) if called in _WORD.findall(row)), 1)
    return Caller(folder.name, f"{folder.name}/config.pbtxt", line, called)


def _sources(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield a model's readable Python files: those of its versions, and those beside them."""
    inside = folder.resolve()
    versions = (path for one in sorted(folder.glob("[0-9]*")) for path in one.rglob("*.py"))
    for number, path in enumerate([*sorted(versions), *sorted(folder.glob("*.py"))]):
        if number == _MAX_FILES:
            return
        try:
            own = path.resolve().is_relative_to(inside)
            if own and path.is_file() and path.stat().st_size <= _MAX_BYTES:
                yield path, path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _words(text: str) -> dict[str, int]:
    """Return the string constants of a source and the models in addresses, with the first line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escape sequences
            tree = ast.parse(text)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found = [(node.value, node.lineno) for node in nodes if isinstance(node.value, str)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        rows = enumerate(text.splitlines(), 1)
        found = [(word, number) for number, row in rows for word in _WORD.findall(row)]
    found += [(name, line) for word, line in found for name in _ADDRESS.findall(word)]
    return dict(sorted(found, key=lambda one: -one[1]))


def _tensors(config: Any, words: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the inputs and the outputs of a model that ``words`` name."""
    if config is None:
        return (), ()
    sends = tuple(tensor.name for tensor in config.input if tensor.name in words)
    return sends, tuple(tensor.name for tensor in config.output if tensor.name in words)
