"""Compile an engine: check space, convert, build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trtbuild import process
from trtbuild.builder import Case, Workplace
from trtbuild.checkpoint import language_config
from trtbuild.errors import BuildError
from trtbuild.files import disk_trouble, require_space
from trtbuild.hardware import DetectedGpu
from trtbuild_engine_flow import converter, executor
from trtbuild_engine_flow.engines.checkpoint import plan_checkpoint
from trtbuild_engine_flow.executor import Compilation, EngineBuild, Runner

_WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}


def compile_engine(case: Case, build: EngineBuild, image: str, place: Workplace) -> None:
    """Compile an engine into ``place.out``.

    Raises:
        BuildError: Not enough memory or disk, or the tools failed.
        UnsupportedError: The checkpoint cannot be cast to the requested type.
    """
    runner, gpu = require_tools(image, place.gpu)
    job = _compilation(case, build, image, place)
    _require_room(case, job, gpu, force=place.force)

    def prepare(out: Path) -> None:
        if job.files:
            executor.convert_in_image(job, runner, out, place.progress)
        else:
            _convert(case, build, place, out)

    executor.compile_engine(job, runner, prepare, progress=place.progress)


def require_tools(image: str, gpu: DetectedGpu | None) -> tuple[Runner, DetectedGpu]:
    """Return the tools for compiling. Raises BuildError without a container engine or a GPU."""
    runner = executor.find_runner(image)
    if gpu is None:
        raise BuildError(
            "nvidia-smi shows no GPU, and an engine is compiled on the kind of GPU it runs on",
            fix="build on such a machine, or write all but the engine (--no-build)",
        )
    return runner, gpu


def commands(
    case: Case, build: EngineBuild, image: str, place: Workplace
) -> Sequence[Sequence[str]]:
    """Return the command lines that compiling would run."""
    job = _compilation(case, build, image, place)
    lines = executor.commands(job, executor.stand_in(image))
    first = [] if job.files else [_checkpoint_command(case, job)]
    return (*first, *lines)


def image_converts(case: Case, build: EngineBuild) -> tuple[str, ...]:
    """Return why our converter cannot write the checkpoint, so that the image's own must."""
    if case.checkpoint is None:
        return ()
    return converter.unsupported(
        case.spec,
        language_config(case.checkpoint.config),
        tp=build.tp,
        pp=build.pp,
        release=build.release,
    )


def _checkpoint_command(case: Case, job: Compilation) -> tuple[str, ...]:
    """Return our own conversion as an equivalent command line."""
    build = job.build
    return (
        "trtbuild", "checkpoint", case.recipe.source, "--out", str(executor.checkpoint_of(job)),
        "--dtype", build.dtype, "--tp", str(build.tp), "--pp", str(build.pp),
        "--triton", case.toolchain.triton,
    )  # fmt: skip


def _convert(case: Case, build: EngineBuild, place: Workplace, out: Path) -> None:
    assert case.checkpoint is not None, "a conversion has opened it"
    layout = plan_checkpoint(
        case.checkpoint,
        case.spec,
        place.files,
        dtype=build.dtype,
        tp=build.tp,
        pp=build.pp,
        release=build.release,
    )
    converter.write(layout, out, place.progress)


def _require_room(case: Case, job: Compilation, gpu: DetectedGpu, *, force: bool) -> None:
    weights = case.spec.parameters * _WIDTH[job.build.dtype]
    needed = executor.estimate(weights, job.build.world, job.build.workers)
    with disk_trouble(job.home.parent):
        require_space(job.home.parent, needed.disk)
    if not force:
        host = process.available_memory()
        executor.require_memory(needed, host=host, gpu=gpu.memory_bytes, workers=job.build.workers)


def _compilation(case: Case, build: EngineBuild, image: str, place: Workplace) -> Compilation:
    here = tuple((file.name, file.path or Path(file.name)) for file in place.files)
    return Compilation(
        model=case.recipe.name,
        key=place.key,
        source=place.source,
        image=image,
        build=build,
        files=here if image_converts(case, build) else (),
        home=place.home,
        out=place.out,
        sm=place.gpu.sm if place.gpu else 0,
        gpu=place.gpu.driver_name if place.gpu else "",
    )
