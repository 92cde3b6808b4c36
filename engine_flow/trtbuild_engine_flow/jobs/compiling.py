"""Compiling an engine for a conversion: key, room, conversion, build."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trtbuild import hardware, process
from trtbuild.checkpoint import CheckpointFile, materialize
from trtbuild.errors import BuildError
from trtbuild.files import digest_all, disk_trouble, require_space
from trtbuild.hardware import DetectedGpu
from trtbuild.pipeline.engines import Conversion, Engine, image_converts, whole
from trtbuild.plan import EngineBuild
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import say_source
from trtbuild_engine_flow import converter, executor
from trtbuild_engine_flow.executor import Compilation
from trtbuild_engine_flow.jobs.checkpoint import plan_checkpoint

_WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}


def compiled(
    case: Conversion,
    build: EngineBuild,
    *,
    root: Path,
    force: bool = False,
    progress: Progress = SILENT,
) -> Engine:
    """Compile an engine, or find it under its key.

    Args:
        case: The conversion.
        build: How to compile.
        root: The folder of all engines; this one goes to ``root/<model>/<key>``.
        force: Start even when memory looks too small.

    Raises:
        BuildError: No GPU, no container engine, not enough memory or disk, or the tools failed.
        UnsupportedError: The checkpoint cannot be cast to the type that was asked for.
    """
    image = case.builder.image(case.tools)
    runner = executor.find_runner(image)
    gpus = hardware.detect()
    if not gpus:
        raise BuildError(
            "nvidia-smi shows no GPU, and an engine is compiled on the kind of GPU it runs on",
            fix="build on such a machine, or write all but the engine (--no-build)",
        )
    files = materialize(case.checkpoint, progress)
    job = _compilation(case, build, files, root, gpus[0])
    if executor.intact(job.out, job.key) is None:
        _require_room(case, job, gpus[0], force=force)

    def prepare(out: Path) -> None:
        if job.files:
            executor.convert_in_image(job, runner, out, progress)
        else:
            _convert(case, build, files, out, progress)

    executor.compile_engine(job, runner, prepare, progress=progress)
    return Engine("compiled", build, *whole(job.out))


def commands(case: Conversion, engine: Engine | None, *, root: Path) -> tuple[str, ...]:
    """The command lines that compiling would run; none without an engine to compile."""
    if engine is None or engine.build is None:
        return ()
    gpu = next(iter(hardware.detect()), None)
    job = _compilation(case, engine.build, case.checkpoint.files, root, gpu)
    lines = executor.commands(job, executor.stand_in(job.image))
    first = [] if job.files else [_checkpoint_command(case, job)]
    return tuple(shlex.join(line) for line in (*first, *lines))


def _checkpoint_command(case: Conversion, job: Compilation) -> tuple[str, ...]:
    """Our own conversion, which needs no other program, as the command that does the same."""
    build = job.build
    return (
        "trtbuild", "checkpoint", case.recipe.source, "--out", str(executor.checkpoint_of(job)),
        "--dtype", build.dtype, "--tp", str(build.tp), "--pp", str(build.pp),
        "--triton", case.tools.triton,
    )  # fmt: skip


def _convert(
    case: Conversion,
    build: EngineBuild,
    files: tuple[CheckpointFile, ...],
    out: Path,
    progress: Progress,
) -> None:
    layout = plan_checkpoint(
        case.checkpoint, case.spec, files,
        dtype=build.dtype, tp=build.tp, pp=build.pp, release=build.release,
    )  # fmt: skip
    converter.write(layout, out, progress)


def _require_room(case: Conversion, job: Compilation, gpu: DetectedGpu, *, force: bool) -> None:
    weights = case.spec.parameters * _WIDTH[job.build.dtype]
    needed = executor.estimate(weights, job.build.world, job.build.workers)
    with disk_trouble(job.out.parent):
        require_space(job.out.parent, needed.disk)
    if not force:
        host = process.available_memory()
        executor.require_memory(needed, host=host, gpu=gpu.memory_bytes, workers=job.build.workers)


def _compilation(
    case: Conversion,
    build: EngineBuild,
    files: Sequence[CheckpointFile],
    root: Path,
    gpu: DetectedGpu | None,
) -> Compilation:
    image, name = case.builder.image(case.tools), case.recipe.name
    key = _key(case, build, files, image, gpu.sm if gpu else 0)
    here = tuple((file.name, file.path or Path(file.name)) for file in files)
    return Compilation(
        model=name,
        key=key,
        source=say_source(case.spec.source),
        image=image,
        build=build,
        files=here if image_converts(case, build) else (),
        out=root / name / key[:16],
        sm=gpu.sm if gpu else 0,
        gpu=gpu.driver_name if gpu else "",
    )


def _key(
    case: Conversion, build: EngineBuild, files: Sequence[CheckpointFile], image: str, sm: int
) -> str:
    """The digest of everything that an engine depends on."""
    source = case.spec.source
    there = {file.name: file.path for file in files if file.path is not None}
    parts = {
        "source": asdict(source),
        "config": case.spec.config_digest,
        # a hub checkpoint is known by its commit
        "files": {} if source.kind == "hub" else digest_all(there),
        "build": asdict(build),
        "image": image,
        "sm": sm,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
