"""Server logs: parse lines, recognize noise, find why a start failed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

Level = Literal["debug", "info", "warning", "error", "fatal", ""]

_LEVELS: dict[str, Level] = {
    "V": "debug",
    "I": "info",
    "W": "warning",
    "E": "error",
    "F": "fatal",
    "DEBUG": "debug",
    "INFO": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "CRITICAL": "fatal",
}
# Triton: LMMDD hh:mm:ss.ssssss pid file:line] message, as glog and PyTorch write it too;
# with --log-format=ISO8601: YYYY-MM-DDThh:mm:ssZ L pid file:line] message
_TRITON = re.compile(
    r"^(?:(?P<level>[VIWEF])(?P<date>\d{4}) (?P<time>\d\d:\d\d:\d\d)(?P<part>\.\d+)(?: +\d+)?"
    r"|(?P<day>\d{4}-\d\d-\d\d)T(?P<utc>\d\d:\d\d:\d\d)Z (?P<said>[VIWEF]) +\d+)"
    r" (?P<source>[\w./-]+):\d+\] ?(?P<message>.*)$",
    re.DOTALL,
)
# vLLM: (EngineCore pid=7) INFO 11-21 04:00:00 [core.py:1] message; before 0.8 core.py:1] message
_VLLM = re.compile(
    r"^(?:\([^)]*\) )*(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<date>\d\d-\d\d) "
    r"(?P<time>\d\d:\d\d:\d\d)(?:\.\d+)? (?:\[(?P<place>[^\]]*)\]|(?P<source>[\w.]+:\d+)\])"
    r" ?(?P<message>.*)$"
)
# ONNX Runtime: [E:onnxruntime:, file.cc:1 Function] message
# TensorFlow: E tensorflow/x.cc:1] message
_LIBRARY = re.compile(
    r"^(?:\d{4}-\d\d-\d\d (?P<time>\d\d:\d\d:\d\d)\.\d+:? )?"
    r"(?:\[(?P<level>[VIWEF]):(?P<source>onnxruntime)[^\]]*\]"
    r"|(?P<said>[VIWEF]) (?P<place>[\w./-]+\.(?:cc|h)):\d+\]) ?(?P<message>.*)$"
)
# What the server logs about GPUs on a machine without any; harmless there.
_NO_GPU = re.compile(
    r"CudaDriverHelper|pinned (?:system )?memory|CUDA memory pool|Failed to initialize NVML|"
    r"DCGM unable to start|CUDA driver version is insufficient|libcuda\b"
)
# The server's message about a model that failed: never noise, whatever its reason is.
_REFUSED = re.compile(r"failed to load|Poll failed for model|UNAVAILABLE|loading failed")
_FAILED_LOAD = re.compile(r"failed to load '([^']+)'(?: version \d+)?: (.+)", re.DOTALL)
_POLL_FAILED = re.compile(r"Poll failed for model directory '([^']+)': (.+)", re.DOTALL)
_EXCEPTION = re.compile(
    r"(?:^|\s)((?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Exit|Failed|Timeout)(?:_\w+)?"
    r"|Exception)): (.+)$"
    r"|^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception))\(['\"].+\)$"  # as repr() has it
)
# The exception after this line was raised because of the one before.
_CAUSED = "The above exception was the direct cause of the following exception"
# Exceptions of a shutdown: not the reason if there is another.
_ENDED = re.compile(
    r"(?:\w+\.)*(?:ChildFailedError|ActorDiedError|RayActorError|GetTimeoutError|EngineDeadError"
    r"|ProcessExitedException|CancelledError|BrokenPipeError|EOFError|ConnectionResetError)\b"
)
_STATUS = re.compile(r"^(?:Internal|Invalid argument|Not found|Unavailable|Unsupported): ")
# vLLM's parent process only reports that its child failed; the child's log has the reason.
_POINTER = re.compile(
    r"[Rr]oot cause|[Ee]ngine core initialization failed|WorkerProc"
    r"|Executor worker (?:returned error|died)"
)
_CHUNK = 1 << 20
_TAIL = 16 << 20  # bytes in which the reason of an end is looked for


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; ``level`` is empty for output that is not a log line. ``time`` is hh:mm:ss."""

    level: Level
    time: str
    source: str
    message: str
    noise: bool = False


def parse(text: str) -> LogLine:
    """Parse a log line of Triton, vLLM or their libraries, or any other text."""
    if match := _TRITON.match(text):
        message = _unquoted(match["message"])
        noise = not message.strip() or _about_no_gpu(message)
        level, time = match["level"] or match["said"], match["time"] or match["utc"]
        return LogLine(_LEVELS[level], time, match["source"], message, noise)
    if match := _VLLM.match(text) or _LIBRARY.match(text):
        found = match.groupdict()
        level = _LEVELS[found["level"] or found["said"]]
        source = found["place"] or found["source"]
        return LogLine(level, found["time"] or "", source, match["message"])
    # Tables of options only repeat the arguments.
    table = text.startswith(("+-", "| ", "+=")) or not text.strip()
    return LogLine("", "", "", text, table or _about_no_gpu(text))


