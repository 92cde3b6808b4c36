"""Plan rank files from stored tensors: every target and its source rectangles. Reads no data.

Rank ``N`` is ``pp_rank * tp + tp_rank``; layers are renumbered in every stage. Within a file
safetensors' own order is kept: wide types first, then by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trtbuild.errors import UnsupportedError
from trtbuild.modelspec import ModelSpec
from trtbuild_engine_flow.converter.config import predict_config
from trtbuild_engine_flow.converter.eras import completed, era_of, of_release
from trtbuild_engine_flow.converter.families import Family, Row
from trtbuild_engine_flow.converter.fit import misfit
from trtbuild_engine_flow.converter.model import (
    DTYPES,
    WIDTH,
    CheckpointPlan,
    RankFile,
    Stored,
    TargetTensor,
)
from trtbuild_engine_flow.converter.shape import (
    Shape,
    family_of,
    has_long_rope,
    is_tied,
    original_positions,
    rope_scaling,
    shape_of,
)
from trtbuild_engine_flow.converter.splits import Splitter
from trtbuild_engine_flow.converter.tables import long_rope_targets, rotary_targets

_SHOWN = 12


def plan(
    spec: ModelSpec,
    config: Mapping[str, Any],
    sources: Mapping[str, Stored],
    *,
    dtype: str,
    tp: int = 1,
    pp: int = 1,
    release: str = "1.2.1",
) -> CheckpointPlan:
    """Return every file of the checkpoint, from headers only; see :func:`predict_config`.

    Raises:
        UnsupportedError: Tensors are missing, or have a type or a shape that does not fit.
    """
    family = family_of(spec, config)
    if family is None:
        raise ValueError(f"{spec.architecture} is not in the table")
    family, config = of_release(family, era_of(release)), completed(spec.architecture, config)
    shape = shape_of(spec, config)
    tied = is_tied(family, config)
    sources = _prefixed(sources, family)
    made = _Planner(family, shape, sources, dtype=DTYPES[dtype], tp=tp, pp=pp, tied=tied)
    tables = _tables(family, shape, config)
    ranks = tuple(made.rank(number, tables) for number in range(tp * pp))
    made.raise_problems()
    predicted = predict_config(spec, config, dtype=dtype, tp=tp, pp=pp, release=release)
    used = {piece.source for rank in ranks for target in rank.targets for piece in target.pieces}
    return CheckpointPlan(predicted, ranks, {name: sources[name] for name in used})


def _prefixed(sources: Mapping[str, Stored], family: Family) -> Mapping[str, Stored]:
    """GPT-2's published files leave out the first part of every name."""
    head = family.layer_prefix.split(".", 1)[0] + "."
    if any(name.startswith(head) for name in sources):
        return sources
    return {
        name if name.startswith("lm_head.") else head + name: stored
        for name, stored in sources.items()
    }


def _tables(family: Family, shape: Shape, config: Mapping[str, Any]) -> tuple[TargetTensor, ...]:
    if not family.tables:
        return ()
    if family.name == "phi3" and has_long_rope(config):
        scaling = rope_scaling(config) or {}
        original = original_positions(config)
        return long_rope_targets(shape.positions, shape.rotary, shape.theta, scaling, original)
    return rotary_targets(shape.positions, shape.rotary, shape.theta, rope_scaling(config))


class _Planner:
    """Collects targets and problems of all ranks."""

    def __init__(
        self,
        family: Family,
        shape: Shape,
        sources: Mapping[str, Stored],
        *,
        dtype: str,
        tp: int,
        pp: int,
        tied: bool | None,
    ) -> None:
        self._family, self._shape, self._sources = family, shape, sources
        self._dtype, self._tp, self._pp, self._tied = dtype, tp, pp, tied
        self._problems: dict[str, None] = {}
        self._layer = self._with_bias()

    def _with_bias(self) -> tuple[Row, ...]:
        """Return a layer's rows; a tensor with a bias in one layer must have it in all."""
        prefixes = [self._family.layer_prefix.format(n) for n in range(self._shape.layers)]
        return tuple(
            replace(row, biased=True)
            if any(f"{p}{source}.bias" in self._sources for p in prefixes for source in row.sources)
            else row
            for row in self._family.layer
        )

    def rank(self, number: int, tables: tuple[TargetTensor, ...]) -> RankFile:
        """``rank{number}.safetensors``."""
        stage, within = divmod(number, self._tp)
        splitter = Splitter(self._shape, self._tp, within, self._family.transposed)
        rows = [target for row in self._rows(stage) for target in self._targets(row, splitter)]
        targets = sorted((*tables, *rows), key=lambda target: (-WIDTH[target.dtype], target.name))
        return RankFile(f"rank{number}.safetensors", tuple(targets))

    def _rows(self, stage: int) -> Iterator[Row]:
        if stage == 0:
            yield from self._family.first
        each = self._shape.layers // self._pp
        for number in range(each):
            source = self._family.layer_prefix.format(stage * each + number)
            for row in self._layer:
                yield replace(
                    row,
                    target=f"transformer.layers.{number}.{row.target}",
                    sources=tuple(source + name for name in row.sources),
                )
        if stage == self._pp - 1:
            yield from self._family.last

    def _targets(self, row: Row, splitter: Splitter) -> Iterator[TargetTensor]:
        for part in ("weight", "bias"):
            names = self._names(row, part)
            if part == "bias" and not row.biased and not all(n in self._sources for n in names):
                continue
            if not self._usable(names) or not self._fit(row, part, names):
                continue
            try:
                shape, pieces = splitter.pieces(row.split, part, names, self._sources)
            except ValueError as error:
                self._problems[str(error)] = None
                continue
            dtype = row.dtype or self._dtype
            yield TargetTensor(f"{row.target}.{part}", dtype, shape, pieces, row.plus)

    def _names(self, row: Row, part: str) -> tuple[str, ...]:
        names = tuple(f"{source}.{part}" for source in row.sources)
        if row.split == "vocab":  # a head, or the tied embedding
            stored = self._tied is False or names[0] in self._sources
            return names[:1] if stored and not self._tied else names[-1:]
        if not row.split.startswith("experts"):
            return names
        return tuple(n.replace("{e}", str(e)) for e in range(self._shape.experts) for n in names)

    def _usable(self, names: tuple[str, ...]) -> bool:
        for name in names:
            stored = self._sources.get(name)
            if stored is None:
                self._problems[f"tensor {name!r} is missing"] = None
            elif stored.dtype not in WIDTH:
                self._problems[f"tensor {name!r} is {stored.dtype}, no float of 16 to 64 bits"] = (
                    None
                )
        return all(name in self._sources and self._sources[name].dtype in WIDTH for name in names)

    def _fit(self, row: Row, part: str, names: tuple[str, ...]) -> bool:
        found = {
            name: misfit(row, part, self._sources[name], self._shape, self._family.transposed)
            for name in names
        }
        wrong = {f"tensor {name!r} {what}": None for name, what in found.items() if what}
        self._problems |= wrong
        return not wrong

    def raise_problems(self) -> None:
        """Raise one UnsupportedError with all problems."""
        found = list(self._problems)
        if not found:
            return
        more = (f"and {len(found) - _SHOWN} more",) if len(found) > _SHOWN else ()
        raise UnsupportedError(
            found[0] if len(found) == 1 else f"{len(found)} tensors do not fit config.json",
            details=(*found[:_SHOWN], *more) if len(found) > 1 else (),
            fix="fetch the weights and config.json again, from the same revision",
        )
