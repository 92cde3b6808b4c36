"""The options of the commands; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of the input are read; an empty name: none.

    ``text`` may hold a list of chat messages; the user's last one counts. ``answer`` may be true
    or false: refused or not. A name with dots leads into objects, such as ``body.messages``.
    """

    text: str = option("text", "The column with the text, or with chat messages.")
    segment: str = option("", "The column with the user segment, such as country.")
    answer: str = option("", "The column with the model's answer, to count refusals; or a boolean.")
    embedding: str = option("", "The column with the text's embedding, instead of --target.")

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """Option and column of each that was given."""
        names = ("text", "segment", "answer", "embedding")
        return tuple((f"--{name}", getattr(self, name)) for name in names if getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The embedding model."""

    target: str = option(
        "",
        "The embedding model: MODEL of a running server, triton:grpc://HOST:PORT/MODEL, "
        "triton:http://HOST:PORT/MODEL or http://HOST:PORT/v1.",
    )
    model: str = option("", "The model's name at an OpenAI endpoint.")
    api_key_env: str = option("", "Environment variable with the API key.")
    timeout: float = option(60, "Seconds for one request.", min=0.1)

    def instead_of(self, recorded: Asking) -> Asking:
        """Return what a baseline recorded, with what was given now in its place."""
        given = {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != getattr(Asking(), one.name)
        }
        return replace(recorded, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineOptions:
    """What a baseline is made of."""

    inputs: tuple[str, ...] = option(
        (), "JSON Lines, Parquet or CSV: files, directories, patterns.", argument=True
    )
    out: Path = option(..., "Write the baseline to this file.", short="-o")
    # Comparing takes memory with the square of it: 2 GB for 5000.
    sample: int = option(1000, "Texts to keep of each segment, drawn at random.", min=50, max=5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What is compared, and when it is an alert.

    Raises:
        UsageError: A level that cannot be.
    """

    inputs: tuple[str, ...] = option(
        (),
        "The texts of a window of time, such as a day, in the baseline's columns.",
        argument=True,
    )
    baseline: Path = option(..., "The file that `drift baseline` wrote.", short="-b")
    windows: int = option(2, "Windows in a row that must drift before it is an alert.", min=1)
    level: float = option(0.05, "Chance that a window without a change is reported as drifted.")
    state: Path | None = option(
        None, "Counts the windows. Default: BASELINE.state.json beside the baseline."
    )
    examples: int = option(5, "New texts to print for each drifted segment; 0 prints none.", min=0)

    def __post_init__(self) -> None:
        if not 0.001 <= self.level < 1:
            raise UsageError(
                f"--level {self.level:g} is out of range",
                fix="use a number from 0.001, which 999 permutations can show, to below 1",
            )

    @property
    def state_file(self) -> Path:
        """Where the windows are counted."""
        return self.state or self.baseline.with_name(f"{self.baseline.name}.state.json")
