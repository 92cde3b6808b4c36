"""The options of the commands; the command line makes its flags from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError

ALPHA = 0.05
FEWEST = 30
"""Users of a variant: below, the normal distribution does not approximate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What an experiment is to find.

    Raises:
        UsageError: An option that cannot be.
    """

    base: float | None = option(None, "The metric's value today, such as 0.04.")
    data: tuple[str, ...] = option(
        (),
        "Records, as `ab report` reads them, to take --base and --sd from; repeatable.",
    )
    metric: str = option("", "With --data: the metric, such as click/requests.")
    experiment: str = option("", "With --data: the experiment's name, if the files have several.")
    mde: float = option(0.0, "The smallest relative change to find: 0.1 is 10 %.")
    sd: float | None = option(
        None, "Standard deviation between users; the default is a share's: sqrt(base * (1 - base))."
    )
    share: float = option(0.5, "The share of the two variants' users that get the treatment.")
    power: float = option(0.8, "The chance to find a change of that size.")
    metrics: int = option(1, "How many comparisons are judged together.", min=1)
    variance_left: float = option(
        1.0, "Share of the variance that CUPED leaves; a report prints it."
    )
    users_per_day: float | None = option(None, "New users in the experiment per day.")

    def __post_init__(self) -> None:
        if not (self.mde and math.isfinite(self.mde)):
            raise UsageError(
                "a plan needs --mde, a number other than 0",
                fix="to find a change of 10 %: --mde 0.1",
            )
        if bool(self.data) != bool(self.metric) or bool(self.data) == (self.base is not None):
            raise UsageError(
                "a plan needs either --base, or --data with --metric",
                fix="write --base 0.04, or for records --data DIR --metric click/requests",
            )
        if self.experiment and not self.data:
            raise UsageError(
                "--experiment names an experiment of records, and --base has none",
                fix="leave it out, or give the records with --data and --metric",
            )
        for name in ("share", "power"):
            if not 0 < getattr(self, name) < 1:
                raise _range(name, getattr(self, name), "between 0 and 1")
        if not 0 < self.variance_left <= 1:
            raise _range("variance-left", self.variance_left, "above 0 and at most 1")
        for name in ("sd", "users_per_day"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise _range(name.replace("_", "-"), value, "above 0")
        if self.base is not None:
            self._require_base(self.base)

    def _require_base(self, base: float) -> None:
        if not base or not math.isfinite(base):
            raise _range("base", base, "other than 0")
        if self.sd is None and not 0 < base < 1:
            raise UsageError(
                f"--base {base:g} is not a share of users, so its deviation is not known",
                fix="give the standard deviation between users with --sd, or records with --data",
            )

    def files(self) -> tuple[Path, ...]:
        """The records of ``--data``."""
        return _files(self.data)


def _range(name: str, value: float, allowed: str) -> UsageError:
    return UsageError(f"--{name} {value:g} is out of range", fix=f"use a number {allowed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Which records to compare, and how."""

    paths: tuple[str, ...] = option(
        (), "JSON Lines files of exposures and outcomes, or directories of *.jsonl.", argument=True
    )
    metric: tuple[str, ...] = option(
        (), "latency_ms (mean), click/requests (ratio of totals), p95:latency_ms; repeatable."
    )
    experiment: str = option("", "The experiment to report, if the files hold several.")
    control: str = option("", "The variant to compare with; the default is the one named control.")
    weight: tuple[str, ...] = option(
        (), "The planned split of users, such as control=90; repeatable. Default: even."
    )
    pre: tuple[str, ...] = option(
        (), "Records of the same users before the experiment, to reduce variance; repeatable."
    )
    judgements: Path | None = option(
        None, "File with lines of query, document and grade, for metrics such as ndcg@10."
    )
    fixed: bool = option(False, "Intervals for one look at the end, planned in advance.")
    expected_users: int = option(
        5000, "Users at which always-valid intervals are narrowest; choose it beforehand.", min=1
    )

    def files(self) -> tuple[Path, ...]:
        """The files to read."""
        return _files(self.paths)

    def files_before(self) -> tuple[Path, ...]:
        """The files from before the experiment."""
        return _files(self.pre) if self.pre else ()

    def weights(self) -> Mapping[str, float]:
        """The weight of each variant; empty if none was given.

        Raises:
            UsageError: No number, one below 0, or a sum of 0.
        """
        found: dict[str, float] = {}
        for text in self.weight:
            name, _, value = text.rpartition("=")
            try:
                found[name] = number = float(value)
            except ValueError:
                number = -1
            if not name or not 0 <= number < math.inf:
                raise UsageError(
                    f"--weight {text} is not VARIANT=NUMBER with a number of at least 0",
                    fix="write --weight control=90 --weight treatment=10",
                )
        if found and not sum(found.values()):
            raise UsageError(
                "the weights sum to 0, so no user was to be in the experiment",
                where=" ".join(f"--weight {text}" for text in self.weight),
                fix="give the weights by which users were divided",
            )
        return found


def _files(paths: tuple[str, ...]) -> tuple[Path, ...]:
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            inside = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
            there = bool(inside) and all(one.is_file() for one in inside)
        except OSError:
            there = False
        if not there:
            raise UsageError(
                f"{path} has no records: no such file, or a directory without *.jsonl",
                fix="name the JSON Lines files of exposures and outcomes",
            )
        found += inside
    if not found:
        raise UsageError(
            "no records were given",
            fix="name the JSON Lines files of exposures and outcomes, or their directory",
        )
    return tuple(dict.fromkeys(found))
