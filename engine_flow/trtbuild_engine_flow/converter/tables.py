"""Tables of rotary embedding, which TensorRT-LLM stores in every rank file.

Formulas: ``RopeEmbeddingUtils`` of TensorRT-LLM (tensorrt_llm/functional.py) and, for llama3's
scaling, Llama 3.1's ``apply_scaling``. Float32 throughout; the last bit of a sine depends on the
numpy build.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from trtbuild_engine_flow.converter.model import TargetTensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_POSITIONS = 4096


def rotary_targets(
    positions: int, size: int, theta: float, scaling: Mapping[str, Any] | None
) -> tuple[TargetTensor, ...]:
    """``embed_positions``, ``embed_positions_for_gpt_attention`` and ``rotary_inv_freq``.

    Args:
        positions: Rows of the tables.
        size: Rotated elements of a head.
        theta: Base of the frequencies; ``embed_positions`` uses 10000 whatever it is.
        scaling: Of kind ``linear`` or ``llama3``, or None.
    """
    half, whole = size // 2, positions * size
    fixed = partial(_blocks, positions, partial(_frequencies, size, 10000.0), _halves)
    frequencies = partial(scaled_frequencies, size, theta, scaling)
    pairs = partial(_blocks, positions, frequencies, _pairs)
    return (
        TargetTensor("embed_positions", "F32", (1, positions, size), blocks=fixed),
        TargetTensor("embed_positions_for_gpt_attention", "F32", (1, whole), blocks=pairs),
        TargetTensor("rotary_inv_freq", "F32", (half,), blocks=partial(_one_block, frequencies)),
    )


def long_rope_targets(
    positions: int, size: int, theta: float, scaling: Mapping[str, Any], original: int
) -> tuple[TargetTensor, ...]:
    """The tables of Phi-3's rope for long contexts, for short and for long sequences.

    Args:
        positions: Rows of the tables, more than ``original``.
        size: Rotated elements of a head.
        theta: Base of the frequencies.
        scaling: With a divisor for each frequency: ``short_factor`` and ``long_factor``.
        original: Positions before the context was stretched; decides the magnitude.
    """
    stretched = positions / original
    magnitude = math.sqrt(1 + math.log(stretched) / math.log(original)) if stretched > 1 else 1.0
    made = []
    for prefix, key in (("", "short_factor"), ("long_rope_", "long_factor")):
        frequencies = partial(_divided_frequencies, size, theta, tuple(scaling[key]))
        halves = partial(_blocks, positions, frequencies, _halves, magnitude)
        pairs = partial(_blocks, positions, frequencies, _pairs, magnitude)
        attention = f"{prefix}embed_positions_for_gpt_attention"
        made += [
            TargetTensor(f"{prefix}embed_positions", "F32", (1, positions, size), blocks=halves),
            TargetTensor(attention, "F32", (1, positions * size), blocks=pairs),
            TargetTensor(
                f"{prefix}rotary_inv_freq",
                "F32",
                (1, size // 2),
                blocks=partial(_one_block, frequencies),
            ),
        ]
    return tuple(made)


def _one_block(frequencies: Callable[[], Floats]) -> Iterator[bytes]:
    yield _bytes(frequencies())


def _divided_frequencies(size: int, theta: float, divisors: tuple[float, ...]) -> Floats:
    import numpy as np

    powers = (theta ** (np.arange(0, size, 2) / size)).astype(np.float32)
    return np.float32(1.0) / (np.array(divisors, np.float32) * powers)


def _blocks(
    positions: int,
    frequencies: Callable[[], Floats],
    arrange: Callable[[Floats], Floats],
    magnitude: float = 1.0,
) -> Iterator[bytes]:
    """A table some thousand positions at a time."""
    import numpy as np

    row = frequencies()
    for first in range(0, positions, _POSITIONS):
        last = min(first + _POSITIONS, positions)
        angles = np.arange(first, last, dtype=np.float32)[:, None] * row[None, :]
        table = arrange(angles)
        yield _bytes(table * np.float32(magnitude) if magnitude != 1.0 else table)


def _halves(angles: Floats) -> Floats:
    """All sines, then all cosines of a position."""
    import numpy as np

    return np.concatenate((np.sin(angles), np.cos(angles)), axis=1)


def _pairs(angles: Floats) -> Floats:
    """A cosine and a sine for each frequency of a position."""
    import numpy as np

    return np.stack((np.cos(angles), np.sin(angles)), axis=-1)


def scaled_frequencies(size: int, theta: float, scaling: Mapping[str, Any] | None) -> Floats:
    """``size / 2`` frequencies; ValueError for a kind of scaling that is not computed here."""
    import numpy as np

    if not scaling:
        return _frequencies(size, theta)
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        return _frequencies(size, theta, 1.0 / float(scaling.get("factor", 1.0)))
    if kind != "llama3":
        raise ValueError(f"rope scaling {kind!r}")
    factor = float(scaling.get("factor", 8.0))
    low = float(scaling.get("low_freq_factor", 1.0))
    high = float(scaling.get("high_freq_factor", 4.0))
    context = float(scaling.get("original_max_position_embeddings", 8192))
    kept = [_llama3(f, factor, low, high, context) for f in _frequencies(size, theta)]
    return np.array(kept, dtype=np.float32)


def _llama3(frequency: Any, factor: float, low: float, high: float, context: float) -> Any:
    """Long waves are slowed down by ``factor``, short ones kept, those between interpolated."""
    wave = 2 * math.pi / frequency
    if wave < context / high:
        return frequency
    if wave > context / low:
        return frequency / factor
    smooth = (context / wave - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency


def _frequencies(size: int, theta: float, scale: float = 1.0) -> Floats:
    import numpy as np

    return np.float32(scale) / (theta ** (np.arange(0, size, 2) / size)).astype(np.float32)


def _bytes(values: Floats) -> bytes:
    return values.astype("<f4", copy=False).tobytes()
