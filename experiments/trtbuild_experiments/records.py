"""Records of an experiment: which user got which variant, and what was observed of them.

JSON Lines. An *exposure* has ``experiment``, ``variant`` and ``unit``; its other numbers are values
of that request. An *outcome* has ``name``, ``value``, and the ``id`` of an exposure or a ``unit``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.errors import BenchError, UsageError
from trtbuild.progress import Progress

_FIELDS = {"experiment", "variant", "unit", "id", "time", "name", "value", "override", "query"}
_FORM = "an outcome is written as {name, value, id} or {name, value, unit}"
_LARGEST = 1e100  # its square is a number, too
_EVERY = 100_000  # lines between two steps of the progress


@dataclass(slots=True)
class Series:
    """Values of one name with the number of the user of each."""

    users: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents that a request was answered with, the best first, and its user's number."""

    user: int
    query: str
    documents: list[str]


@dataclass(slots=True)
class Records:
    """What was recorded of one experiment.

    Attributes:
        experiment: Its name.
        users: The number of each unit.
        variants: The variant of each user by number; several if the user had several.
        requests: Exposures of each user by number.
        series: Observations by name.
        rankings: Of exposures that have one.
        left_out: What was not used, and how often.
    """

    experiment: str = ""
    users: dict[str, int] = field(default_factory=dict)
    variants: list[set[str]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    rankings: list[Ranking] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, user: int, value: float) -> None:
        """One observation."""
        series = self.series.setdefault(name, Series())
        series.users.append(user)
        series.values.append(value)


def read_records(files: Iterable[Path], experiment: str, shown: Progress) -> Records:
    """The records of an experiment: the one of that name, or the only one.

    Raises:
        UsageError: A damaged line, an exposure without unit, several experiments.
        BenchError: There is no exposure.
    """
    reader = _Reader(Records(experiment), named=bool(experiment))
    for path, number, row in _rows(files, shown, reader.records.left_out):
        reader.row(row, f"{path}:{number}")
    reader.join()
    records = reader.records
    if not records.users:
        named = f" of the experiment {experiment!r}" if experiment else ""
        raise BenchError(
            f"there is no exposure{named}",
            where=f"other experiments there: {', '.join(sorted(reader.others))}"
            if reader.others
            else "",
            fix="an exposure is a line with experiment, variant and unit",
        )
    return records


def read_before(files: Iterable[Path], users: Mapping[str, int], shown: Progress) -> Records:
    """Values of the same users from before the experiment; other users are left out.

    Raises:
        UsageError: A damaged line, or one without unit.
    """
    records = Records(users=dict(users), requests=[0] * len(users))
    for path, number, row in _rows(files, shown, records.left_out):
        where = f"{path}:{number}"
        unit = _text(row, "unit", where)
        if unit is None:
            raise UsageError(
                "a record from before the experiment has no unit",
                where=where,
                fix="write the user's id as unit, the same as in exposures",
            )
        user = users.get(unit)
        if user is None:
            records.left_out["records from before of users outside the experiment"] += 1
        elif "name" in row:
            records.add(_name(row, where), user, _value(row, where))
        else:
            records.requests[user] += 1
            for name, value in _numbers(row, where):
                records.add(name, user, value)
    return records


