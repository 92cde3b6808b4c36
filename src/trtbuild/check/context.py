"""What rules look at: a repository and its models, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trtbuild import pbtxt, toolchain
from trtbuild.check.completed import Completed, complete, selected, version_of
from trtbuild.check.dialect import for_python
from trtbuild.check.options import Options
from trtbuild.check.reading import (
    MAX_BYTES,
    Entry,
    OutsideError,
    PointerError,
    ReportedError,
    open_inside,
    read_inside,
    walk,
)
from trtbuild.located.jsontext import read_json
from trtbuild.located.positions import NOWHERE, Position, Positions
from trtbuild.located.text import LocatedText
from trtbuild.lockfile import Lock
from trtbuild.progress import SILENT, Progress

CONFIG = "config.pbtxt"
PLACEHOLDER = re.compile(r"\$\{[^}\n]*\}")
_MAX_CONFIG_BYTES = 16 << 20


@dataclass
class Repository:
    """A model repository on this machine, without any model's content.

    Attributes:
        root: The directory.
        options: How to look.
        lock: What trtbuild wrote into it.
        lock_problem: Why the lock cannot be read, empty if it can.
        progress: Told of what takes long.
        only: The one model to look at, empty for all.
        siblings: The other repositories of the same server.
        errors_of: The errors of one of its models with their rules, for rules about what is made
            of several models; whoever runs the rules sets it.
    """

    root: Path
    options: Options = field(default_factory=Options)
    lock: Lock = field(default_factory=Lock)
    lock_problem: str = ""
    progress: Progress = SILENT
    only: str = ""
    siblings: tuple[Repository, ...] = ()
    memo: dict[object, Any] = field(default_factory=dict, repr=False)
    errors_of: Callable[[Model], tuple[Any, ...]] = field(default=lambda _: (), repr=False)

    @cached_property
    def directories(self) -> tuple[Path, ...]:
        """What the server takes for models: every directory at the root, hidden ones too."""
        with os.scandir(self.root) as entries:
            return tuple(sorted(self.root / entry.name for entry in entries if _is_folder(entry)))

    @cached_property
    def all_models(self) -> tuple[Model, ...]:
        """One for each directory, also those that are not asked for."""
        return tuple(Model(self, path) for path in self.directories)

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """One for each directory, or for the directories of the one model asked for."""
        wanted = self.lock.models[self.only].directories if self.only in self.lock.models else ()
        return tuple(
            model
            for model in self.all_models
            if not self.only or model.name == self.only or model.name in wanted
        )

    def find(self, name: str) -> Model | None:
        """The model of a name, here or in a sibling, whether asked for or not. None also when the
        server tells names apart by repository and several siblings have it."""
        if name in self._by_name:
            return self._by_name[name]
        found = [other._by_name[name] for other in self.siblings if name in other._by_name]
        return None if len(found) > 1 and self.options.namespacing else next(iter(found), None)

    def has(self, name: str) -> bool:
        """Whether a model of this name is in this repository."""
        return name in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Model]:
        return {model.name: model for model in self.all_models}


@dataclass
class Model:
    """One directory of a repository. Nothing here raises; what is missing is None or empty.

    Attributes:
        repository: Where it is.
        path: Its directory.
        errors: What ``Repository.errors_of`` found, once it looked.
        found: What each rule found, by its id, once it looked.
    """

    repository: Repository
    path: Path
    errors: tuple[Any, ...] | None = None
    found: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @cached_property
    def name(self) -> str:
        """The directory's name, which must be the model's."""
        return self.path.name

    def file(self, name: str) -> str:
        """A file's path relative to the repository."""
        return f"{self.name}/{name}"

    @cached_property
    def triton(self) -> str:
        """The release this model is for."""
        owner = self.repository.lock.owner(self.name)
        locked = self.repository.lock.models[owner].triton if owner else ""
        return self.repository.options.triton or locked

    @property
    def judged_as(self) -> tuple[str, str]:
        """The release whose rules count for this model, and who named it: ``flag``, ``recipe``,
        ``lock``, or ``default`` for the newest confirmed one."""
        if not self.triton:
            return toolchain.newest().triton, "default"
        options = self.repository.options
        return self.triton, options.triton_from if options.triton else "lock"

    @cached_property
    def config_file(self) -> str:
        """The file with its configuration, relative to its directory."""
        name = self.repository.options.config_name
        custom = f"configs/{name}.pbtxt"
        return custom if name and (self.path / custom).exists() else CONFIG

    @cached_property
    def text(self) -> str | None:
        """``config.pbtxt``; None if it cannot be read (see :attr:`read_problem`)."""
        return self._read[0]

    @property
    def read_problem(self) -> str:
        """Why there is no :attr:`text`: ``missing``, ``outside`` (behind a link that leads out of
        the repository), ``pointer`` (of Git LFS), or what the system says."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[str | None, str]:
        try:
            # the server takes other encodings in strings; a rule warns of them
            return self.read(self.config_file, _MAX_CONFIG_BYTES).decode(
                "utf-8", errors="replace"
            ), ""
        except FileNotFoundError:
            return None, "missing"
        except OutsideError:
            return None, "outside"
        except PointerError:
            return None, "pointer"
        except OSError as error:
            return None, error.strerror or str(error)

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """The bytes of a file of the model.

        Raises:
            ReportedError: It lies behind a link out of the repository, or is a Git LFS pointer.
                Rules let it escape: another rule reports it.
            OSError: It cannot be read, is not a regular file, or has more than ``limit`` bytes.
        """
        return read_inside(self.path / name, self.repository.root, limit)

    def size_of(self, name: str) -> int:
        """How many bytes a file of the model has; raises as :meth:`read`, whatever its size."""
        with open_inside(self.path / name, self.repository.root) as stream:
            return os.fstat(stream.fileno()).st_size

    @cached_property
    def tree(self) -> tuple[Entry, ...]:
        """Everything in its directory and below; links are not followed."""
        return tuple(walk(self.path))

    @cached_property
    def _parsed(self) -> tuple[Any, pbtxt.PbtxtError | None]:
        if self.text is None:
            completes = self.repository.options.auto_complete and self.read_problem == "missing"
            return (pbtxt.model_config() if completes else None), None
        try:
            return pbtxt.parse(for_python(self.text)), None
        except pbtxt.PbtxtError as error:
            return None, error

    @property
    def config(self) -> Any:
        """The ``ModelConfig``, None when it cannot be parsed."""
        return self._parsed[0]

    @property
    def parse_error(self) -> pbtxt.PbtxtError | None:
        """Why :attr:`text` is not a ModelConfig."""
        return self._parsed[1]

    @cached_property
    def positions(self) -> Positions:
        """The places of its fields."""
        return Positions(self.text or "")

    def at(self, *path: str | int, name: bool = False) -> Position:
        """The place of a field of ``config.pbtxt``, or of the nearest field that it has."""
        return self.positions.of(*path, name=name) if self.config is not None else NOWHERE

    def at_parameter(self, name: str) -> Position:
        """The place of a parameter's value, :data:`NOWHERE` if there is no such parameter."""
        nodes = self.positions.root.children.get("parameters", [])
        for number, node in enumerate(nodes):
            if any(key.text[1:-1] == name for key in node.children.get("key", ())):
                return self.at("parameters", number, "value", "string_value")
        return NOWHERE

    @property
    def called(self) -> str:
        """The name that the server's messages use: the configuration's, else the directory's."""
        return str(self.config.name) if self.config is not None and self.config.name else self.name

    @cached_property
    def completed(self) -> Completed:
        """Its backend, platform and file name as the server completes them."""
        config = pbtxt.model_config() if self.config is None else self.config
        return complete(config, self.name, self.folders)

    @property
    def backend(self) -> str:
        """The backend that serves it, empty for an ensemble or when unknown."""
        return self.completed.backend if self.config is not None else ""

    @property
    def is_ensemble(self) -> bool:
        """Whether the server takes it for an ensemble."""
        return (
            self.config is not None
            and self.config.platform == "ensemble"
            and self.config.WhichOneof("scheduling_choice") == "ensemble_scheduling"
        )

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The versions that the server sees, ascending."""
        found = {version_of(path.name) for path in self.folders}
        return tuple(sorted(version for version in found if version is not None))

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Its directories, versions or not."""
        try:
            return tuple(sorted(path for path in self.path.iterdir() if path.is_dir()))
        except OSError:
            return ()

    @cached_property
    def served(self) -> tuple[int, ...]:
        """The versions that its policy loads, as far as they are there."""
        if self.config is None:
            return self.versions
        policy = self.config.version_policy if self.config.HasField("version_policy") else None
        return selected(policy, self.versions)

    def json(self, name: str) -> LocatedText | None:
        """A JSON file of the model, read once; None when there is no such file.

        Raises:
            ReportedError: As :meth:`read`.
        """
        if name not in self._json:
            try:
                self._json[name] = read_json(self.read(name))
            except FileNotFoundError:
                self._json[name] = None
            except ReportedError:
                raise
            except OSError as error:
                self._json[name] = LocatedText(problem=error.strerror or str(error))
        return self._json[name]

    @cached_property
    def _json(self) -> dict[str, LocatedText | None]:
        return {}

    def parameters(self) -> Mapping[str, str]:
        """The string parameters of its configuration."""
        if self.config is None:
            return {}
        return {key: value.string_value for key, value in self.config.parameters.items()}

    def filled(self) -> Mapping[str, str]:
        """Those that have a value of their own: neither empty nor a template's placeholder."""
        return {
            key: value
            for key, value in self.parameters().items()
            if value and not PLACEHOLDER.fullmatch(value)
        }


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into what this user may not look at
        return False
