"""The options of a job; the command line makes its flags from them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from trtbuild.signature.sampling import Sampling

_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES", ""),
    ("JOB_COMPLETION_INDEX", "", ""),  # of Kubernetes, which does not tell how many there are
)
"""Variables with the index, the count and the first index of what a scheduler started."""
_SENT = ("input", "messages", "model", "prompt", "stream", "stream_options")
"""What a job sends itself, so that no sampling setting may replace it."""
_OPTIONS = ("max_tokens", "temperature", "top_p", "seed", "stop")
"""Sampling settings with options of their own."""
_PARTITION = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What is asked about a row."""

    prompt: str = option(
        "", "A Jinja template with the columns as variables, or @FILE; a text is generated."
    )
    system: str = option("", "A system message before the prompt.")
    raw: bool = option(False, "Send the prompt as it is, without the model's chat template.")
    embed: str = option("", "The column with the text to embed.")
    rerank: str = option("", "The column with the query; --documents has the documents.")
    documents: str = option("", "The column with the list of documents.")
    input_type: str = option("", "With --embed: query or passage.")
    dimensions: int | None = option(None, "With --embed: dimensions of each vector to keep.", min=1)
    max_tokens: int | None = option(
        None, "Maximum number of tokens to generate; default 128.", min=1
    )
    temperature: float | None = option(None, "Sampling temperature; 0 is greedy.", min=0)
    top_p: float | None = option(None, "Nucleus sampling.", min=0, max=1)
    seed: int | None = option(None, "Seed that makes sampling repeatable.")
    stop: tuple[str, ...] = option((), "Stop before this text; repeatable.")
    param: tuple[str, ...] = option(
        (), "Another sampling setting as NAME=JSON, such as min_p=0.1; repeatable."
    )

    def __post_init__(self) -> None:
        given = self.given
        if len(given) > 1:
            raise UsageError(
                f"--{given[0]} and --{given[1]} exclude each other", fix="give one of them"
            )
        if bool(self.rerank) != bool(self.documents):
            raise UsageError(
                "--rerank and --documents belong together",
                fix="write --rerank QUERY_COLUMN --documents DOCUMENTS_COLUMN",
            )
        if self.input_type not in ("", "query", "passage"):
            raise UsageError(
                f"unknown --input-type {self.input_type!r}", fix="use query or passage"
            )

    @property
    def given(self) -> list[str]:
        """The tasks that the options name."""
        return [name for name in ("prompt", "embed", "rerank") if getattr(self, name)]

    def sampling(self) -> Sampling:
        """Return how text is generated."""
        from trtbuild.signature.sampling import Sampling

        return Sampling(
            max_tokens=self.max_tokens or 128,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
            more=dict(map(_setting, self.param)),
        )

    def template(self) -> str:
        """Return the text of the template. UsageError if its file cannot be read."""
        if not self.prompt.startswith("@"):
            return self.prompt
        path = Path(self.prompt[1:])
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the template {path} cannot be read: {error}", fix="check the path after the @"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """What is read, who is asked and how, and where the answers go."""

    inputs: tuple[str, ...] = option(
        (),
        "Parquet, CSV, TSV or JSON Lines: files, directories, patterns; local, s3:// or gs://.",
        argument=True,
    )
    out: str = option(
        ...,
        "The output directory, local, s3:// or gs://; {date} is today's date in UTC.",
        short="-o",
    )
    target: str = option(
        ...,
        "The model to ask: MODEL of a running server, triton:grpc://HOST:PORT/MODEL, "
        "triton:http://HOST:PORT/MODEL or http://HOST:PORT/v1.",
    )
    model: str = option("", "The model's name at an OpenAI endpoint.")
    api_key_env: str = option("", "Environment variable with the API key.")
    id: str = option("", "The column with an id for each row; it is copied and must be unique.")
    keep: tuple[str, ...] = option((), "A column to copy to the output, or '*'; repeatable.")
    part_rows: int | None = option(None, "Rows per output file; default: at most 10000.", min=1)
    new: bool = option(False, "Remove the rows of another job from the output directory first.")
    texts_per_request: int = option(32, "With --embed: texts per request.", min=1)
    concurrency: int | None = option(None, "Fixed number of calls at a time.", min=1)
    max_concurrency: int = option(256, "Calls at a time at most.", min=1)
    greedy: bool = option(False, "Leave no room for online traffic.")
    metrics_url: str = option("", "The server's Prometheus metrics; 'none' ignores them.")
    slowdown: float = option(
        1.05, "How many times as long others may wait for a first token, on average.", min=1.01
    )
    timeout: float = option(300, "Seconds for a whole answer.", min=0.1)
    attempts: int = option(5, "Calls for a row before it has an error.", min=1)
    patience: float = option(
        900, "Seconds to wait for an unavailable target before stopping.", min=0
    )
    max_failing: float = option(
        0.5, "Share of the last 200 calls that may fail before the job stops.", min=0, max=1
    )
    allow_errors: float = option(
        0, "Share of rows that may have errors at the end, with exit code 0.", min=0, max=1
    )
    gpu_price: float | None = option(None, "Price of a GPU per hour, to show the cost.", min=0)
    gpus: int = option(1, "GPUs that serve the model.", min=1)

    def dated(self) -> Self:
        """Return the options with today's date, in UTC, for ``{date}`` in paths: a job that runs
        every day over another input has another output directory each day."""
        today = datetime.now(UTC).date().isoformat()
        inputs, out = [one.replace("{date}", today) for one in self.inputs], self.out
        return replace(self, inputs=tuple(inputs), out=out.replace("{date}", today))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(CommonOptions):
    """The options of a job."""

    partition: str = option(
        "", "Only part of the work: 3/16, counted from 0, or auto/16 in a scheduler's job."
    )
    claim: bool = option(
        False, "Share the work with other --claim processes: each claims one part at a time."
    )
    lease: float = option(60, "Seconds after which the claim of a lost process lapses.", min=1)

    def __post_init__(self) -> None:
        if self.claim and self.partition:
            raise UsageError("--claim and --partition exclude each other", fix="give one of them")

    @property
    def shared(self) -> bool:
        """Whether other processes work on the same output directory."""
        return self.claim or bool(self.partition)

    def share(self) -> tuple[int, int]:
        """Return which share of the parts is ours, and of how many. UsageError if it cannot be."""
        if not self.partition:
            return 0, 1
        text = _of_scheduler(self.partition) if self.partition.startswith("auto") else ""
        match = _PARTITION.fullmatch(text or self.partition)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if index >= count:
            raise UsageError(
                f"{text or self.partition!r} is not a partition",
                where=f"--partition {self.partition}",
                fix="write INDEX/COUNT with INDEX from 0, such as 0/16 to 15/16, or auto/COUNT "
                "where Slurm, SkyPilot or an indexed job of Kubernetes has set the index",
            )
        return index, count


def _of_scheduler(text: str) -> str:
    """Return ``INDEX/COUNT`` by the variables of the scheduler that started us."""
    _, _, count = text.partition("/")
    for index, counts, first in _SCHEDULERS:
        if index in os.environ:
            try:
                number = int(os.environ[index]) - int(os.environ.get(first, "0"))
            except ValueError:
                return ""
            return f"{number}/{count or os.environ.get(counts, '')}"
    return ""


def _setting(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise UsageError(
            f"{text!r} is not a setting", where="--param", fix="write NAME=JSON, such as min_p=0.1"
        )
    if name in _SENT or name in _OPTIONS:
        raise UsageError(
            f"the job itself sends {name!r}",
            where=f"--param {text}",
            fix="leave it out" if name in _SENT else f"use --{name.replace('_', '-')}",
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
