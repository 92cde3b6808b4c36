"""Many conversions with one start of PyTorch: each export is a fork of a process that has it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from trtbuild import process
from trtbuild.builder import worker
from trtbuild.server import runtime

# What an export imports anyway. The child gets its arguments as a program of its own would.
_PARENT = """
import json, os, runpy, sys
import torch, transformers, sentence_transformers, onnx, onnxruntime, onnxscript
import transformers.exporters.exporter_onnx
sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    argv, log = json.loads(line)
    child = os.fork()
    if not child:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = argv
        code = 0
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if isinstance(stop.code, str):
                print(stop.code)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
            code = 1
        sys.stdout.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\\n")
    sys.stdout.flush()
"""


Run = Callable[..., int]


@contextmanager
def one_exporter() -> Iterator[Run]:
    """Conversions inside run their exports and comparisons in forks of one process.

    Yields a function that runs another script in a fork, with its arguments; its exit status.
    """
    with exporter() as run, converting(run):
        yield run


@contextmanager
def exporter() -> Iterator[Run]:
    """A process that has PyTorch; the function runs a script in a fork of it."""
    python = runtime.install("export").python
    command = [str(python), "-I", "-c", _PARENT]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ) | worker._OFFLINE,
        text=True,
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        assert parent.stdout.readline() == "ready\n"

        def run(*argv: object, log: Path = Path(os.devnull)) -> int:
            parent.stdin.write(json.dumps([list(map(str, argv)), str(log)]) + "\n")
            parent.stdin.flush()
            return int(parent.stdout.readline())

        yield run
        parent.stdin.close()


@contextmanager
def converting(run: Run) -> Iterator[None]:
    """Conversions inside run their exports and comparisons by ``run``."""

    def run_lines(
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log_path: Path,
        env: Mapping[str, str] | None = None,
    ) -> int:
        log_path.touch()
        start = log_path.stat().st_size
        code = run(*argv[-2:], log=log_path)
        with log_path.open(encoding="utf-8") as log:
            log.seek(start)
            for line in log:
                on_line(line.rstrip())
        return code

    with mock.patch.object(process, "run_lines", run_lines):
        yield
