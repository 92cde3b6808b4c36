"""Files that fields of a configuration name, looked for as the server looks for them.

What the server does: triton-inference-server/core, ``JoinPath`` and ``ReadTextFile`` in
src/filesystem/api.cc. Seen on 2.51.
"""

from __future__ import annotations

import errno
import os

from trtbuild.check.context import Model


def joined(folder: str, name: str) -> str:
    """The path that the server makes of the two. A name with a leading slash is looked for in the
    directory, too."""
    return f"{folder}{name}" if name.startswith("/") else f"{folder}/{name}"


def size_of(model: Model, file: str) -> int:
    """How many bytes a file has; raises as :meth:`Model.size_of`, and for the name of a file with
    a slash at its end, which the system opens as a directory."""
    if file.endswith("/") and (model.path / file).is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), file)
    return model.size_of(file)
