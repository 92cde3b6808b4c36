"""A window in numbers: what is compared, without the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild_drift import features
from trtbuild_drift.options import Asking, Columns
from trtbuild_drift.texts import Text, Window, read_window
from trtbuild_drift.vectors import embed

_NOTHING = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Segment:
    """The texts of a segment in numbers.

    Attributes:
        lengths: Characters of each text.
        histograms: Classes of words of each text (texts, BUCKETS).
        languages: Of each text.
        refused: Whether each answer refuses; empty without answers.
        vectors: Embeddings of length 1 (texts, dimension); (0, 0) without.
    """

    lengths: NDArray[np.int64]
    histograms: NDArray[np.uint8]
    languages: NDArray[np.str_]
    refused: NDArray[np.bool_]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Model:
    """What made the embeddings.

    Attributes:
        origin: Its name, and what else identifies it; empty if not known.
        dimension: 0 without embeddings.
        probes: Embeddings of fixed texts (probes, dimension); (0, 0) if they came with the rows.
    """

    origin: dict[str, Any]
    dimension: int
    probes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Measured:
    """A window, its segments that are large enough in numbers, and the embedding model."""

    window: Window
    segments: dict[str, Segment]
    model: Model


def measure(
    inputs: Sequence[str], columns: Columns, asking: Asking, sample: int, progress: Progress
) -> Measured:
    """Read a window, and measure the texts of each segment that has enough of them.

    Raises:
        UsageError: Both ways to embeddings at once, or an input that cannot be used.
        ServerError: The embedding model does not answer.
    """
    if asking.target and columns.embedding:
        raise UsageError(
            "--target and --embedding exclude each other",
            fix="give --target to compute embeddings, or --embedding to read them",
        )
    window = read_window(inputs, columns, sample, progress)
    window.large()
    origin, probes = window.origin, _NOTHING
    if asking.target:
        made = embed(window, asking, progress)
        origin, probes = made.origin, made.probes
    progress.step("measuring the texts")
    dimension = _dimension(window, columns)
    segments = {name: _segment(window.segments[name]) for name in window.large()}
    return Measured(window, segments, Model(origin, dimension, probes))


def _dimension(window: Window, columns: Columns) -> int:
    sizes = {
        len(one.vector)
        for texts in window.segments.values()
        for one in texts
        if one.vector is not None
    }
    if len(sizes) > 1:
        raise UsageError(
            f"embeddings have different dimensions: {', '.join(map(str, sorted(sizes)))}",
            where=f"--embedding {columns.embedding}",
            fix="take rows of one embedding model",
        )
    return max(sizes, default=0)


def _segment(texts: Sequence[Text]) -> Segment:
    vectors = [one.vector for one in texts if one.vector is not None]
    return Segment(
        np.array([len(one.text) for one in texts]),
        np.array([features.histogram(one.text) for one in texts]),
        np.array([features.language(one.text) for one in texts]),
        np.array([one.refused for one in texts if one.refused is not None], dtype=bool),
        _normal(np.array(vectors)) if vectors else _NOTHING,
    )


def _normal(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.divide(
        vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0
    )
    return found
