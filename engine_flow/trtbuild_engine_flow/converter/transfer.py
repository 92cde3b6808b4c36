"""Copy stored tensors into rank files, a few megabytes at a time, reading every byte once.

A chunk is a few rows of one stored tensor. It is read, cast once for each target type, and its
rectangles are written into all rank files. Nothing is mapped, so resident memory is a few buffers
for any model size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.errors import UnsupportedError
from trtbuild.progress import Progress
from trtbuild_engine_flow.converter.model import (
    WIDTH,
    Blocks,
    CheckpointPlan,
    Piece,
    Stored,
    TargetTensor,
)

if TYPE_CHECKING:
    import numpy.typing as npt

_CHUNK_ELEMENTS = 1 << 20
_THREADS = 4


@dataclass(frozen=True, slots=True)
class Use:
    """A piece, the open file it goes to and the byte its target begins at."""

    file: int
    begin: int
    target: TargetTensor
    piece: Piece


@dataclass(frozen=True, slots=True)
class Plan:
    """The uses of each source, and the offsets of tables in files."""

    uses: dict[str, list[Use]]
    tables: dict[Blocks, list[tuple[int, int]]]


class Transfer:
    """Copies every chunk of every source, several in parallel, into open files."""

    def __init__(self, layout: CheckpointPlan, plan: Plan, progress: Progress) -> None:
        self._sources, self._progress = layout.sources, progress
        self._uses, self._tables = plan.uses, plan.tables
        self._total = sum(_size(stored) for stored in layout.sources.values())
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._local = threading.local()

    def run(self) -> None:
        """Write everything; raise the first error of a thread."""
        with ExitStack() as stack:
            files: dict[Path, int] = {}
            for stored in self._sources.values():
                if stored.path not in files:
                    files[stored.path] = os.open(stored.path, os.O_RDONLY)
                    stack.callback(os.close, files[stored.path])
            chunks = self._chunks()
            threads = min(_THREADS, os.cpu_count() or 1)
            with ThreadPoolExecutor(threads) as pool:
                tasks = [pool.submit(_write_table, *table) for table in self._tables.items()]
                tasks += [pool.submit(self._work, files, chunks) for _ in range(threads)]
                try:
                    for task in tasks:
                        task.result()
                except BaseException:  # also on Ctrl-C: do not copy the remaining gigabytes first
                    self._stop.set()
                    raise

    def _work(self, files: dict[Path, int], chunks: Iterator[tuple[str, int, int]]) -> None:
        """Process chunks until none is left or another thread failed."""
        try:
            while not self._stop.is_set():
                with self._lock:
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                self._move(files, *chunk)
        except BaseException:
            self._stop.set()
            raise

    def _chunks(self) -> Iterator[tuple[str, int, int]]:
        """``(name, first row, last row)`` in the order of the files."""
        ordered = sorted(self._sources.items(), key=lambda item: (item[1].path, item[1].begin))
        for name, stored in ordered:
            whole = any(use.piece.transposed for use in self._uses[name])
            step = stored.rows if whole else max(_CHUNK_ELEMENTS // max(stored.columns, 1), 1)
            for first in range(0, stored.rows, step):
                yield name, first, min(first + step, stored.rows)

    def _move(self, files: dict[Path, int], name: str, first: int, last: int) -> None:
        stored = self._sources[name]
        rows = self._read(files[stored.path], name, stored, first, last)
        made: dict[tuple[str, float], npt.NDArray[Any]] = {}
        for use in self._uses[name]:
            a, b = max(first, use.piece.rows[0]), min(last, use.piece.rows[1])
            if a >= b:
                continue
            key = use.target.dtype, use.target.plus
            if key not in made:
                made[key] = _cast(rows, name, stored, *key)
            _place(use, made[key][a - first : b - first], a)
        with self._lock:
            self._done += (last - first) * stored.columns * WIDTH[stored.dtype]
            self._progress.advance(self._done, self._total)

    def _read(
        self, file: int, name: str, stored: Stored, first: int, last: int
    ) -> npt.NDArray[Any]:
        """Rows of a tensor in this thread's buffer, which the next call overwrites."""
        import numpy as np

        from trtbuild_engine_flow.converter.cast import NUMPY

        width = stored.columns * WIDTH[stored.dtype]
        size, at = (last - first) * width, stored.begin + first * width
        buffer: bytearray = getattr(self._local, "buffer", bytearray())
        if len(buffer) < size:
            buffer = self._local.buffer = bytearray(max(size, _CHUNK_ELEMENTS * 4))
        done = 0
        while done < size:
            count = os.preadv(file, [memoryview(buffer)[done:size]], at + done)
            if not count:
                raise UnsupportedError(
                    f"{stored.path.name} ends within tensor {name!r}",
                    where=stored.path.name,
                    fix=f"fetch {stored.path.name} again from where it came from",
                )
            done += count
        count = (last - first) * stored.columns
        flat: npt.NDArray[Any] = np.frombuffer(buffer, NUMPY[stored.dtype], count)
        return flat.reshape(last - first, stored.columns)


def _size(stored: Stored) -> int:
    return stored.rows * stored.columns * WIDTH[stored.dtype]


def _cast(
    rows: npt.NDArray[Any], name: str, stored: Stored, dtype: str, plus: float
) -> npt.NDArray[Any]:
    from trtbuild_engine_flow.converter.cast import cast

    try:
        return cast(rows, stored.dtype, dtype, plus)
    except ValueError as error:
        raise UnsupportedError(
            f"tensor {name!r} has {error}",
            where=stored.path.name,
            fix="use --dtype bfloat16 or float32 if values are too large; NaN and infinity mean "
            "that the checkpoint itself is broken: fetch it again",
        ) from None


def _place(use: Use, rows: npt.NDArray[Any], first: int) -> None:
    """Write the columns of a piece; ``first`` is the number of the first of ``rows``."""
    import numpy as np

    piece = use.piece
    begin, end = piece.columns
    block = rows[:, begin:end]
    if piece.transposed:
        block, skipped = block.T, 0
    else:
        skipped = (first - piece.rows[0]) * (end - begin)
    at = use.begin + (piece.at + skipped) * WIDTH[use.target.dtype]
    put(use.file, np.ascontiguousarray(block).data, at)


def put(file: int, content: bytes | memoryview, at: int) -> None:
    """Write all of ``content`` at byte ``at`` of an open file; leaves the file's position."""
    view = memoryview(content).cast("B")
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


def _write_table(blocks: Blocks, places: list[tuple[int, int]]) -> None:
    done = 0
    for block in blocks():
        for file, at in places:
            put(file, block, at + done)
        done += len(block)
