"""What a guard runs: PID STARTED MARK SECONDS."""

import sys

from trtbuild.process.programs import terminate

pid, started, mark, seconds = sys.argv[1:]
terminate(int(pid), float(started), mark, deadline=float(seconds))
