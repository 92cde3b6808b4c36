"""One measurement: every load on every target, in alternating blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from trtbuild.endings import word
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.loads import (
    Control,
    Gate,
    Limits,
    Load,
    Prompts,
    Session,
    closed_loop,
    offsets,
    open_loop,
)
from trtbuild_measure.bench.loads.model import now
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.model import BenchTarget, Stream
from trtbuild_measure.bench.prompts import Trace, batched
from trtbuild_measure.bench.stopping import ending
from trtbuild_measure.bench.watching.client import ClientWatch
from trtbuild_measure.bench.watching.server import ServerWatch, Watched

_NUMBERS = 1 << 24  # prompt numbers between one load and the next


@dataclass(slots=True)
class Subject:
    """A target and its watchers.

    ``numbers`` is the number of its first prompt. Targets get the same prompts, except when two are
    the same server: the second would find the first one's prompts in the prefix cache.
    """

    target: BenchTarget
    watched: Watched = field(default_factory=Watched)
    numbers: int = 0


@dataclass(frozen=True, slots=True)
class Experiment:
    """What to measure.

    ``rounds`` is the number of blocks each load is split into; between two blocks of one target
    the others have their turn, so that other work on the machine affects all of them. ``level`` is
    the number of loads measured before: their prompts are not used again.
    """

    prompts: Prompts
    loads: tuple[Load, ...]
    limits: Limits
    slo: dict[str, float] = field(default_factory=dict)
    rounds: int = 1
    seed: int = 0
    level: int = 0


@dataclass(slots=True)
class LoadRun:
    """One load on one target."""

    subject: Subject
    load: Load
    ledger: Ledger
    server: ServerWatch
    client: ClientWatch = field(default_factory=ClientWatch)
    partial: str = ""


@dataclass(slots=True)
class Run:
    """All runs, in the order of loads and targets; ``signal`` is what ended them, 0 if none."""

    loads: list[LoadRun] = field(default_factory=list)
    signal: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it."""
        return bool(self.signal)

    @property
    def lost(self) -> str:
        """Why it ended early, empty when it did not."""
        return next((run.partial for run in self.loads if run.partial), "")


UNFINISHED = "unfinished: written while the run went on"
OnRound = Callable[["Run"], None]
"""Called between blocks, when nobody is measured, with everything so far."""

OnTick = Callable[[LoadRun, int, int], None]
"""Called as requests end: the load, requests handed out, and how many it will be (0: unknown)."""


async def measure(
    subjects: Sequence[Subject],
    experiment: Experiment,
    counter: Callable[[BenchTarget], Counter],
    control: Control,
    on_tick: OnTick,
    *,
    on_round: OnRound = lambda _: None,
    again: Sequence[LoadRun] = (),
) -> Run:
    """Measure; a signal (``control.signal``) or a lost server ends the run and keeps its figures.

    ``again`` are runs of the only load to continue, one for each subject.
    """
    result = Run()
    with ending(control):
        for level, load in enumerate(experiment.loads, experiment.level):
            runs = [*again] or [
                _load_run(subject, load, experiment, counter) for subject in subjects
            ]
            result.loads.extend(runs)
            async for _ in _rounds(runs, experiment, level, control, on_tick):
                on_round(result)
            if control.stopped:
                break
    result.signal = control.signal
    return result


def _load_run(
    subject: Subject, load: Load, experiment: Experiment, counter: Callable[[BenchTarget], Counter]
) -> LoadRun:
    ledger = Ledger(counter(subject.target), Goodput(experiment.slo))
    return LoadRun(subject, load, ledger, ServerWatch(subject.watched))


async def _rounds(
    runs: list[LoadRun], experiment: Experiment, level: int, control: Control, on_tick: OnTick
) -> AsyncIterator[None]:
    """Yield after each round, in which every target has one block."""
    shares = _shares(experiment, runs[0].load)
    for index, limits in enumerate(shares):
        first = level * _NUMBERS + index * (_NUMBERS >> 8)
        for run in runs if index % 2 == 0 else runs[::-1]:
            session = _session(run, experiment.prompts, limits, control, on_tick)
            numbered = replace(session, first=first + run.subject.numbers)
            await _block(run, numbered, experiment.seed + first)
            if control.stopped:
                _mark(runs, run, control)
                return
        for run in runs:
            run.partial = UNFINISHED if index + 1 < len(shares) else ""
        yield


def _mark(runs: list[LoadRun], last: LoadRun, control: Control) -> None:
    for run in runs:
        run.partial = control.lost or word(control.signal)
        if control.lost and run is not last:
            run.partial = f"cut short: of {last.subject.target.name} {control.lost}"


def _shares(experiment: Experiment, load: Load) -> list[Limits]:
    """Return the limits of each block; they add up to the experiment's."""
    rounds = experiment.rounds
    limits = experiment.limits.for_load(load, rounds)
    if isinstance(experiment.prompts, Trace):  # so that its last request is recognized
        whole = len(experiment.prompts.offsets)
        limits = replace(limits, requests=min(limits.requests or whole, whole))
    seconds = limits.seconds / rounds if limits.seconds is not None else None
    if limits.requests is None:
        return [Limits(None, seconds, limits.warmup)] * rounds
    rounds = min(rounds, limits.requests)
    each, more = divmod(limits.requests, rounds)
    return [Limits(each + (n < more), seconds, limits.warmup) for n in range(rounds)]


def _session(
    run: LoadRun, prompts: Prompts, limits: Limits, control: Control, on_tick: OnTick
) -> Session:
    load, ledger = run.load, run.ledger
    short = _short(load, limits, prompts)
    gate = Gate(limits, limits.warmups(load), ledger.throughput, short=short)

    def sink(stream: Stream, measured: bool) -> None:
        ledger.add(stream, measured)
        on_tick(run, *gate.progress())

    asked = batched(prompts, load.texts) if load.texts > 1 else prompts
    return Session(run.subject.target, asked, gate, sink, control)


def _short(load: Load, limits: Limits, prompts: Prompts) -> bool:
    """Whether first and last start are too close for a window."""
    requests = limits.requests or 1 << 30
    if load.kind == "closed":
        return requests < 2 * load.concurrency
    if isinstance(prompts, Trace):
        return prompts.offsets[min(requests, len(prompts.offsets)) - 1] == prompts.offsets[0]
    return requests < 2


async def _block(run: LoadRun, session: Session, seed: int) -> None:
    task = asyncio.ensure_future(_drive(run.load, session, seed))
    session.control.on_interrupt = task.cancel
    with run.server:
        async with run.client:
            try:
                await task
            except asyncio.CancelledError:
                pass
            except Exception as error:
                # An unexpected error must not lose an hour of measurements.
                session.control.broke(error)
            session.gate.finish(now())  # before the server is asked for its metrics once more


async def _drive(load: Load, session: Session, seed: int) -> None:
    if load.kind == "closed":
        await closed_loop(session, load.concurrency)
    elif isinstance(session.prompts, Trace):
        await open_loop(replace(session, first=0), iter(session.prompts.offsets))
    else:
        await open_loop(session, offsets(load, seed))
