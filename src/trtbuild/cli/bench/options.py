"""What options of ``trtbuild bench`` mean."""

from __future__ import annotations

import os
from pathlib import Path

from trtbuild.bench.loads import Load
from trtbuild.errors import UsageError

_MOST_CLIENTS = 10_000
_MOST_RATE = 1e6


def loads(concurrency: str, rate: str, arrivals: str, trace: Path | None) -> tuple[Load, ...]:
    """The loads of ``--concurrency``, ``--rate`` or ``--trace``; one client without any.

    Raises:
        UsageError: A value that cannot be, or two of them.
    """
    if sum(map(bool, (concurrency, rate, trace))) > 1:
        raise UsageError(
            "a run is a closed loop, an open loop or a trace",
            fix="give one of --concurrency, --rate and --trace",
        )
    if trace is not None:
        return (Load("trace"),)
    if rate:
        numbers = _numbers(rate, "--rate", _MOST_RATE)
        if arrivals == "poisson":
            return tuple(Load("open", rate=number) for number in numbers)
        if arrivals == "constant":
            return tuple(Load("open", rate=number, arrivals="constant") for number in numbers)
        raise UsageError(f"no arrivals {arrivals!r}", fix="--arrivals poisson or constant")
    clients = _numbers(concurrency or "1", "--concurrency", _MOST_CLIENTS)
    if any(number != int(number) for number in clients):
        raise UsageError(f"{concurrency!r} clients", where="--concurrency", fix="whole numbers")
    return tuple(Load("closed", concurrency=int(number)) for number in clients)


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


def baselines(text: str) -> tuple[str, ...]:
    """``--baseline fastapi``: one request at a time, and static batches."""
    if not text:
        return ()
    if text != "fastapi":
        raise UsageError(f"no baseline {text!r}", fix="--baseline fastapi")
    return ("baseline:fastapi", "baseline:fastapi-batched")


def require(
    *,
    sweep: bool,
    slo: str,
    rate: str,
    trace: Path | None,
    chat: bool,
    usd_per_hour: float | None = None,
) -> None:
    """UsageError where options do not go together, or one cannot be."""
    if usd_per_hour == float("inf"):
        raise UsageError(
            "a price without an end", where="--usd-per-hour inf", fix="dollars an hour"
        )
    if sweep and not (slo and rate):
        raise UsageError(
            "a sweep needs objectives and a rate to start from",
            fix="add --slo ttft=500ms,itl=50ms and --rate 1",
        )
    if trace is not None and chat:
        raise UsageError("a trace has plain prompts", fix="leave --chat out")


def writable(option: str, path: Path | None) -> None:
    """Before an hour of measuring: whether its result can be written.

    Raises:
        UsageError: No such folder, or not for us, or the file is one.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", where=f"{option} {path}", fix="make it first")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", where=option, fix="name a file in it")
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"nothing can be written to {folder}", where=f"{option} {path}", fix="name another"
        )
