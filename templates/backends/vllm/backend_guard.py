"""Nothing of an engine outlives the stub that started it, and no stub its server.

vLLM's engine waits for its frontend without noticing that it is gone: after ``kill -9`` of the
server the process would keep its memory forever, and so may what TensorRT-LLM starts, whose models
have a copy of this file. A stub that misses its server ends itself, but not from within a call to
it: whoever writes a metric then waits for the answer forever, and Python's lock with it.
"""

import contextlib
import os
import subprocess
import threading
from pathlib import Path

_NOTE_SECONDS = 1
_LOOK_SECONDS = 1
# For a stub that ends by itself. It holds the server's connections open, whose clients wait.
_GRACE_SECONDS = 1

# Arguments: the stub, its server, the two times. Lines of "PID STARTTIME" come; the pipe ends with
# the stub, however that ends. A process number that has been given to somebody else by then has
# another start time. A stub has another parent once its server is dead, reaped or not.
_SCRIPT = r"""
nap() { sleep "$1" & nap=$!; wait "$nap"; }
look() {
  trap 'kill "$nap"; exit' TERM
  while nap "$3"; do
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
    set -- "$1" "$2" "$3" "$4" ${stat##*) }
    [ "$6" = "$2" ] && continue
    nap "$4"
    kill -KILL "$1"
    return
  done
}
look "$@" &
look=$!
known=
while read -r line; do known="$known$line
"; done
kill -TERM "$look"
echo "$known" | while read -r process start; do
  stat=$(cat "/proc/$process/stat" 2>/dev/null) || continue
  set -- ${stat##*) }
  [ "${20}" = "$start" ] && kill -KILL "$process"
done
"""


class Guard:
    """A shell that waits for the end of this process, then kills what the engine left. It ends
    this process when its parent is dead and it does not end itself."""

    def __init__(self):
        self._known = set()
        told = (os.getpid(), os.getppid(), _LOOK_SECONDS, _GRACE_SECONDS)
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "guard", *map(str, told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
        )
        # A worker that is a fork of this process would hold the pipe open after its end.
        os.register_at_fork(after_in_child=self._shell.stdin.close)

    @contextlib.contextmanager
    def noting(self):
        """Take notice while an engine starts, and of what there is at the end of that."""
        started = threading.Event()

        def note():
            while not started.wait(_NOTE_SECONDS):
                self.note()

        thread = threading.Thread(target=note, name="guard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            started.set()
            thread.join()
            self.note()

    def note(self):
        """Take notice of the processes that exist below this one."""
        import psutil

        for process in psutil.Process().children(recursive=True):
            line = f"{process.pid} {_start_time(process.pid)}\n".encode()
            if not self._is_ours(process) and line not in self._known:
                self._known.add(line)
                with contextlib.suppress(OSError):  # somebody ended the shell
                    os.write(self._shell.stdin.fileno(), line)

    def _is_ours(self, process):
        """Whether it is the shell, or something that the shell runs."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return self._shell.pid in (process.pid, *(one.pid for one in process.parents()))
        return True  # it has ended

    def close(self):
        """End what is left of the engine, and the guard."""
        self._shell.stdin.close()
        self._shell.wait()


def _start_time(pid):
    """Clock ticks after boot: the 22nd field of stat, the 20th after the name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except OSError:
        return ""