class _Reader:
    """Exposures as they come; outcomes wait, since theirs may be in a later file."""

    def __init__(self, records: Records, *, named: bool) -> None:
        self.records = records
        self.others: set[str] = set()
        self._named = named
        self._ids: dict[str, int] = {}
        self._elsewhere: set[str] = set()
        self._waiting: list[tuple[str | None, str | None, str, float]] = []

    def row(self, row: dict[str, Any], where: str) -> None:
        if "variant" in row:
            self._exposure(row, where)
            return
        name, value = _name(row, where), _value(row, where)
        request, unit = _text(row, "id", where), _text(row, "unit", where)
        if request is None and unit is None:
            raise UsageError("an outcome has neither id nor unit", where=where, fix=_FORM)
        self._waiting.append((request, unit, name, value))

    def _exposure(self, row: dict[str, Any], where: str) -> None:
        records = self.records
        experiment, variant = _text(row, "experiment", where), _text(row, "variant", where)
        unit, request = _text(row, "unit", where), _text(row, "id", where)
        if not (experiment and variant and unit):
            missing = "unit" if not unit else "variant" if not variant else "experiment"
            raise UsageError(
                f"an exposure has no {missing}",
                where=where,
                fix="write experiment, variant and unit (the user's id) as text; requests of "
                "no known user are not part of an experiment",
            )
        if not records.experiment:
            records.experiment = experiment
        if experiment != records.experiment:
            self._other(experiment, request)
            return
        if request is not None and request in self._ids:
            records.left_out["exposures that are there twice"] += 1
            return
        if row.get("override") is True:
            records.left_out["requests whose variant was chosen by an override"] += 1
            self._elsewhere.update(() if request is None else (request,))
            return
        user = records.users.setdefault(unit, len(records.users))
        if user == len(records.requests):
            records.requests.append(0)
            records.variants.append(set())
        records.requests[user] += 1
        records.variants[user].add(variant)
        if request is not None:
            self._ids[request] = user
        for name, value in _numbers(row, where):
            records.add(name, user, value)
        if "ranking" in row:
            records.rankings.append(_ranking(row, user, where))

    def _other(self, experiment: str, request: str | None) -> None:
        self.others.add(experiment)
        if not self._named:
            raise UsageError(
                "the files have several experiments",
                where=f"{self.records.experiment} and {experiment}",
                fix="name one with --experiment",
            )
        if request is not None:
            self._elsewhere.add(request)

    def join(self) -> None:
        """Give each outcome to its user."""
        records = self.records
        for request, unit, name, value in self._waiting:
            user = self._ids.get(request) if request is not None else None
            if user is None and request is None and unit is not None:
                user = records.users.get(unit)
            if user is not None:
                records.add(name, user, value)
            elif request is None:
                records.left_out["outcomes of users outside the experiment"] += 1
            elif request not in self._elsewhere:
                records.left_out["outcomes of an unknown id"] += 1


def _rows(
    files: Iterable[Path], shown: Progress, left_out: Counter[str]
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """The objects of files with their places. A last line that its writer has not ended yet is
    left out."""
    for path in files:
        shown.step(f"reading {path}")
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if number % _EVERY == 0:
                        shown.advance(number, 0, "lines")
                    try:
                        row = json.loads(line) if line.strip() else None
                        if row is not None and not isinstance(row, dict):
                            raise ValueError("not an object")
                        if b"\\ud" in line.lower():  # half of a pair cannot be printed
                            json.dumps(row, ensure_ascii=False).encode()
                    except (ValueError, RecursionError) as error:
                        if not line.endswith(b"\n"):
                            left_out["unfinished last lines"] += 1
                            continue
                        raise UsageError(
                            f"a line is not a JSON object: {error}",
                            where=f"{path}:{number}",
                            fix="a record is one JSON object in one line",
                        ) from None
                    if row is not None:
                        yield path, number, row
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read: {error.strerror}", fix="check its owner and its disk"
            ) from None


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    """Text, or a whole number as text: ids are written both ways."""
    value = row.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UsageError(
        f"{key} is {value!r}", where=where, fix=f"write {key} as text that is not empty"
    )


def _name(row: dict[str, Any], where: str) -> str:
    name = row.get("name")
    if isinstance(name, str) and name:
        return name
    raise UsageError("a record is neither an exposure nor an outcome", where=where, fix=_FORM)


def _value(row: dict[str, Any], where: str) -> float:
    value = row.get("value")
    if isinstance(value, bool | int | float):
        return _finite("value", value, where)
    raise UsageError(
        f"the outcome {row['name']!r} has the value {value!r}",
        where=where,
        fix="write a number, true or false",
    )


def _numbers(row: dict[str, Any], where: str) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if name not in _FIELDS and isinstance(value, bool | int | float):
            yield name, _finite(name, value, where)


def _ranking(row: dict[str, Any], user: int, where: str) -> Ranking:
    query, documents = _text(row, "query", where), row["ranking"]
    if query is None or not isinstance(documents, list):
        raise UsageError(
            "a ranking is not a list, or has no query",
            where=where,
            fix="write query as text and ranking as a list of ids of documents, the best first",
        )
    return Ranking(user, query, [str(one) for one in documents])


def _finite(name: str, value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) < _LARGEST:
        return number
    raise UsageError(
        f"{name} is not a finite number, or one beyond {_LARGEST:g}",
        where=where,
        fix="leave the field out if there is no value",
    )
