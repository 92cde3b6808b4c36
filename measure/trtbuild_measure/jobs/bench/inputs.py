"""Inputs of a benchmark besides its targets: the checkpoint, its tokenizer, running baselines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild.resources import expanded
from trtbuild_measure.bench.counting import digest, tokenizer_digest
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.targets import Address
from trtbuild_measure.jobs.bench import baselines, targets
from trtbuild_measure.jobs.bench.targets import Prepared


def checkpoint_of(
    options: BenchOptions, addresses: list[Address], progress: Progress
) -> Path | None:
    """Return the directory that baselines serve: as given, else that of a local Triton target."""
    if options.checkpoint:
        from trtbuild.checkpoint import materialize, open_checkpoint

        folder = expanded(options.checkpoint)
        if folder.is_dir():
            return folder
        opened = open_checkpoint(options.checkpoint, dtype=options.dtype)
        files = materialize(opened, progress)
        first = next(file.path for file in files if file.path is not None)
        return first.parent
    found = next(filter(None, map(targets.weights_directory, addresses)), None)
    if found is None and any(address.kind == "baseline" for address in addresses):
        raise UsageError(
            "a baseline needs a checkpoint to serve",
            fix="name it with --checkpoint SOURCE (a directory, a hub id or sample:smollm2)",
        )
    return found


def tokenizer_of(
    options: BenchOptions, addresses: list[Address], checkpoint: Path | None
) -> Path | None:
    folder = options.tokenizer or checkpoint
    return folder or next(filter(None, map(targets.tokenizer_directory, addresses)), None)


def digests(folder: Path | None, options: BenchOptions) -> Json:
    """Return digests of the inputs that must be equal for two results to be comparable."""
    counted = {} if folder is None else {"tokenizer": tokenizer_digest(folder)}
    file = options.prompts or options.trace
    if file is None or not file.is_file():  # a pipe can be read only once
        return counted
    return {**counted, "prompts": digest(file)}


@contextlib.contextmanager
def started(
    address: Address, options: BenchOptions, checkpoint: Path | None, progress: Progress
) -> Iterator[Address]:
    if address.kind != "baseline":
        yield address
        return
    assert checkpoint is not None
    batch = options.batch if address.model == "fastapi-batched" else 1
    with baselines.running(
        address, checkpoint, dtype=options.dtype, batch=batch, progress=progress
    ) as found:
        yield found


def with_dtype(prepared: Prepared, options: BenchOptions) -> Prepared:
    return (
        replace(prepared, precision=options.dtype)
        if prepared.address.kind == "baseline"
        else prepared
    )
