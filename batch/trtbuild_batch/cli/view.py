"""How far a job is, as a line for people; a worker shows its own line the same way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from trtbuild.cli.fields import option
from trtbuild.cli.output import console, human_count, json_logs, say
from trtbuild_batch.jobs.tally import Snapshot

_LINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Output:
    """How the end is shown."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


_State = TypeVar("_State")


def line(now: Snapshot) -> str:
    """Return ``1200 of 5000 rows · 31 rows/s · 2 min left · …``."""
    known = [f"{now.done} of {now.rows} rows"]
    if now.errors:
        known.append(f"{now.errors} with errors")
    if now.rows_per_s is not None:
        known.append(f"{now.rows_per_s:.3g} rows/s")
    if now.seconds_left is not None and now.done < now.rows:
        known.append(f"{duration(now.seconds_left)} left")
    if now.prompt_tokens or now.completion_tokens:
        known.append(tokens(now.prompt_tokens, now.completion_tokens))
    if now.done == now.rows:
        pass  # no calls are left to make
    elif now.limit == 0:
        known.append("yielding to other requests")
    elif now.limit is not None:
        known.append(f"{now.in_flight} of {now.limit} calls in flight")
    if now.retries:
        known.append(f"{now.retries} retries")
    if now.cost is not None:
        total = "" if now.cost_left is None else f" of about {now.cost + now.cost_left:.2f}"
        known.append(f"cost {now.cost:.2f}{total}")
    return " · ".join(known)


def tokens(prompt: int, completion: int) -> str:
    """Return ``1.2M tokens in, 340k out``."""
    return f"{human_count(prompt)} tokens in, {human_count(completion)} out"


def duration(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def live(line: Callable[[_State], str]) -> Iterator[Callable[[_State], None]]:
    """Show a state on standard error: a line that changes on a terminal, one every ten seconds
    elsewhere."""
    if json_logs() or not sys.stderr.isatty():
        last = time.monotonic()

        def show(now: _State) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_SECONDS:
                last = time.monotonic()
                say(line(now), mark="… ")

        yield show
        return
    status = console(stderr=True).status("starting")
    with status:
        yield lambda now: status.update(line(now))
