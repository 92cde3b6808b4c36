"""Quantize a checkpoint with NVIDIA ModelOpt in a separate environment.

Everything is checked before PyTorch is started: the checkpoint, the format, the texts, memory
and disk. The result is put in place only after opening it confirmed the requested quantization.
"""

from __future__ import annotations

import shutil
import signal
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trtbuild import process
from trtbuild.builder import run_worker
from trtbuild.checkpoint import (
    Checkpoint,
    CheckpointFile,
    inspect,
    materialize,
    open_checkpoint,
    verify_shards,
)
from trtbuild.errors import BuildError, UnsupportedError, UsageError
from trtbuild.files import disk_trouble, require_space, staged_dir
from trtbuild.modelspec import ModelSpec, Task
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import state_dir
from trtbuild.server import runtime
from trtbuild_checkpoints.calibration import Text, read_texts
from trtbuild_checkpoints.resources import data_file, template_dir

MARKER = "hf_quant_config.json"
_AWQ_GROUP = 128
_WEIGHTS = (".safetensors", ".bin", ".gguf")
_HALF = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Format:
    """A row of ``data/quantize.toml``; the fields are explained there."""

    name: str
    title: str
    config: str
    calibrated: bool
    sm: int
    bits: int
    algo: str
    trtllm: bool
    vllm: bool


@dataclass(frozen=True, slots=True)
class Quantized:
    """The result of a quantization; sizes in bytes."""

    out: Path
    source: str
    format: Format
    kv_cache: str
    texts: int
    before: int
    after: int
    seconds: float
    log: Path


@cache
def formats() -> Mapping[str, Format]:
    """Return every format by name."""
    table = tomllib.loads(data_file("quantize.toml").read_text(encoding="utf-8"))
    return {name: Format(name, **row) for name, row in table.items()}


