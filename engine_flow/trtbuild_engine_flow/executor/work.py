"""The steps of a compilation as command lines, so that a dry run prints the exact ones."""

from __future__ import annotations

from pathlib import Path

from trtbuild_engine_flow.executor.model import Compilation
from trtbuild_engine_flow.executor.runner import Runner


def container_name(job: Compilation, step: str) -> str:
    """The container of a step."""
    return f"trtbuild-{step}-{job.key[:12]}"


def convert_command(job: Compilation, runner: Runner, checkpoint: Path) -> tuple[str, ...]:
    """TensorRT-LLM's own converter, for what ours cannot convert."""
    build = job.build
    arguments = [
        "convert", "--family", build.family, "--model", "{hf}", "--out", "{checkpoint}",
        "--dtype", build.dtype, "--tp", str(build.tp), "--pp", str(build.pp),
    ]  # fmt: skip
    if not runner.tool:
        places = {"hf": (_folder_of(job), False), "checkpoint": (checkpoint, True)}
        return runner.command(container_name(job, "convert"), arguments, places)
    # A download cache links its files to blobs elsewhere, so each is mounted by itself.
    mounted = {f"hf/{name}": (path.resolve(), False) for name, path in job.files}
    places = {**mounted, "checkpoint": (checkpoint, True)}
    arguments = [word.replace("{hf}", "/build/hf") for word in arguments]
    return runner.command(container_name(job, "convert"), arguments, places)


def _folder_of(job: Compilation) -> Path:
    """The checkpoint's directory: its files may lie in directories of it."""
    for name, path in job.files:
        return path.parents[name.count("/")]
    return Path("checkpoint")


def build_command(
    job: Compilation, runner: Runner, checkpoint: Path, engine: Path
) -> tuple[str, ...]:
    """``trtllm-build`` with every option."""
    arguments = ["build", "--checkpoint", "{checkpoint}", "--out", "{engine}", "--"]
    places = {"checkpoint": (checkpoint, False), "engine": (engine, True)}
    return runner.command(container_name(job, "build"), [*arguments, *job.build.options], places)


def checkpoint_of(job: Compilation) -> Path:
    """Return the checkpoint's path for a dry run; a real run uses a scratch directory."""
    return job.home.with_name(f"{job.home.name}.checkpoint")


def commands(job: Compilation, runner: Runner) -> tuple[tuple[str, ...], ...]:
    """Return every command of the compilation, in order; ours converts if there is none for it."""
    checkpoint = checkpoint_of(job)
    steps = [convert_command(job, runner, checkpoint)] if job.files else []
    return (*steps, build_command(job, runner, checkpoint, job.home))
