"""Split a tensor: the rectangles of it for one rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from trtbuild_engine_flow.converter.families import Split
from trtbuild_engine_flow.converter.model import Piece, Stored
from trtbuild_engine_flow.converter.shape import Shape

Span = tuple[int, int]
Block = tuple[str, Span]
"""Whole rows of one source."""

Shared = tuple[tuple[int, ...], tuple[Piece, ...]]
"""The shape of a target and what fills it."""

Sources = Mapping[str, Stored]


class Splitter:
    """Splits tensors for rank ``rank`` of ``tp``.

    Rows are always output features; GPT-2's matrices are stored transposed, which
    :meth:`_extent` handles.
    """

    def __init__(self, shape: Shape, tp: int, rank: int, transposed: bool = False) -> None:
        self._shape, self._tp, self._rank, self._transposed = shape, tp, rank, transposed

    def pieces(self, split: Split, part: str, names: Sequence[str], sources: Sources) -> Shared:
        """Return shape and pieces of a target; ValueError if a source contradicts the config."""
        if split == "whole" or (split == "rows" and part == "bias"):
            stored = sources[names[0]]
            span = ((0, stored.rows), (0, stored.columns))
            return stored.shape, (Piece(names[0], *span, at=0),)
        if split == "rows":
            return self._by_rows(names[0], sources)
        if split == "vocab":
            return self._padded(names[0], sources)
        if split.startswith("experts"):
            return self._experts(split, names, sources)
        return self._stack(self._blocks(split, names, sources), sources)

    def _blocks(self, split: Split, names: Sequence[str], sources: Sources) -> list[Block]:
        if split in ("columns", "gated"):
            return [(name, self._share(self._extent(sources[name])[0], name)) for name in names]
        if split == "swapped":
            half = self._extent(sources[names[0]])[0] // 2
            a, b = self._share(half, names[0])
            return [(names[0], (half + a, half + b)), (names[0], (a, b))]
        for name, rows in zip(names, self._qkv_rows(split), strict=True):
            found = self._extent(sources[name])[0]
            if found != rows:
                raise ValueError(f"tensor {name!r} has {found:,} rows where heads need {rows:,}")
        return list(self._heads(split, names))

    def _qkv_rows(self, split: Split) -> tuple[int, ...]:
        size = self._shape.head_size
        query, key = self._shape.heads * size, self._shape.kv_heads * size
        return (query, key, key) if split == "qkv" else (query + 2 * key,)

    def _heads(self, split: Split, names: Sequence[str]) -> Iterator[Block]:
        """This rank's queries, then its keys, then its values."""
        shape, size = self._shape, self._shape.head_size
        queries = range(*self._span(shape.heads))
        keys = range(*self._key_span())
        if split == "qkv_grouped":
            group = shape.heads // shape.kv_heads
            for head in queries:
                at = (head // group) * (group + 2) + head % group
                yield names[0], (at * size, (at + 1) * size)
            for offset in (group, group + 1):
                for key in keys:
                    at = key * (group + 2) + offset
                    yield names[0], (at * size, (at + 1) * size)
            return
        sections = (
            zip(names, (0, 0, 0), strict=True)
            if split == "qkv"
            else ((names[0], at) for at in (0, shape.heads, shape.heads + shape.kv_heads))
        )
        for heads, (name, base) in zip((queries, keys, keys), sections, strict=True):
            yield name, ((base + heads.start) * size, (base + heads.stop) * size)

    def _key_span(self) -> Span:
        """Return the key-value heads of this rank; heads are repeated if there are more ranks."""
        count = self._shape.kv_heads
        if count >= self._tp:
            return self._span(count)
        head = self._rank // (self._tp // count)
        return head, head + 1

    def _span(self, count: int) -> Span:
        each = count // self._tp
        return self._rank * each, (self._rank + 1) * each

    def _share(self, count: int, name: str) -> Span:
        if count % self._tp:
            raise ValueError(f"tensor {name!r}: {count:,} features do not divide by {self._tp}")
        return self._span(count)

    def _extent(self, stored: Stored) -> tuple[int, int]:
        """Output and input features of a matrix; a vector has one input."""
        if self._transposed and len(stored.shape) == 2:
            return stored.columns, stored.rows
        return stored.rows, stored.columns

    def _piece(self, name: str, rows: Span, columns: Span, at: int, stored: Stored) -> Piece:
        if self._transposed and len(stored.shape) == 2:
            return Piece(name, columns, rows, at, transposed=True)
        return Piece(name, rows, columns, at)

    def _stack(self, blocks: Iterable[Block], sources: Sources, base: int = 0) -> Shared:
        """Blocks one below the other."""
        made: list[Piece] = []
        rows, width, vector = 0, 0, False
        for name, (a, b) in blocks:
            stored = sources[name]
            columns = self._extent(stored)[1]
            if made and columns != width:
                raise ValueError(f"tensor {name!r} has {columns:,} columns, its like {width:,}")
            width, vector = columns, len(stored.shape) == 1
            made.append(self._piece(name, (a, b), (0, width), base + rows * width, stored))
            rows += b - a
        return ((rows,) if vector else (rows, width)), tuple(made)

    def _by_rows(self, name: str, sources: Sources, base: int = 0) -> Shared:
        stored = sources[name]
        out, inputs = self._extent(stored)
        a, b = self._share(inputs, name)
        return (out, b - a), (self._piece(name, (0, out), (a, b), base, stored),)

    def _padded(self, name: str, sources: Sources) -> Shared:
        """Split rows evenly after padding to the next multiple with zeros.

        Embeddings have a row per word in every family, so nothing is transposed.
        """
        stored = sources[name]
        each = -(-stored.rows // self._tp)
        begin = min(self._rank * each, stored.rows)
        end = min(begin + each, stored.rows)
        shape = (each, *stored.shape[1:])
        if begin == end:
            return shape, ()
        return shape, (Piece(name, (begin, end), (0, stored.columns), at=0),)

    def _experts(self, split: Split, names: Sequence[str], sources: Sources) -> Shared:
        count = self._shape.experts
        each = len(names) // count
        pieces: list[Piece] = []
        shape: tuple[int, ...] = ()
        for expert in range(count):
            group = names[expert * each : (expert + 1) * each]
            base = expert * (shape[0] * shape[1] if shape else 0)
            if split == "experts_rows":
                one, made = self._by_rows(group[0], sources, base)
            else:
                one, made = self._stack(self._blocks("gated", group, sources), sources, base)
            if shape and one != shape:
                raise ValueError(f"tensor {group[0]!r} gives {one}, the expert before it {shape}")
            shape = one
            pieces += made
        return (count, *shape), tuple(pieces)
