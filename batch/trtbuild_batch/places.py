"""Files on this machine and in object stores, behind pyarrow's file systems."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trtbuild.errors import BuildError, UsageError
from trtbuild.files import atomic_write, disk_trouble
from trtbuild.resources import expanded

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "gcs")
_TEMPORARY = ".tmp"


def need_pyarrow() -> None:
    """Raise UsageError unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "tables are read with pyarrow, which is not installed",
            fix="pip install 'trtbuild[batch]'",
        ) from None


@dataclass(frozen=True, slots=True)
class Place:
    """A directory or a file.

    Attributes:
        fs: pyarrow's file system.
        path: There, without a scheme.
        local: On this machine; None in an object store.
    """

    fs: FileSystem
    path: str
    local: Path | None

    def __str__(self) -> str:
        return str(self.local) if self.local else f"{self.fs.type_name}://{self.path}"

    def __truediv__(self, name: str) -> Place:
        local = self.local / name if self.local else None
        return Place(self.fs, f"{self.path.rstrip('/')}/{name}", local)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def names(self) -> list[str]:
        """Names of the files in this directory; empty if there is none."""
        from pyarrow.fs import FileSelector, FileType

        with _trouble(self):
            found = self.fs.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(one.base_name for one in found if one.type == FileType.File)

    @property
    def exists(self) -> bool:
        """Whether this file is there."""
        from pyarrow.fs import FileType

        with _trouble(self):
            (found,) = self.fs.get_file_info([self.path])
        return bool(found.type == FileType.File)

    def read(self) -> bytes | None:
        """The content of this file; None if there is none."""
        with _trouble(self):
            try:
                with self.fs.open_input_stream(self.path) as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

    def write(self, content: bytes) -> None:
        """Write this file at once: readers see the old content or the new."""
        if self.local:
            with disk_trouble(self.local.parent):
                atomic_write(self.local, content)
            return
        with _trouble(self), self.fs.open_output_stream(self.path) as stream:
            stream.write(content)

    @contextmanager
    def replaced(self, scratch: Path) -> Iterator[Path]:
        """Yield a temporary file, which becomes this file at the end of the block: readers see the
        old content or the new, even after a crash.

        Args:
            scratch: A directory of this machine for the temporary file of an object store.

        Raises:
            BuildError: The disk is full, or the object store does not answer.
        """
        folder = self.local.parent if self.local else scratch
        with disk_trouble(folder):
            temporary, lock = _temporary(folder, f".{self.name}.")
        try:
            with disk_trouble(folder):
                yield temporary
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
                if self.local:
                    temporary.replace(self.local)
                    _sync(folder)
                    return
            self._upload(temporary)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(lock)

    def _upload(self, path: Path) -> None:
        from pyarrow import fs

        try:
            fs.copy_files(
                str(path),
                self.path,
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self.fs,
            )
        except OSError as error:
            raise BuildError(
                f"{self} cannot be written: {error}",
                fix="check the credentials and the network; run the command again to resume",
            ) from None

    def create(self, content: bytes) -> bool:
        """Write this file unless it is there; False if it is. Only one of several succeeds."""
        if self.local:
            return self._create_local(self.local, content)
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError
        from obstore.store import from_url

        bucket, _, key = self.path.partition("/")
        try:
            store = from_url(f"{self.fs.type_name.replace('gcs', 'gs')}://{bucket}")
            obstore.put(store, key, content, mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise _unreachable(self, reason) from None
        return True

    def _create_local(self, path: Path, content: bytes) -> bool:
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        with disk_trouble(path.parent):
            try:
                temporary.write_bytes(content)
                os.link(temporary, path)  # unlike a rename it fails if the name is taken
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def remove(self) -> None:
        """Remove this file, if it is there."""
        with _trouble(self):
            try:
                self.fs.delete_file(self.path)
            except FileNotFoundError:
                return

    def remove_all(self) -> None:
        """Remove this directory with all that is in it, if it is there."""
        with _trouble(self):
            try:
                self.fs.delete_dir(self.path)
            except FileNotFoundError:
                return

    def make(self) -> None:
        """Make this directory; object stores have none."""
        if self.local:
            with disk_trouble(self.local.parent):
                self.local.mkdir(parents=True, exist_ok=True)

    def opened(self) -> Any:
        """This file for random access. OSError."""
        return self.fs.open_input_file(self.path)

    def text(self) -> io.TextIOWrapper:
        """This file as text, decompressed if its name says so. OSError."""
        stream: Any = self.fs.open_input_stream(self.path, buffer_size=1 << 20)
        return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline="")


def _temporary(folder: Path, start: str) -> tuple[Path, int]:
    """Make a file of our own, and return it with the descriptor that holds its lock: whoever has
    lost a claim without noticing publishes the same file at the same time. What killed processes
    have left is removed."""
    for path in folder.iterdir():
        if path.name.startswith(start) and path.name.endswith(_TEMPORARY):
            with contextlib.suppress(FileNotFoundError), path.open("rb+") as stream:
                if _locked(stream.fileno()):
                    path.unlink()
    while True:
        path = folder / f"{start}{secrets.token_hex(4)}{_TEMPORARY}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _locked(lock, without=True) and path.exists():
            return path, lock
        os.close(lock)  # another process took it for left behind


def _locked(fd: int, *, without: bool = False) -> bool:
    """Take the lock of a file; ``without`` is the answer of a file system that has none."""
    if os.name != "posix":
        return without
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return without and error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def absolute(text: str, folder: Path = Path()) -> Path:
    """Return the path that ``text`` names, from ``folder``; UsageError for the home of nobody."""
    return (folder / expanded(text)).absolute()


def place(text: str) -> Place:
    """Return the place that ``text`` names: a path, or a URL of an object store.

    Raises:
        UsageError: Another scheme, a password in the URL, or an invalid URL.
    """
    need_pyarrow()
    from pyarrow.fs import FileSystem, LocalFileSystem

    scheme, found, _ = text.partition("://")
    if "\0" in text:
        raise UsageError(f"{text!r} cannot be a path", fix="leave the NUL character out")
    if not found:
        path = absolute(text)
        return Place(LocalFileSystem(), str(path), path)
    if scheme == "file":
        return place(urlsplit(text).path)
    if scheme not in SCHEMES:
        raise UsageError(
            f"unknown scheme {scheme!r}", where=text, fix="use a path, s3://… or gs://…"
        )
    try:
        user = "@" in urlsplit(text).netloc
    except ValueError as error:
        raise UsageError(f"the URL cannot be used: {error}", fix="check its host") from None
    if user:
        raise UsageError(
            "a URL must not contain a key or a password",
            fix="leave them out; the usual variables and files of the provider have them, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    try:
        fs, path = FileSystem.from_uri(text)
    except (ValueError, OSError, NotImplementedError) as error:
        raise UsageError(f"{text!r} cannot be used: {error}", fix="check the URL") from None
    return Place(fs, path, None)


@contextmanager
def _trouble(where: Place) -> Iterator[None]:
    """Convert errors of a file system into a :class:`BuildError`."""
    if where.local:
        with disk_trouble(where.local):
            yield
        return
    try:
        yield
    except OSError as error:
        raise _unreachable(where, error) from None


def _unreachable(where: Place, why: object) -> BuildError:
    return BuildError(
        f"{where} cannot be reached: {why}",
        fix="check the URL, the credentials and the network; run the command again to resume",
    )
