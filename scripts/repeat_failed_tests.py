"""Run the few tests of a lane that just failed once more, each with fixtures of its own.

    python scripts/repeat_failed_tests.py server|unit

Tests share a machine with servers, engines and each other, which makes one in thousands fail. A
test that fails again, or more than three failed tests, fail the lane. One that passes the second
time is named as unstable: find its cause. ADR 263 has the reasons.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
SERVER = "tests/server"
LANES = {"server": [SERVER], "unit": ["--ignore", SERVER]}


def failed(cache: Path, lane: str) -> list[str]:
    """Return the tests of a lane that failed in the last run of each; pytest's own record."""
    record = cache / "v/cache/lastfailed"
    names = json.loads(record.read_text()) if record.is_file() else {}
    return sorted(one for one in names if one.startswith(f"{SERVER}/") == (lane == "server"))


def main(lane: str) -> int:
    tests = failed(Path(".pytest_cache"), lane)
    if not 0 < len(tests) <= MOST:
        print(f"{len(tests)} tests failed; at most {MOST} would be repeated")
        return 1
    print(f"repeating what failed once: {', '.join(tests)}", flush=True)
    # Only pytest leaves out what its record still has of tests that are gone.
    again = ["--last-failed", "--last-failed-no-failures", "none", *LANES[lane]]
    code = subprocess.call([sys.executable, "-m", "pytest", *again])
    if code == 0:
        for test in tests:
            # GitHub shows such a line beside the run; elsewhere it is a line of the log.
            print(f"::warning title=unstable test::{test} failed, then passed")
    return code


if __name__ == "__main__":
    if sys.argv[1:] not in [[lane] for lane in LANES]:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
