"""How soon `trtbuild rollout` takes users off a version that turns bad, and what that costs them.

    python benchmarks/bench_rollout.py [errors] [killed] [slower] [stalled] [--runs 3]

Two scripted servers stand behind the command, with its default options and its real Envoy and
Prometheus. Users ask 100 times a second. After three good measurements with 5 % of the requests
the new server begins to fail: it answers with status 500, is killed, answers 0.5 s later, or stops
in the middle of everything. A request that has no answer by the end counts as failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.prometheus import program
from support.scripted_http import answer
from support.versions import Users, Version, version
from trtbuild.process import free_ports

RATE, GOOD, AFTER_SECONDS = 100.0, 3, 10.0
FAULTS: dict[str, Callable[[Version], None]] = {
    "errors": lambda new: new.script.__setitem__(0, answer(b"{}", 500)),
    "killed": lambda new: new.kill(),
    "slower": lambda new: new.script.insert(0, 0.5),
    "stalled": lambda new: new.script.insert(0, 3600.0),
}


@dataclass
class Found:
    """One run: seconds from the fault to the rollback, and requests of the whole run."""

    seconds: float
    sent: int
    failed: int
    failed_after: int


async def measured(fault: str) -> Found:
    """Roll out a version that turns bad."""
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    async with version() as stable, version() as new:
        words = ["rollout", stable.address, new.address, "--url", listen, "--stay", "--json"]
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trtbuild", *words, stdout=asyncio.subprocess.PIPE
        )
        users = Users(listen, RATE)
        asking = asyncio.create_task(users.run())
        began, ended = await _rolled_back(command, new, fault)
        await asyncio.sleep(AFTER_SECONDS)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        command.terminate()
        await command.wait()
    return Found(ended - began, len(users.sent), users.failed(), users.failed(ended))


async def _rolled_back(
    command: asyncio.subprocess.Process, new: Version, fault: str
) -> tuple[float, float]:
    """Spoil the new version; return when, and when the command decided against it.

    It says so only after the open requests, so the last measurement is the decision.
    """
    assert command.stdout is not None
    good, began, decided = 0, 0.0, 0.0
    async for line in command.stdout:
        event = json.loads(line)
        if event["event"] == "rolled back" and began:
            return began, decided
        if event["event"] != "measured" or (event["failed"] and not began):
            raise SystemExit(f"{fault}: {line.decode()}")
        good, decided = good + 1, time.monotonic()
        if good == GOOD:
            FAULTS[fault](new)
            began = time.monotonic()
    raise SystemExit(f"{fault}: the command ended")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS], default=[])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    os.environ["PATH"] = f"{program('prometheus').parent}:{os.environ['PATH']}"
    print("| fault | rolled back after, median | longest | failed requests | after it |")
    print("|---|---|---|---|---|")
    for fault in given.faults or FAULTS:
        runs = [asyncio.run(measured(fault)) for _ in range(given.runs)]
        seconds = [one.seconds for one in runs]
        failed, sent = sum(one.failed for one in runs), sum(one.sent for one in runs)
        print(
            f"| {fault} | {statistics.median(seconds):.1f} s | {max(seconds):.1f} s "
            f"| {failed} of {sent} ({failed / sent:.2%}) | {sum(o.failed_after for o in runs)} |",
            flush=True,
        )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
