"""Archives of TorchServe: a zip, a tar.gz, or the directory itself; files only, no links."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble, require_space, scratch
from trtbuild.progress import Progress

_MOST_FILES = 100_000
_MOST_NAME_BYTES = 1 << 20  # of what tar keeps before a file: a long name, attributes
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip


@contextmanager
def opened(path: Path, near: Path, progress: Progress) -> Iterator[Path]:
    """Yield a directory with the archive's files; a temporary one beside ``near`` for a file.

    Raises:
        UsageError: No archive, a damaged one, a path that leads out of it, or a link.
        BuildError: The disk is full.
    """
    if path.is_dir():
        _require_plain(path)
        yield path
        return
    if not path.is_file():
        raise UsageError(f"there is no archive {path}", fix="name a .mar file or a directory")
    place = near.absolute()
    while not place.is_dir():
        place = place.parent
    with disk_trouble(place), scratch(place, "import") as folder:
        progress.step(f"reading {path.name}")
        try:
            _extract(path, folder)
        except _BROKEN as error:
            raise _damaged(path, str(error) or type(error).__name__) from None
        yield folder


def _extract(path: Path, folder: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as found:
            members = found.infolist()
            _require_room([(one.filename, one.file_size) for one in members], folder)
            for one in members:
                _require_file(one.filename, stat.S_IFMT(one.external_attr >> 16), one.is_dir())
                if not one.is_dir():
                    with found.open(one) as content:
                        _write(folder, one.filename, content, one.file_size)
        return
    with _opened(path) as packed:
        entries = list(_entries(packed))
        _require_room([(one.name, one.size) for one in entries], folder)
        for entry in entries:
            kind = 0 if entry.isreg() else stat.S_IFLNK
            _require_file(entry.name, 0 if entry.isdir() else kind, entry.isdir())
            if entry.isreg():
                stream = packed.extractfile(entry)
                assert stream is not None
                _write(folder, entry.name, stream, entry.size)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:*", tarinfo=_Header)
    except tarfile.ReadError:  # with a line for every compression that was tried
        raise ValueError("it is neither a zip nor a tar file") from None


class _Header(tarfile.TarInfo):
    """A header that is refused before the library reads what it announces into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        plain = found.type in tarfile.REGULAR_TYPES
        if found.size < 0 or (found.size > _MOST_NAME_BYTES and not plain):
            raise ValueError(f"a header of tar announces {found.size} bytes")
        return found


def _entries(packed: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members; ValueError before they fill the memory, or where they never end."""
    for count, entry in enumerate(packed):
        if count >= _MOST_FILES:
            raise ValueError(f"it has more than {_MOST_FILES} files")
        if entry.size < 0:
            raise ValueError(f"{entry.name} has {entry.size} bytes")
        yield entry


def _require_room(members: list[tuple[str, int]], folder: Path) -> None:
    if len(members) > _MOST_FILES:
        raise ValueError(f"it has {len(members)} files, more than {_MOST_FILES}")
    names = [str(PurePosixPath(name)) for name, _ in members]
    if len(set(names)) < len(names):
        raise ValueError("a file is there twice")
    require_space(folder, sum(size for _, size in members))


def _require_file(name: str, kind: int, is_dir: bool) -> None:
    """Raise UsageError for anything but a file or a directory inside the archive."""
    parts = PurePosixPath(name).parts
    inside = parts and not name.startswith("/") and ".." not in parts and "\\" not in name
    if not inside or "\0" in name or ":" in parts[0]:
        raise _refused(name, "leads out of the archive")
    if kind not in (0, stat.S_IFREG) and not (is_dir and kind == stat.S_IFDIR):
        raise _refused(name, "is a link or a device")


def _refused(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name!r} in the archive {why}",
        fix="an archive of torch-model-archiver has only files; do not use this one",
    )


def _write(folder: Path, name: str, content: IO[Any], size: int) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        if file.tell() != size:
            raise ValueError(f"{name} has {file.tell()} bytes instead of {size}")


def _require_plain(folder: Path) -> None:
    for root, directories, files in os.walk(folder):
        for name in (*directories, *files):
            path = Path(root) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _refused(str(path.relative_to(folder)), "is a link or a device")


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be read as an archive: {why}",
        fix="download or build it again; a .mar is a zip or a tar.gz of torch-model-archiver",
    )