def moment(text: str, now: datetime) -> datetime | None:
    """Return when a line of Triton or vLLM was written, None for other text.

    Triton's clock is UTC, vLLM's is the machine's; both leave the year out, so it is the latest one
    in which the moment is not after ``now`` (with a day's grace for clocks that differ).
    """
    match = _TRITON.match(text) or _VLLM.match(text)
    if match is None:
        return None
    found = match.groupdict()
    if found.get("day"):
        try:
            return datetime.fromisoformat(f"{found['day']}T{found['utc']}+00:00")
        except ValueError:  # no such day
            return None
    zone = UTC if match.re is _TRITON else now.astimezone().tzinfo
    date = found["date"].replace("-", "")
    for year in (now.year, now.year - 1):
        try:
            made = datetime.strptime(f"{year}{date} {found['time']}", "%Y%m%d %H:%M:%S")
        except ValueError:  # 29 February of another year
            continue
        at = made.replace(tzinfo=zone, microsecond=_microseconds(found.get("part")))
        if at <= now + timedelta(days=1):
            return at
    return None


def _microseconds(part: str | None) -> int:
    return min(999_999, round(float(part or 0) * 1_000_000))


def _about_no_gpu(message: str) -> bool:
    return bool(_NO_GPU.search(message)) and not _REFUSED.search(message)


class Follower:
    """Reads complete lines of a growing log."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._rest = b""
        self._at = path.stat().st_size if from_end and path.exists() else 0

    def lines(self) -> Iterator[str]:
        """Return the lines since the last call."""
        try:
            with self._path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._at:  # somebody emptied it
                    self._at, self._rest = 0, b""
                stream.seek(self._at)
                while chunk := stream.read(_CHUNK):
                    self._at += len(chunk)
                    *whole, self._rest = (self._rest + chunk).split(b"\n")
                    for line in whole:
                        yield line.decode("utf-8", "replace").rstrip("\r")
        except FileNotFoundError:
            return


def follow(path: Path, ended: object = None, *, poll: float = 0.2) -> Iterator[str]:
    """Yield every line of a log, and new ones until ``ended()`` is true."""
    follower = Follower(path)
    while True:
        last = bool(callable(ended) and ended())
        yield from follower.lines()
        if last:
            return
        time.sleep(poll)


def failure_reasons(path: Path) -> tuple[str, ...]:
    """Return why a server did not start: a line for each failed model, else its last lines."""
    texts = _end_of(path)
    cause = root_exception(texts)
    reasons: dict[str, str] = {}
    for line in map(parse, texts):
        if line.level not in ("error", "fatal"):
            continue
        match = _FAILED_LOAD.search(line.message) or _POLL_FAILED.search(line.message)
        if match:
            reason = _first_line(match[2])
            reasons[match[1]] = cause if cause and _POINTER.search(reason) else reason
    if reasons:
        return tuple(f"{model}: {reason}" for model, reason in reasons.items())
    return _last_words(texts, cause)


def last_lines(path: Path) -> tuple[str, ...]:
    """Return the last three lines of a log that are not noise, shortened."""
    texts = _end_of(path)
    said = [line.message for line in map(parse, texts) if not line.noise]
    return tuple(message[:200] for message in said[-3:])


def _end_of(path: Path) -> list[str]:
    """Return the last lines of a log, which may have grown for months; none if it is gone."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _last_words(texts: list[str], cause: str) -> tuple[str, ...]:
    """Return the last line that looks like a reason."""
    if cause:
        return (cause,)
    lines = [line for line in map(parse, texts) if not line.noise]
    errors = [line.message for line in lines if line.level in ("error", "fatal")]
    errors += [line.message for line in lines if line.message.lower().startswith("error:")]
    said = errors or [line.message for line in lines if line.message.strip()]
    return tuple(_first_line(message) for message in said[-1:])


def root_exception(texts: Iterable[str]) -> str:
    """Return the last exception line of a Python traceback that does not refer to another.

    In a chain it is the first; an exception of a shutdown is used only without another.
    """
    cause = ended = ""
    caused = False  # by the exception before
    for text in texts:
        if _TRITON.match(text):
            continue
        caused = caused or _CAUSED in text
        match = _EXCEPTION.search(parse(text).message)
        if match is None:
            continue
        said = match[0].strip()
        if _ENDED.match(said):
            ended = said
        elif not _POINTER.search(said) and not (caused and cause):
            cause = said
        caused = False
    return cause or ended


def _first_line(message: str) -> str:
    """Return the message without Triton's status word and the Python frames after it."""
    said = _STATUS.sub("", message.partition("\n\nAt:")[0].strip())
    return " ".join(said.split())


def _unquoted(message: str) -> str:
    """Unquote a message: since about 24.06 messages are JSON strings."""
    if not message.startswith('"'):
        return message
    try:
        return str(json.loads(message, strict=False))
    except ValueError:
        return message.strip('"')
