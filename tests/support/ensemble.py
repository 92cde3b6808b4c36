"""The ensemble's modules, imported as the stub does: from the directory they are copied to."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

from trtbuild.resources import core_module
from trtbuild_engine_flow.resources import template_dir

SHARED = template_dir("ensemble", "shared")
DIRECTORIES = (SHARED, core_module("chat"))


def module(name: str) -> ModuleType:
    """A shared module, such as ``llm_detokenizer``."""
    with _importable():
        return importlib.import_module(name)


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    sys.path[:0] = map(str, DIRECTORIES)
    try:
        yield
    finally:
        for path in DIRECTORIES:
            sys.path.remove(str(path))
