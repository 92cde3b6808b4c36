"""Which files an input names: files, directories, patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trtbuild.errors import UsageError
from trtbuild_batch.inputs.model import InputFile
from trtbuild_batch.places import Place, place

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".zst", ".lz4")


def find_files(texts: Sequence[str]) -> list[InputFile]:
    """Return the files that paths, directories and patterns name, in a fixed order.

    Raises:
        UsageError: A file that is missing or has another format, no file, or several formats.
    """
    if not texts:
        raise UsageError("there is no input", fix="name a file, such as rows.jsonl")
    found = [file for text in texts for file in _named(text)]
    formats = sorted({file.format for file in found})
    if len(formats) > 1:
        raise UsageError(
            f"the input mixes {' and '.join(formats)}",
            details=tuple(str(file.place) for file in found[:10]),
            fix="run the command for each format",
        )
    places = [str(file.place) for file in found]
    twice = next((one for one in places if places.count(one) > 1), "")
    if twice:
        raise UsageError(f"{twice} is named twice", fix="name each file once")
    return found


def _named(text: str) -> list[InputFile]:
    from pyarrow.fs import FileType

    head, _, pattern = text.rpartition("/")
    if any(sign in pattern for sign in "*?["):
        folder = place(head or ".")
        files = [one for one in _listed(folder) if fnmatch.fnmatchcase(one.base_name, pattern)]
        return _several(folder, files, text)
    where = place(text)
    try:
        (about,) = where.fs.get_file_info([where.path])
    except OSError as error:
        raise UsageError(f"{text} cannot be read: {error}", fix="check the path") from None
    if about.type == FileType.Directory:
        files = [one for one in _listed(where) if _format(one.base_name)]
        return _several(where, files, text)
    if about.type != FileType.File:
        raise UsageError(f"{text} does not exist", fix="check the path of the input")
    return [_file(where, about)]


def _several(folder: Place, files: Sequence[FileInfo], text: str) -> list[InputFile]:
    if not files:
        raise UsageError(
            f"{text} names no file", fix=f"the names of inputs end in {', '.join(FORMATS)}"
        )
    return [_file(folder / one.base_name, one) for one in files]


def _listed(folder: Place) -> Iterator[FileInfo]:
    """The files of a directory by name, without hidden ones and those of our own output."""
    from pyarrow.fs import FileSelector, FileType

    try:
        found = folder.fs.get_file_info(FileSelector(folder.path))
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed: {error}", fix="check the path") from None
    for one in sorted(found, key=lambda one: str(one.base_name)):
        if one.type == FileType.File and not one.base_name.startswith((".", "_")):
            yield one


def _file(where: Place, about: FileInfo) -> InputFile:
    kind = _format(where.name)
    if not kind:
        raise UsageError(
            f"the format of {where} is unknown",
            fix=f"name it with one of {', '.join(FORMATS)}; text formats may also be compressed "
            f"({', '.join(_PACKED)})",
        )
    return InputFile(where, kind, int(about.size or 0), int(about.mtime_ns or 0))


def _format(name: str) -> str:
    stem = name.lower()
    for packed in _PACKED:
        stem = stem.removesuffix(packed)
    kind = next((kind for end, kind in FORMATS.items() if stem.endswith(end)), "")
    return "" if kind == "parquet" and stem != name.lower() else kind
