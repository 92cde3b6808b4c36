"""Convert any source to a TensorRT-LLM checkpoint: open, check, plan, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtbuild import toolchain
from trtbuild.checkpoint import (
    Checkpoint,
    CheckpointFile,
    inspect,
    language_config,
    materialize,
    open_checkpoint,
    verify_shards,
)
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.modelspec import ModelSpec
from trtbuild.progress import SILENT, Progress
from trtbuild_engine_flow import converter
from trtbuild_engine_flow.converter import DTYPES, CheckpointPlan, Stored, WrittenCheckpoint

DEFAULT_RELEASE = "1.2.1"
"""The last TensorRT-LLM that compiles engines."""


@dataclass(frozen=True, slots=True)
class MadeCheckpoint:
    """A TensorRT-LLM checkpoint, written or only planned (``result`` is None then).

    ``proof`` is ``golden`` or ``described``, see :class:`converter.Family`.
    """

    spec: ModelSpec
    out: Path
    dtype: str
    tp: int
    pp: int
    release: str
    proof: str
    layout: CheckpointPlan
    result: WrittenCheckpoint | None


def make_checkpoint(
    source: str,
    out: Path,
    *,
    dtype: str = "",
    tp: int = 1,
    pp: int = 1,
    release: str = DEFAULT_RELEASE,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> MadeCheckpoint:
    """Convert ``source`` into the TensorRT-LLM checkpoint ``out``.

    Args:
        source: Hub id, directory, GGUF file or sample.
        out: A new directory, or an older checkpoint to replace.
        dtype: ``float32``, ``float16`` or ``bfloat16``; empty for the checkpoint's own.
        tp: Ranks that share every matrix.
        pp: Stages that share the layers.
        release: The TensorRT-LLM that will build from it.
        dry_run: Only plan, from headers alone.

    Raises:
        UsageError: No such source or dtype; ``out`` holds something else.
        UnsupportedError: It cannot be converted exactly (all reasons), or is broken.
        BuildError: The network or the disk failed; an older ``out`` is untouched.
    """
    _require_counts(tp, pp)
    progress.step(f"opening {source}")
    checkpoint = open_checkpoint(source, progress=progress)
    spec = inspect(checkpoint, needs_tokenizer=False)
    dtype = _dtype(dtype, spec)
    _require_supported(checkpoint, spec, tp, pp, release)
    verify_shards(checkpoint)
    layout = plan_checkpoint(
        checkpoint, spec, checkpoint.files, dtype=dtype, tp=tp, pp=pp, release=release
    )
    result = None
    if not dry_run:
        files = materialize(checkpoint, progress)
        layout = plan_checkpoint(
            checkpoint, spec, files, dtype=dtype, tp=tp, pp=pp, release=release
        )
        result = converter.write(layout, out, progress)
    proof = converter.FAMILIES[spec.architecture].proof
    return MadeCheckpoint(spec, out, dtype, tp, pp, release, proof, layout, result)


def release_of(triton: str) -> str:
    """The TensorRT-LLM of a Triton release, if it compiles engines.

    Raises:
        UsageError: No such release is known.
        UnsupportedError: Its TensorRT-LLM builds no engines, so it reads no such checkpoint.
    """
    row = toolchain.load(triton)
    if not row.engine_flow:
        newest = next(one.triton for one in toolchain.releases() if one.engine_flow)
        raise UnsupportedError(
            f"Triton {triton} carries no TensorRT-LLM that compiles engines",
            where=f"--triton {triton}",
            fix=f"use --triton {newest} or older, or deploy with --backend trtllm, which "
            "needs no such checkpoint",
        )
    return row.trtllm


def plan_checkpoint(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    files: tuple[CheckpointFile, ...],
    *,
    dtype: str,
    tp: int,
    pp: int,
    release: str = DEFAULT_RELEASE,
) -> CheckpointPlan:
    """The layout of an opened checkpoint. Files that are not here yet keep a relative path."""
    return converter.plan(
        spec,
        language_config(checkpoint.config),
        _stored(checkpoint, files),
        dtype=dtype,
        tp=tp,
        pp=pp,
        release=release,
    )


def _stored(checkpoint: Checkpoint, files: tuple[CheckpointFile, ...]) -> Mapping[str, Stored]:
    paths = {file.name: file.path or Path(file.name) for file in files}
    return {
        name: Stored(info.dtype, info.shape, paths[info.file], info.begin)
        for name, info in checkpoint.tensors.items()
    }


def _require_counts(tp: int, pp: int) -> None:
    for option, value in (("--tp", tp), ("--pp", pp)):
        if value < 1:
            raise UsageError(f"{option} {value} is not a number of ranks", fix="use 1 or more")


def _dtype(dtype: str, spec: ModelSpec) -> str:
    wanted = dtype or spec.dtype
    if wanted not in DTYPES:
        known = ", ".join(DTYPES)
        what = f"unknown dtype {dtype!r}" if dtype else f"the checkpoint's own dtype is {wanted!r}"
        raise UsageError(what, where=spec.source.text, fix=f"use --dtype with one of {known}")
    return wanted


def _require_supported(
    checkpoint: Checkpoint, spec: ModelSpec, tp: int, pp: int, release: str
) -> None:
    config = language_config(checkpoint.config)
    reasons = converter.unsupported(spec, config, tp=tp, pp=pp, release=release)
    if checkpoint.weights_format != "safetensors":
        what = f"its weights are in {checkpoint.weights_format} format"
        reasons = (*reasons, f"{what}: fetch the safetensors of the same model")
    if spec.layout != "hf":
        reasons = (
            "it has Mistral's own layout (params.json): use the checkpoint with config.json",
        )
    if reasons:
        raise UnsupportedError(
            f"{spec.source.text} cannot be converted exactly to a TensorRT-LLM checkpoint",
            where=spec.source.text,
            details=reasons,
            fix="each reason names its fix",
        )
