"""The asynchronous part of a benchmark: from prepared targets to a result."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.errors import BenchError, TrtbuildError, UsageError
from trtbuild.progress import Progress
from trtbuild_measure.bench import guards
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.environment import describe
from trtbuild_measure.bench.loads import Control, Load, Prompts
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.prompts import Trace
from trtbuild_measure.bench.running import Experiment, LoadRun, OnTick, Run, Subject, measure
from trtbuild_measure.bench.sweep import Sweep, sweep
from trtbuild_measure.jobs.bench.cost import prices
from trtbuild_measure.jobs.bench.outcome import Measured, ask_once
from trtbuild_measure.jobs.bench.prompts import asked_again
from trtbuild_measure.jobs.bench.roofline import bounds
from trtbuild_measure.jobs.bench.targets import Prepared

_ROUNDS = 3
_TWIN = 1 << 42  # offset of prompt numbers between two targets on the same server


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result, and an error if the run failed or missed its objectives.

    ``signal`` is the number of the signal that ended it early, 0 when none did.
    """

    result: Json
    error: BenchError | None = None
    signal: int = 0


OnResult = Callable[[Json], None]
"""Called between blocks with the result so far, marked ``partial``."""


@contextlib.contextmanager
def kept(result: Json, part: str) -> Iterator[None]:
    """Note a failure to compute ``part`` of a result; the rest is kept."""
    try:
        yield
    except TrtbuildError as error:
        result["warnings"].append(f"the {part} could not be computed: {error.what}")
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        result["warnings"].append(f"the {part} could not be computed ({why}): please report this")


@dataclass(slots=True)
class BenchSession:
    """One run against prepared targets: check, measure, conclude."""

    options: BenchOptions
    prepared: list[Prepared]
    prompts: Prompts
    tokenizer: Any
    checkpoint: Path | None
    progress: Progress
    on_tick: OnTick
    on_result: OnResult
    control: Control = field(default_factory=Control)
    environment: Json = field(default_factory=describe)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    accepted: list[guards.Objection] = field(default_factory=list)

    async def run(self) -> Outcome:
        """Measure; figures from before a failure are in the outcome."""
        try:
            for one in self.prepared:
                await one.target.open()
            self._require_alike()
            self.accepted = await self._guard()
            run = await self._measure()
        finally:
            for one in self.prepared:
                await one.target.close()
        measured = self._measured(run)
        result = measured.result(self.environment, self.options.settings())
        result["warnings"] += asked_again(self.prompts, run)
        local = all(one.address.local for one in self.prepared)
        with kept(result, "roofline"):
            if self.checkpoint is not None and local and not run.interrupted:
                self.progress.step("computing the roofline")
                result["roofline"] = bounds(self.checkpoint, result, self.options.dtype)
        result["cost"] = None
        with kept(result, "cost"):
            result["cost"] = prices(result, self.options.usd_per_hour, self.checkpoint)
        return Outcome(result, measured.error(result), run.signal)

    def _require_alike(self) -> None:
        """Raise UsageError for models of different kinds, or texts for one that generates."""
        pooling = [getattr(one.target, "pooling", False) for one in self.prepared]
        if any(pooling) and not all(pooling):
            raise UsageError(
                "some targets generate text and others do not",
                where=", ".join(one.target.name for one in self.prepared),
                fix="measure them separately",
            )
        if not all(pooling) and any(load.texts > 1 for load in self.options.loads):
            raise UsageError(
                f"{self.prepared[0].target.name} generates text: it takes one prompt a request",
                fix="leave out --texts; --concurrency sends several requests at a time",
            )

    def _measured(self, run: Run) -> Measured:
        return Measured(
            self.prepared, run, self.sweeps, self.accepted, frozenset(self.options.allow)
        )

    def _keep(self, run: Run) -> None:
        settings = self.options.settings()
        self.on_result(self._measured(run).so_far(self.environment, settings))

    async def _guard(self) -> list[guards.Objection]:
        """Refuse before anything is measured, unless every reason is allowed."""
        if len(self.prepared) < 2:
            return []
        self.progress.step("comparing the targets' answers to the same greedy prompts")
        probes = []
        for one in self.prepared:
            counter = Counter(self.tokenizer)
            probes.append(await guards.probe(one.target, self.prompts, counter, one.precision))
        for one, found in zip(self.prepared, probes, strict=True):
            if found.error:
                raise BenchError(
                    f"{found.name} does not answer: {found.error}",
                    fix=ask_once(one.address, one.endpoint),
                )
        reasons = guards.before(probes, Counter(self.tokenizer))
        refused = [one for one in reasons if one.kind not in self.options.allow]
        if refused:
            raise BenchError(
                "these targets are not comparable",
                details=tuple(one.text for one in refused),
                fix="make them alike, measure them separately, or accept the difference with "
                + " ".join(f"--allow {kind}" for kind in sorted({one.kind for one in refused})),
            )
        return reasons

    async def _measure(self) -> Run:
        options = self.options
        if not options.sweep:
            return await self._one(self.prepared, options.loads)
        total = Run()
        for one in self.prepared:
            levels = itertools.count()

            async def at(
                load: Load,
                again: LoadRun | None,
                prepared: Prepared = one,
                levels: Iterator[int] = levels,
            ) -> LoadRun:
                before = [run for run in total.loads if run is not again]
                more = () if again is None else (again,)
                run = await self._one([prepared], (load,), before, level=next(levels), again=more)
                total.signal = total.signal or run.signal
                total.loads = [*before, *run.loads]
                return run.loads[0]

            first = options.loads[0]
            self.sweeps[one.target.name] = await sweep(at, first.rate, first.arrivals)
            if self.control.stopped:
                break
        return total

    async def _one(
        self,
        prepared: list[Prepared],
        loads: tuple[Load, ...],
        before: Sequence[LoadRun] = (),
        *,
        level: int = 0,
        again: Sequence[LoadRun] = (),
    ) -> Run:
        options = self.options
        rounds = options.rounds or (_ROUNDS if len(prepared) > 1 else 1)
        experiment = Experiment(
            self.prompts,
            loads,
            options.limits,
            options.objectives,
            rounds=1 if isinstance(self.prompts, Trace) else rounds,
            seed=options.seed,
            level=level,
        )
        subjects = [Subject(one.target, one.watched, one.twin * _TWIN) for one in prepared]
        return await measure(
            subjects,
            experiment,
            lambda _: Counter(self.tokenizer),
            self.control,
            self.on_tick,
            on_round=lambda run: self._keep(Run([*before, *run.loads])),
            again=again,
        )
