"""Parse ``SOURCE``: a hub id, a directory, a ``.gguf`` file or a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild.files import explain_stand_ins, stand_in
from trtbuild.modelspec.source import SourceKind
from trtbuild.resources import expanded

SAMPLES = ("smollm2",)
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*$", re.ASCII)
_REVISION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,199}$")
_PART = re.compile(r"-\d{5}-of-\d{5}$")  # of a split GGUF file's name
_SHAPES = "org/name[@revision], a directory, a .gguf file or sample:smollm2"


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed ``SOURCE``. ``path`` is set for directories and GGUF files only."""

    kind: SourceKind
    text: str
    revision: str = ""
    path: Path | None = None


def parse_source(text: str) -> Source:
    """Parse ``text``. An existing path takes precedence over a hub id of the same name.

    Raises:
        UsageError: It has none of the four forms, or the path or sample does not exist.
    """
    if not text.strip() or "\0" in text:
        raise UsageError("the source is empty", fix=f"give {_SHAPES}")
    if text.startswith("sample:"):
        return _sample(text)
    path = expanded(text)
    if _exists(path):
        return _existing(text, path)
    if stand_in(path):
        [(what, fix)] = explain_stand_ins({path.name: "link"}, path.parent)
        raise UsageError(what, where=_shown(text), fix=fix)
    name, at, revision = text.partition("@")
    if _looks_like_path(text) or not _HUB_ID.match(name) or ".." in name or "--" in name:
        raise UsageError(f"no such source: {_shown(text)}", fix=f"give {_SHAPES}")
    if at and (not _REVISION.match(revision) or ".." in revision):
        raise UsageError(
            f"{_shown(revision)} cannot be a revision",
            where=_shown(text),
            fix="give a branch, a tag or a commit after the @",
        )
    return Source("hub", name, revision)


def default_name(source: Source) -> str:
    """Return a model name for ``source``: its last part, with invalid characters as ``-``."""
    if source.kind == "sample":
        return source.text.partition(":")[2]
    base = source.text.rpartition("/")[2]
    if source.path is not None:
        resolved = source.path.resolve()
        base = _PART.sub("", resolved.stem) if source.kind == "gguf" else resolved.name
    cleaned = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", base)).strip("-_.")
    return cleaned[:63].rstrip("-_.") or "model"


def _sample(text: str) -> Source:
    if text.partition(":")[2] not in SAMPLES:
        known = ", ".join(f"sample:{name}" for name in SAMPLES)
        raise UsageError(f"no such sample: {_shown(text)}", fix=f"the samples are {known}")
    return Source("sample", text)


def _existing(text: str, path: Path) -> Source:
    if path.is_dir():
        return Source("local", path.resolve().name or "checkpoint", path=path)
    if path.suffix.lower() == ".gguf":
        return Source("gguf", path.name, path=path)
    raise UsageError(
        f"{_shown(text)} is neither a directory nor a .gguf file",
        fix="give the directory that holds config.json, or a .gguf file",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for any file system
        return False


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.lower().endswith(".gguf") or "\\" in text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}...")
