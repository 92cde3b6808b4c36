"""The options of a benchmark. Each is defined here once: name, type, default, bounds, help.

The command line makes its flags from the fields of :class:`BenchOptions`
(:mod:`trtbuild.cli.fields`), a program fills in the fields itself, and a result records them as
:meth:`BenchOptions.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError
from trtbuild_measure import bench

if TYPE_CHECKING:
    from trtbuild_measure.bench.loads import Limits, Load
    from trtbuild_measure.bench.loads.model import Arrivals
    from trtbuild_measure.bench.model import Generation, Json

_MOST_CLIENTS = 10_000
_MOST_RATE = 1e6
_MOST_TEXTS = 100_000
_BASELINES = {"": (), "fastapi": ("baseline:fastapi", "baseline:fastapi-batched")}
# Options that a result records under another name.
_PROMPTS = {
    "prompt_tokens": "prompt_tokens", "output_tokens": "output_tokens",
    "shared_prefix": "shared_prefix", "prompts": "file", "trace": "trace", "chat": "chat",
    "seed": "seed",
}  # fmt: skip
_PARSED = {
    "targets", "baseline", "concurrency", "rate", "arrivals", "slo", "requests", "duration",
    "warmup", "texts", "natural", "temperature",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure and how.

    Raises:
        UsageError: An invalid option, or two that conflict.
    """

    targets: tuple[str, ...] = option(
        (), "What to measure; several targets take turns.", argument=True
    )
    baseline: str = option("", "Also measure a naive service of the same checkpoint: fastapi.")
    concurrency: str = option("", "Closed loop: number of clients, such as 1,4,16.")
    rate: str = option("", "Open loop: requests per second, such as 2,4,8.")
    arrivals: str = option("poisson", "Open loop: spacing of requests, poisson or constant.")
    trace: Path | None = option(None, "Open loop: take times and lengths from a JSONL file.")
    slo: str = option("", "Objectives, such as ttft=500ms,itl=50ms.")
    sweep: bool = option(False, "Find the highest rate that meets --slo.")
    requests: int | None = option(None, "Measured requests per load.", min=1)
    duration: float | None = option(
        None, "Measure each load for this many seconds instead.", min=0.1
    )
    warmup: int | None = option(None, "Uncounted requests first; default one per client.", min=0)
    rounds: int | None = option(None, "Split each load into blocks; targets take turns.", min=1)
    prompt_tokens: str = option(
        "128", "Length of prompts: 128, 128,512, uniform:64:256, normal:128:32."
    )
    output_tokens: str = option("64", "Length of answers, in the same notation.")
    natural: bool = option(False, "Let the model end its answers itself.")
    prompts: Path | None = option(None, "Take prompts from a JSONL or ShareGPT file instead.")
    texts: str = option(
        "1",
        "Texts in a request to an embedding model or a classifier, documents in one to a reranker: "
        "1,8,32 measures each load with each.",
    )
    shared_prefix: int = option(0, "Tokens that all prompts begin with.", min=0)
    chat: bool = option(False, "Send prompts as chat messages.")
    endpoint: str = option(
        "auto", "API of OpenAI targets: auto, chat, completions, embeddings or rerank."
    )
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy.", min=0)
    seed: int = option(0, "Seed of prompts and arrivals.")
    tokenizer: Path | None = option(None, "Directory with the served model's tokenizer.json.")
    checkpoint: str = option("", "Checkpoint that the baseline serves.")
    dtype: str = option("float32", "Number format that the baseline computes in.")
    batch: int = option(8, "Batch size of the batched baseline.", min=2)
    timeout: float = option(600, "Seconds to wait for a whole answer.", min=0.1)
    allow: tuple[str, ...] = option((), "Compare despite this kind of difference; repeatable.")
    metrics_url: str = option("", "URL of the server's /metrics, if not detected.")
    api_key_env: str = option("", "Environment variable with the API key of OpenAI targets.")
    usd_per_hour: float | None = option(
        None, "Hourly price of the server, for the report's cost.", min=0
    )

    def __post_init__(self) -> None:
        """Reject invalid options before anything starts."""
        if self.usd_per_hour == float("inf"):
            raise UsageError(
                "the price must be finite", where="--usd-per-hour inf", fix="dollars an hour"
            )
        if self.sweep and not (self.slo and self.rate):
            raise UsageError(
                "a sweep needs objectives and a rate to start from",
                fix="add --slo ttft=500ms,itl=50ms and --rate 1",
            )
        if self.trace is not None and self.chat:
            raise UsageError("a trace has plain prompts", fix="leave out --chat")
        if self.chat and self.endpoint in ("embeddings", "rerank"):
            raise UsageError(f"/{self.endpoint} takes plain texts", fix="leave out --chat")
        _ = self.addresses, self.loads, self.objectives

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the targets and the baselines."""
        if self.baseline not in _BASELINES:
            raise UsageError(f"no baseline {self.baseline!r}", fix="--baseline fastapi")
        return (*self.targets, *_BASELINES[self.baseline])

    @property
    def loads(self) -> tuple[Load, ...]:
        """Return the loads of ``concurrency``, ``rate`` or ``trace``; one client by default."""
        from trtbuild_measure.bench.loads import Load

        if sum(map(bool, (self.concurrency, self.rate, self.trace))) > 1:
            raise UsageError(
                "a run is a closed loop, an open loop or a trace",
                fix="give one of --concurrency, --rate and --trace",
            )
        texts = _whole(self.texts, "--texts", _MOST_TEXTS, "texts")
        if self.trace is not None:
            if texts != (1,):
                raise UsageError("a trace has one text a request", fix="leave out --texts")
            return (Load("trace"),)
        if self.rate:
            numbers = _numbers(self.rate, "--rate", _MOST_RATE)
            arrivals: dict[str, Arrivals] = {"poisson": "poisson", "constant": "constant"}
            if self.arrivals not in arrivals:
                raise UsageError(
                    f"no arrivals {self.arrivals!r}", fix="--arrivals poisson or constant"
                )
            spaced = arrivals[self.arrivals]
            return tuple(
                Load("open", rate=number, arrivals=spaced, texts=count)
                for number in numbers
                for count in texts
            )
        clients = _whole(self.concurrency or "1", "--concurrency", _MOST_CLIENTS, "clients")
        return tuple(
            Load("closed", concurrency=number, texts=count) for number in clients for count in texts
        )

    @property
    def limits(self) -> Limits:
        """Return when each load ends."""
        from trtbuild_measure.bench.loads import Limits

        return Limits(self.requests, self.duration, self.warmup)

    @property
    def generation(self) -> Generation:
        """Return the generation settings for every target."""
        from trtbuild_measure.bench.model import Generation

        seed = self.seed if self.temperature else None
        return Generation(self.temperature, seed, not self.natural)

    @property
    def objectives(self) -> dict[str, float]:
        """Return ``slo`` in milliseconds by metric."""
        from trtbuild_measure.bench.metrics.goodput import parse_slo

        return parse_slo(self.slo)

    def settings(self) -> Json:
        """Return the options as a result records them, to decide whether results are comparable."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        prompts = {key: values[name] for name, key in _PROMPTS.items()}
        apart = _PARSED | (_PROMPTS.keys())
        found: Json = bench.settings(
            {
                "targets": self.addresses,
                "loads": self.loads,
                "limits": self.limits,
                "prompts": prompts,
                "generation": self.generation,
                "slo": self.objectives,
                **{name: value for name, value in values.items() if name not in apart},
            }
        )
        return found


def _whole(text: str, option: str, most: float, noun: str) -> tuple[int, ...]:
    found = _numbers(text, option, most)
    if any(number != int(number) for number in found):
        raise UsageError(f"{text!r} {noun}", where=option, fix="whole numbers")
    return tuple(map(int, found))


def _numbers(text: str, option: str, most: float) -> tuple[float, ...]:
    found: list[float] = []
    for part in text.split(","):
        try:
            number = float(part)
        except ValueError:
            number = 0.0
        if not 0 < number <= most:
            raise UsageError(
                f"{part!r} is not a number above 0 and up to {most:g}",
                where=f"{option} {text}",
                fix=f"write {option} 1,4,16",
            )
        if number not in found:
            found.append(number)
    return tuple(found)
