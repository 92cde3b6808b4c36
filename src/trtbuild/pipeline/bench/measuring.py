"""A benchmark from what was asked for to its result."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trtbuild import bench
from trtbuild.bench import guards
from trtbuild.bench.counting import Counter, digest, load_tokenizer, tokenizer_digest
from trtbuild.bench.environment import describe
from trtbuild.bench.loads import Control, Limits, Load, Prompts
from trtbuild.bench.model import Generation, Json
from trtbuild.bench.prompts import Trace
from trtbuild.bench.running import Experiment, LoadRun, OnTick, Run, Subject, measure
from trtbuild.bench.sweep import Sweep, sweep
from trtbuild.bench.targets import Address, parse_target, unique_names
from trtbuild.errors import BenchError, TrtbuildError, UsageError
from trtbuild.pipeline.bench import baselines, targets
from trtbuild.pipeline.bench.cost import prices
from trtbuild.pipeline.bench.outcome import Measured, ask_once
from trtbuild.pipeline.bench.prompts import PromptOptions, asked_again, make_prompts
from trtbuild.pipeline.bench.roofline import bounds
from trtbuild.pipeline.bench.targets import Prepared
from trtbuild.progress import SILENT, Progress

_ROUNDS = 3
_TWIN = 1 << 42  # numbers of prompts between two targets that are one server


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What was asked for; see ``trtbuild bench run --help``."""

    targets: tuple[str, ...]
    loads: tuple[Load, ...]
    limits: Limits = field(default_factory=Limits)
    prompts: PromptOptions = field(default_factory=PromptOptions)
    generation: Generation = field(default_factory=Generation)
    slo: dict[str, float] = field(default_factory=dict)
    sweep: bool = False
    rounds: int | None = None
    tokenizer: Path | None = None
    checkpoint: str = ""
    dtype: str = "float32"
    batch: int = 8
    endpoint: str = "auto"
    timeout: float = 600.0
    allow: tuple[str, ...] = ()
    api_key_env: str = ""
    metrics_url: str = ""
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result, and the error that goes with it when it is not what was hoped for.

    ``signal`` is the number of the signal that ended it early, 0 when none did.
    """

    result: Json
    error: BenchError | None = None
    signal: int = 0


OnResult = Callable[[Json], None]
"""Called between blocks with the result so far, marked ``partial``."""


def run(
    options: BenchOptions,
    *,
    progress: Progress = SILENT,
    on_tick: OnTick | None = None,
    on_result: OnResult | None = None,
) -> Outcome:
    """Measure. What was measured before a failure is in the outcome, marked ``partial``.

    Raises:
        UsageError: A target, a file or an option that cannot be.
        ServerError: No server, no such model.
        BenchError: The targets must not be compared.
    """
    for kind in options.allow:
        if kind not in guards.KINDS:
            raise UsageError(f"no guard {kind!r}", fix=f"--allow one of {', '.join(guards.KINDS)}")
    addresses = [parse_target(text) for text in options.targets]
    unique_names(addresses)
    if not addresses:
        raise UsageError("nothing to measure", fix="name a target, or --baseline fastapi")
    with contextlib.ExitStack() as started:
        checkpoint = _checkpoint(options, addresses, progress)
        folder = _tokenizer_folder(options, addresses, checkpoint)
        tokenizer = load_tokenizer(folder) if folder is not None else None
        prompts = make_prompts(options.prompts, tokenizer, options.tokenizer or checkpoint)
        addresses = [
            started.enter_context(_started(address, options, checkpoint, progress))
            for address in addresses
        ]
        prepared = targets.prepare(
            addresses,
            options.generation,
            endpoint=options.endpoint,
            chat=options.prompts.chat,
            timeout=options.timeout,
            api_key_env=options.api_key_env,
            metrics_url=options.metrics_url,
        )
        prepared = [_with_dtype(one, options) for one in prepared]
        job = _Job(
            options,
            prepared,
            prompts,
            tokenizer,
            checkpoint,
            progress,
            on_tick or (lambda *_: None),
            on_result or (lambda _: None),
            environment=describe() | _digests(folder, options.prompts),
        )
        return asyncio.run(job.run())


def _checkpoint(options: BenchOptions, addresses: list[Address], progress: Progress) -> Path | None:
    """The folder that baselines serve: as given, else that of a Triton target on this machine."""
    if options.checkpoint:
        from trtbuild.checkpoint import materialize, open_checkpoint

        folder = Path(options.checkpoint).expanduser()
        if folder.is_dir():
            return folder
        opened = open_checkpoint(options.checkpoint, dtype=options.dtype)
        files = materialize(opened, progress)
        first = next(file.path for file in files if file.path is not None)
        return first.parent
    found = next(filter(None, map(targets.weights_directory, addresses)), None)
    if found is None and any(address.kind == "baseline" for address in addresses):
        raise UsageError(
            "a baseline needs the checkpoint that it is to serve",
            fix="name it with --checkpoint SOURCE (a folder, a hub id or sample:smollm2)",
        )
    return found


def _tokenizer_folder(
    options: BenchOptions, addresses: list[Address], checkpoint: Path | None
) -> Path | None:
    folder = options.tokenizer or checkpoint
    return folder or next(filter(None, map(targets.tokenizer_directory, addresses)), None)


def _digests(folder: Path | None, prompts: PromptOptions) -> Json:
    """Of what a later run must have, too, to be compared; a file's name says nothing of it."""
    counted = {} if folder is None else {"tokenizer": tokenizer_digest(folder)}
    file = prompts.file or prompts.trace
    if file is None or not file.is_file():  # a pipe can be read once
        return counted
    return {**counted, "prompts": digest(file)}


