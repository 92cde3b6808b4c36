"""The real server as a judge: does it load this repository, and if not, what does it say?

One server in explicit mode decides case after case: the case's files are put into its repository,
each model is loaded by name, and all is taken away again. Every backend is the null backend, so a
case costs milliseconds. ``cc`` is needed to compile that.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from support import triton
from support.cases import CRASHED, Case
from trtbuild.check import Report

BACKENDS = ("identity", "python", "onnxruntime", "pytorch", "tensorrt", "tensorflow", "openvino")


@dataclass
class Judge:
    """A running server and its repository; a new one when a case killed it."""

    work: Path
    arguments: tuple[str, ...]
    complete: bool
    running: contextlib.ExitStack
    starts: int = 0

    @property
    def repo(self) -> Path:
        """Where cases are put."""
        return self.work / "repository"

    def start(self) -> None:
        """Start the server, instead of the one that ran."""
        self.running.close()
        self.starts += 1
        folder = self.work / f"start{self.starts}"
        self.server = self.running.enter_context(
            triton.serving(self.repo, folder, *self.arguments, complete=self.complete)
        )
        self.client = self.running.enter_context(InferenceServerClient(self.server.grpc))

    def decide(self, case: Case) -> tuple[dict[str, str], Report]:
        """What the server says of each model (empty: it loads it), and what the validator says."""
        verdicts: dict[str, str] = {}
        try:
            case.write(self.repo)
            for model in case.models:
                verdicts[model] = self._load(model)
                if verdicts[model] == CRASHED or not self._unload(case):
                    verdicts[model] = CRASHED
                    break
            return verdicts, case.validate(self.repo)
        finally:
            shutil.rmtree(self.repo)
            self.repo.mkdir()
            if CRASHED in verdicts.values():
                self.start()

    def _load(self, model: str) -> str:
        before = self.server.log.stat().st_size
        try:
            self.client.load_model(model)
        except InferenceServerException as error:
            if "UNAVAILABLE" in str(error.status()):
                return CRASHED
            said = str(error.message())
            said = self._polled(model, before) if "failed to poll" in said else said
            # where the server names a file, the repository's path is left out
            return said.strip().replace(f"{self.repo}/{model}/", "")
        return ""

    def _polled(self, model: str, before: int) -> str:
        """The reason that only the log has."""
        with self.server.log.open("rb") as log:
            log.seek(before)
            lines = log.read().decode(errors="replace").splitlines()
        for line in lines:
            text = line.partition("] ")[2]
            with contextlib.suppress(ValueError):
                text = json.loads(text, strict=False)
            if str(text).startswith(f"Poll failed for model directory '{model}': "):
                return str(text)
        return "\n".join(lines)

    def _unload(self, case: Case) -> bool:
        """All models, so that the next is not one that was loaded before; False: the server died,
        some models do it a moment later."""
        try:
            for model in case.models:
                self.client.unload_model(model, unload_dependents=True)
        except InferenceServerException:
            return False
        return True


def compile_null_backend(folder: Path) -> Path:
    """The null backend as a library."""
    library = folder / "null.so"
    source = Path(__file__).with_name("null_backend.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


@contextlib.contextmanager
def judges(work: Path) -> Iterator[dict[bool, Judge]]:
    """A judge that does not complete configurations (``False``), and one that does."""
    with judging(work / "strict") as strict, judging(work / "lenient", complete=True) as lenient:
        yield {False: strict, True: lenient}


@contextlib.contextmanager
def judging(
    work: Path, *arguments: str, complete: bool = False, python: bool = False
) -> Iterator[Judge]:
    """A judge; ``arguments`` and ``complete`` are :func:`triton.serving`'s.

    ``python`` gives it the real Python backend.
    """
    (work / "repository").mkdir(parents=True)
    library = compile_null_backend(work)
    backends = work / "null_backends"
    for name in BACKENDS[:1] if complete else BACKENDS:  # the others would complete
        (backends / name).mkdir(parents=True)
        shutil.copy(library, backends / name / f"libtriton_{name}.so")
    if python:
        triton.copy_backends(triton.site_packages(), backends)
    flags = (f"--backend-directory={backends}", *arguments)
    with contextlib.ExitStack() as running:
        judge = Judge(work, flags, complete, running)
        judge.start()
        yield judge
