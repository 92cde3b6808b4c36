"""Write a planned checkpoint atomically: its configuration and its rank files."""

from __future__ import annotations

import json
import os
import re
import struct
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble, require_space, staged_dir
from trtbuild.progress import SILENT, Progress
from trtbuild_engine_flow.converter.model import CheckpointPlan, RankFile, WrittenCheckpoint
from trtbuild_engine_flow.converter.transfer import Plan, Transfer, Use, put

CONFIG = "config.json"
_OURS = re.compile(rf"{re.escape(CONFIG)}|rank\d+\.safetensors", re.ASCII)


def write(layout: CheckpointPlan, out: Path, progress: Progress = SILENT) -> WrittenCheckpoint:
    """Write the checkpoint to ``out`` atomically, replacing an older one.

    Args:
        layout: The plan.
        out: A directory that does not exist, is empty, or holds such a checkpoint.
        progress: Called with the bytes of the source that are done.

    Raises:
        UsageError: ``out`` holds something else.
        UnsupportedError: A source is shorter than its header says, or a value is not a finite
            number of the new type; names the tensor.
        BuildError: The disk is full or broken; an older checkpoint is unchanged.
    """
    started = time.monotonic()
    _refuse_foreign(out)
    with disk_trouble(out):
        require_space(out, layout.size)
        with staged_dir(out) as folder:
            progress.step(f"writing {len(layout.ranks)} rank files")
            files = _write_ranks(layout, folder, progress)
            text = json.dumps(layout.config, indent=4)
            files[CONFIG] = (folder / CONFIG).write_text(text, encoding="utf-8")
            progress.step("waiting for the disk")
    tensors = sum(len(rank.targets) for rank in layout.ranks)
    return WrittenCheckpoint(files, tensors, round(time.monotonic() - started, 3))


def header(rank: RankFile) -> bytes:
    """The safetensors header of a rank file, as the reference implementation prints it."""
    entries: dict[str, Any] = {}
    at = 0
    for target in rank.targets:
        entries[target.name] = {
            "dtype": target.dtype,
            "shape": list(target.shape),
            "data_offsets": [at, at + target.size],
        }
        at += target.size
    body = json.dumps(entries, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return struct.pack("<Q", len(body)) + body


def _refuse_foreign(out: Path) -> None:
    """Raise UsageError if ``out`` contains something other than such a checkpoint."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file", where=str(out), fix="name a directory (--out)")
    foreign = [p.name for p in sorted(out.iterdir()) if not _OURS.fullmatch(p.name)]
    if foreign:
        raise UsageError(
            f"{out} holds {foreign[0]!r}, which is not part of a TensorRT-LLM checkpoint",
            where=str(out),
            fix="name a new directory (--out)",
        )


def _write_ranks(layout: CheckpointPlan, folder: Path, progress: Progress) -> dict[str, int]:
    sizes: dict[str, int] = {}
    plan = Plan(defaultdict(list), defaultdict(list))
    with ExitStack() as stack:
        for rank in layout.ranks:
            file = os.open(folder / rank.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            stack.callback(os.close, file)
            sizes[rank.name] = _begin(file, rank, plan)
        Transfer(layout, plan, progress).run()
    return sizes


def _begin(file: int, rank: RankFile, plan: Plan) -> int:
    """Write header and length of a file; record what fills the rest."""
    head = header(rank)
    put(file, head, 0)
    at = len(head)
    for target in rank.targets:
        if target.blocks:
            plan.tables[target.blocks].append((file, at))
        for piece in target.pieces:
            plan.uses[piece.source].append(Use(file, at, target, piece))
        at += target.size
    os.ftruncate(file, at)
    return at
