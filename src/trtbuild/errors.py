"""Every error a user can meet: what happened, where, what to do, and the exit code.

The command line prints these three lines and exits with :attr:`TrtbuildError.exit_code`.
Anything else that escapes is a bug and is reported as one, never as a bare traceback.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; they are part of the public interface."""

    OK = 0
    BUG = 1
    USAGE = 2
    RECIPE = 3
    UNSUPPORTED = 4
    BUILD = 5
    REPOSITORY = 6
    SERVER = 7
    BENCH = 8
    QUALITY = 9
    INTERRUPTED = 130


class TrtbuildError(Exception):
    """An error that names its fix.

    Args:
        what: What happened, one sentence, naming the offending value.
        where: The file, tensor, key or address it happened at (empty when ``what`` says it).
        fix: What the user does next: a command, a key, a value.
        details: Further reasons, one line each, when several things are wrong at once.
    """

    exit_code = ExitCode.BUG

    def __init__(
        self, what: str, *, where: str = "", fix: str = "", details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.details = details

    def as_dict(self) -> dict[str, object]:
        """The error as ``--json`` prints it."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "details": list(self.details),
            "exit_code": int(self.exit_code),
        }


class UsageError(TrtbuildError):
    """A wrong argument, an unknown name, a source that does not exist."""

    exit_code = ExitCode.USAGE


class RecipeError(TrtbuildError):
    """A key or a value in ``trtbuild.yaml`` or ``--set`` that cannot be."""

    exit_code = ExitCode.RECIPE


class UnsupportedError(TrtbuildError):
    """A checkpoint that no builder can (or may, without a flag) deploy."""

    exit_code = ExitCode.UNSUPPORTED


class BuildError(TrtbuildError):
    """Work that failed: a download, a conversion, a full disk."""

    exit_code = ExitCode.BUILD


class RepositoryError(TrtbuildError):
    """A model repository that Triton would not load."""

    exit_code = ExitCode.REPOSITORY


class ServerError(TrtbuildError):
    """A server that does not start, does not answer or refused a request."""

    exit_code = ExitCode.SERVER


class BenchError(TrtbuildError):
    """A measurement that could not be made."""

    exit_code = ExitCode.BENCH


class QualityError(TrtbuildError):
    """A model that ranks worse than ``trtbuild eval`` was told to accept."""

    exit_code = ExitCode.QUALITY
