"""Run the steps of a compilation, with a log, exit codes and no partial files."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtbuild import process, toolchain
from trtbuild.errors import BuildError, RepositoryError
from trtbuild.files import scratch
from trtbuild.files.staging import write_synced
from trtbuild.progress import SILENT, Progress
from trtbuild_engine_flow import engineconfig
from trtbuild_engine_flow.executor import work
from trtbuild_engine_flow.executor.manifest import MANIFEST, Manifest, render
from trtbuild_engine_flow.executor.model import Compilation
from trtbuild_engine_flow.executor.runner import Runner

Prepare = Callable[[Path], None]
"""Puts the TensorRT-LLM checkpoint into a directory."""

_SAID = "@trtbuild "
_TAIL = 15


def compile_engine(
    job: Compilation, runner: Runner, prepare: Prepare, *, progress: Progress = SILENT
) -> Manifest:
    """Compile an engine into ``job.out``, a new directory.

    Args:
        job: What to compile.
        runner: Where.
        prepare: Makes the TensorRT-LLM checkpoint (ours, or :func:`convert_in_image`).
        progress: Called with the steps and the finished ranks.

    Raises:
        BuildError: The tools failed, were killed or wrote no complete engine; the disk is full.
    """
    started = time.monotonic()
    job.log_path.unlink(missing_ok=True)
    with scratch(job.home.parent, f"{job.home.name}.checkpoint") as folder:
        checkpoint = folder / "checkpoint"
        prepare(checkpoint)
        told = _build(job, runner, checkpoint, job.out, progress)
    manifest = Manifest(
        key=job.key,
        model=job.model,
        source=job.source,
        image=runner.image,
        sm=job.sm,
        gpu=job.gpu,
        options=job.build.options,
        files=_require_engine(job, job.out),
        versions={k: str(v) for k, v in told.items()},
        seconds=round(time.monotonic() - started, 1),
    )
    write_synced(job.out / MANIFEST, render(manifest))
    return manifest


def convert_in_image(
    job: Compilation, runner: Runner, checkpoint: Path, progress: Progress = SILENT
) -> None:
    """TensorRT-LLM's own converter. Raises BuildError as :func:`compile_engine`."""
    checkpoint.mkdir(parents=True)
    progress.step("converting with TensorRT-LLM's own converter")
    command = work.convert_command(job, runner, checkpoint)
    _run(job, runner, "convert", command, progress)


def _build(
    job: Compilation, runner: Runner, checkpoint: Path, engine: Path, progress: Progress
) -> dict[str, Any]:
    progress.step(f"compiling {job.build.world} engine file(s), log in {job.log_path}")
    command = work.build_command(job, runner, checkpoint, engine)
    return _run(job, runner, "build", command, progress)


def _run(
    job: Compilation, runner: Runner, step: str, command: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Run one step; return what it reported in ``@trtbuild`` lines."""
    name = work.container_name(job, step)
    tail: deque[str] = deque(maxlen=_TAIL)
    told: dict[str, Any] = {}

    def on_line(line: str) -> None:
        if not line.startswith(_SAID):
            tail.append(line)
            return
        said = _parsed(line.removeprefix(_SAID))
        if "done" in said:
            progress.advance(said["done"], job.build.world, "ranks")
        if "versions" in said:
            told.update(said["versions"])
            _require_release(job, told)

    runner.clean(name)  # left behind by a killed run
    try:
        code = process.run_lines(command, on_line=on_line, log_path=job.log_path)
        if code:
            raise _failed(job, step, code, list(tail), runner.killed_for_memory(name, code))
    finally:
        runner.clean(name)
    return told


def _require_release(job: Compilation, versions: Mapping[str, str]) -> None:
    """BuildError when the tools are of another release: the server would not load their engine."""
    here, wanted = versions.get("tensorrt_llm", ""), job.build.release
    if not here or here == wanted:
        return
    rows = [row.triton for row in toolchain.releases() if row.trtllm == here]
    fix = f"convert for --triton {rows[0]}, or " if rows else ""
    raise BuildError(
        f"the tools are of TensorRT-LLM {here}, and the server has {wanted}: an engine loads in "
        "its own release only",
        fix=f"{fix}take trtllm-build off PATH so that the image {job.image} is used",
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _failed(job: Compilation, step: str, code: int, tail: list[str], killed: bool) -> BuildError:
    what = {"build": "trtllm-build", "convert": "convert_checkpoint.py"}[step]
    last = tuple(line for line in tail if line.strip())
    if killed:
        return BuildError(
            f"{what} was killed because memory ran out (exit code {code})",
            where=str(job.log_path),
            fix="build one rank after another (--set workers=1), give the machine or the "
            "container more memory, or build with less (--set max_batch_size=…, max_num_tokens=…)",
            details=last,
        )
    return BuildError(
        f"{what} failed with exit code {code}",
        where=str(job.log_path),
        fix="read its last lines; the whole log is kept in that file",
        details=last,
    )


def _require_engine(job: Compilation, folder: Path) -> dict[str, int]:
    """Return sizes of the engine's files; BuildError if the engine is incomplete."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    try:
        found = engineconfig.read(folder)
    except RepositoryError as error:
        raise _incomplete(job, error.what) from None
    if lacking := engineconfig.lacking_ranks(found, names):
        raise _incomplete(job, lacking)
    return {name: (folder / name).stat().st_size for name in sorted(names)}


def _incomplete(job: Compilation, why: str) -> BuildError:
    return BuildError(
        f"trtllm-build ended well and left no whole engine: {why}",
        where=str(job.log_path),
        fix="read the log; look for room on the disk and for a TensorRT-LLM of another release",
    )