@contextlib.contextmanager
def _started(
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


def _with_dtype(one: Prepared, options: BenchOptions) -> Prepared:
    return replace(one, precision=options.dtype) if one.address.kind == "baseline" else one


@contextlib.contextmanager
def _kept(result: Json, part: str) -> Iterator[None]:
    """While ``part`` is worked out of a result: without it there is still what was measured."""
    try:
        yield
    except TrtbuildError as error:
        result["warnings"].append(f"the {part} could not be computed: {error.what}")
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        result["warnings"].append(f"the {part} could not be computed ({why}): please report this")


@dataclass(slots=True)
class _Job:
    """The asynchronous part."""

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
    accepted: list[guards.Reason] = field(default_factory=list)

    async def run(self) -> Outcome:
        try:
            for one in self.prepared:
                await one.target.open()
            self.accepted = await self._guard()
            run = await self._measure()
        finally:
            for one in self.prepared:
                await one.target.close()
        measured = self._measured(run)
        result = measured.result(self.environment, bench.settings(self.options))
        result["warnings"] += asked_again(self.prompts, run)
        local = all(one.address.local for one in self.prepared)
        with _kept(result, "roofline"):
            if self.checkpoint is not None and local and not run.interrupted:
                self.progress.step("computing the roofline")
                result["roofline"] = bounds(self.checkpoint, result, self.options.dtype)
        result["cost"] = None
        with _kept(result, "cost"):
            result["cost"] = prices(result, self.options.usd_per_hour, self.checkpoint)
        return Outcome(result, measured.error(result), run.signal)

    def _measured(self, run: Run) -> Measured:
        return Measured(
            self.prepared, run, self.sweeps, self.accepted, frozenset(self.options.allow)
        )

    def _keep(self, run: Run) -> None:
        settings = bench.settings(self.options)
        self.on_result(self._measured(run).so_far(self.environment, settings))

    async def _guard(self) -> list[guards.Reason]:
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
                    f"{found.name} does not answer: {found.error}", fix=ask_once(one.address)
                )
        reasons = guards.before(probes, Counter(self.tokenizer))
        refused = [one for one in reasons if one.kind not in self.options.allow]
        if refused:
            raise BenchError(
                "these targets must not be compared",
                details=tuple(one.text for one in refused),
                fix="make them alike, measure them apart, or accept it with "
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
                one: Prepared = one,
                levels: Iterator[int] = levels,
            ) -> LoadRun:
                before = [run for run in total.loads if run is not again]
                more = () if again is None else (again,)
                run = await self._one([one], (load,), before, level=next(levels), again=more)
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
            options.slo,
            rounds=1 if isinstance(self.prompts, Trace) else rounds,
            seed=options.prompts.seed,
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