def quantize(
    source: str,
    out: Path,
    *,
    format_name: str,
    calibration: Path | None = None,
    samples: int = 128,
    length: int = 512,
    kv_cache: str = "",
    progress: Progress = SILENT,
) -> Quantized:
    """Quantize ``source`` into the Hugging Face checkpoint ``out``.

    Args:
        source: Hub id, directory, GGUF file or sample.
        out: A new directory, or an older quantized checkpoint to replace.
        format_name: A name from :func:`formats`.
        calibration: Texts, see :func:`read_texts`; None for about two dozen shipped ones.
        samples: Maximum number of texts.
        length: Maximum tokens of each.
        kv_cache: ``fp8``, or empty to leave the cache as it is.

    Raises:
        UsageError: An unknown format, no usable text, or ``out`` holds something else.
        UnsupportedError: It cannot be quantized, with all reasons.
        BuildError: Memory, disk, network or ModelOpt failed; ``out`` is unchanged.
    """
    started = time.monotonic()
    chosen = _format(format_name, kv_cache)
    if length < 1:
        raise UsageError(f"--length must be at least 1, got {length}", fix="use 1 or more")
    _refuse_foreign(out)
    progress.step(f"opening {source}")
    checkpoint = open_checkpoint(source, progress=progress)
    spec = inspect(checkpoint)
    texts = read_texts(calibration, samples) if chosen.calibrated or kv_cache else ()
    _require_possible(checkpoint, spec, chosen, texts)
    verify_shards(checkpoint)
    with disk_trouble(out):
        require_space(out, spec.parameters * chosen.bits // 8)
    environment = runtime.install("modelopt", progress=progress)
    files = materialize(checkpoint, progress)
    log = state_dir("logs", f"quantize-{checkpoint.default_name}.log")
    with disk_trouble(out), staged_dir(out) as staged:
        job = {
            "out": str(staged),
            "architecture": spec.architecture,
            "dtype": spec.dtype if spec.dtype in _HALF else "bfloat16",
            "config": chosen.config,
            "kv_cache": "FP8_KV_CFG" if kv_cache else "",
            "texts": list(texts),
            "length": length,
        }
        script = template_dir("worker.py")
        status, tail = run_worker(
            environment.python, script, job, files, log=log, progress=progress
        )
        if status:
            raise _failure(status, tail, log)
        _complete(staged, files)
        after = _require_quantized(staged, chosen)
    seconds = round(time.monotonic() - started, 1)
    before = spec.weight_bytes
    return Quantized(out, source, chosen, kv_cache, len(texts), before, after, seconds, log)


def _format(name: str, kv_cache: str) -> Format:
    if name not in formats():
        raise UsageError(
            f"unknown format {name!r}", fix=f"use --format with one of {', '.join(formats())}"
        )
    if kv_cache not in ("", "fp8"):
        raise UsageError(f"unknown cache format {kv_cache!r}", fix="use --kv-cache fp8, or none")
    return formats()[name]


def _refuse_foreign(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file()):
        raise UsageError(
            f"{out} exists and is not a quantized checkpoint",
            where=str(out),
            fix="name a new directory",
        )


def _require_possible(
    checkpoint: Checkpoint, spec: ModelSpec, chosen: Format, texts: Sequence[Text]
) -> None:
    reasons = tuple(_reasons(checkpoint, spec, chosen, texts))
    if reasons:
        raise UnsupportedError(
            f"{spec.source.text} cannot be quantized to {chosen.name}",
            where=spec.source.text,
            details=reasons,
            fix="each reason names its fix",
        )


def _reasons(
    checkpoint: Checkpoint, spec: ModelSpec, chosen: Format, texts: Sequence[Text]
) -> Iterator[str]:
    if spec.quantization:
        yield f"it is quantized already ({spec.quantization.method}): start from the original"
    if checkpoint.weights_format != "safetensors":
        kind = checkpoint.weights_format
        yield f"its weights are in {kind} format: use the safetensors of the same model"
    if spec.layout != "hf":
        yield "it has Mistral's own layout (params.json): use the checkpoint with config.json"
    if spec.remote_code:
        yield "it contains its own code, which trtbuild never runs: use ModelOpt's own scripts"
    if spec.task is not Task.GENERATE:
        yield f"it is for {spec.task.value}: only models that generate text are quantized here"
    if chosen.name in ("int4_awq", "w4a8_awq") and spec.hidden_size % _AWQ_GROUP:
        yield (
            f"its width of {spec.hidden_size} is not a multiple of AWQ's group size {_AWQ_GROUP}: "
            "use --format fp8 or nvfp4"
        )
    if any(not isinstance(text, str) for text in texts) and not spec.tokenizer.chat_template:
        yield "the calibration file has messages, but the model has no chat template: use texts"
    needed, free = spec.parameters * 2 * 2 + (2 << 30), process.available_memory()
    if free and needed > free:
        yield (
            f"it needs about {needed / 2**30:.0f} GiB of memory, but {free / 2**30:.0f} GiB "
            "are free: use a machine with more, or a checkpoint that its authors quantized"
        )


def _failure(code: int, tail: Sequence[str], log: Path) -> BuildError:
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return BuildError(
            "ModelOpt was killed, probably because memory ran out",
            where=str(log),
            fix="close other programs, or use a machine with more memory; nothing was changed",
        )
    errors = [line for line in tail if line and not line.startswith((" ", "Traceback"))]
    return BuildError(
        f"ModelOpt failed with exit code {code}",
        where=str(log),
        details=tuple(errors[-1:]),
        fix="read the log above; try another --format; nothing was changed",
    )


def _complete(folder: Path, files: Sequence[CheckpointFile]) -> None:
    """Add tokenizer and chat template to the weights, and make all files readable for others."""
    for file in files:
        target = folder / file.name
        weights = file.name.endswith(_WEIGHTS) or file.name.endswith(".index.json")
        if not weights and not target.exists() and file.path:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, target)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)


def _require_quantized(folder: Path, chosen: Format) -> int:
    """Open the result like any other checkpoint, check it, and return the bytes of its weights."""
    checkpoint = open_checkpoint(str(folder))
    spec = inspect(checkpoint)
    verify_shards(checkpoint)
    found = spec.quantization.detail.get("quant_algo") if spec.quantization else None
    if str(found).upper() != chosen.algo.upper():
        raise BuildError(
            f"ModelOpt wrote {found or 'an unquantized checkpoint'} instead of {chosen.algo}",
            where=str(folder),
            fix="report this with the checkpoint's name; nothing was changed",
        )
    return spec.weight_bytes
