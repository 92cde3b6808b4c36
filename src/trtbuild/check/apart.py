"""Work on a hostile file in a child process, so that libraries that abort end only that."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from typing import Any

_SECONDS = 20  # of processor time


def apart(function: Callable[..., Any], *arguments: object) -> Any | None:
    """What ``function`` returns (something that JSON can say); None if it fails, takes more than
    20 seconds of processor time or ends its process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _work(writer, function, *arguments)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if status == 0 else None


def _work(writer: int, function: Callable[..., Any], *arguments: object) -> None:
    """In the child: write the result and end, without what Python does at its end."""
    import faulthandler

    code = 1
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        said = json.dumps(function(*arguments)).encode()
        with os.fdopen(writer, "wb") as stream:
            stream.write(said)
        code = 0
    finally:
        os._exit(code)
