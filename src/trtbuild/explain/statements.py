"""The statements of a log, without prefixes of containers, MPI and log libraries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trtbuild.explain.crashes import crash
from trtbuild.server import logs

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# docker compose's `service-1  | `, Kubernetes' timestamps, `mpirun --tag-output`'s
# `[1,0]<stderr>:`, journald's `Nov 29 18:00:00 host unit[1]: `, vLLM's `(EngineCore pid=7) `,
# torchrun's `[rank0]:`
_PREFIX = re.compile(
    r"^(?:[\w.-]+\s+\|\s|[\w, ]{0,20} \d\d?:\d\d:\d\d [ap]m \|\s*"
    r"|\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\s+(?:\|\s+)?(?:std(?:out|err) [FP] )?"
    r"|\[\d+,\d+\]<\w+>:\s*|[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ \S+: "
    r"|\[pod/[^\]]+\] |│ ?|\([\w ]*pid=\d+[^)]*\) ?|\[rank\d+\]:\s?)+"
)
# A line of Triton or vLLM keeps its own prefix, whatever precedes that.
_HEAD = re.compile(
    r"^.{0,200}?(?=[VIWEF]\d{4} \d\d:\d\d:\d\d\.\d+ |\d{4}-\d\d-\d\dT[\d:]{8}Z [VIWEF] \d+ "
    r"|\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d)"
)
_TRTLLM = re.compile(
    r"^(?:\[[\d/:.-]+\] )?\[(?:TensorRT(?:-LLM)?|TRT(?:-LLM)?)\] ?(?:\[RANK \d+\] ?)?"
)
_TRTLLM_LEVEL = re.compile(r"^\[?(ERROR|WARNING|INFO|DEBUG|E|W|I|F|V|TRACE)(?:\]|:) ?")
_LOUD = {"ERROR", "E", "F"}
_QUIET = re.compile(  # not Kubernetes' events of a pod: `Warning  FailedScheduling  …`
    r"\s*\[?(?:WARN(?:ING)?|INFO|DEBUG|NOTE|[Ww]arning)\b(?!\s+(?:Failed|BackOff|Unhealthy))"
)
_NATIVE_FRAME = re.compile(r"\s*frame #\d+: ")
_WARNING = re.compile(r"\wWarning: ")  # Python's, after its file and line
_ROW = re.compile(r"^\|(?P<cells>.+)\|\s*$")
_MEMBER = re.compile(
    r"(?P<what>ensemble '[^']+' depends on '(?P<model>[^']+)' .*?) Model '[^']+' "
    r"(?:loading )?failed with error: (?:version \S+ is at UNAVAILABLE state: )?(?P<why>.*)",
    re.DOTALL,
)
_MODEL = re.compile(
    r"failed to load '(?P<load>[^']+)' version|Poll failed for model directory '(?P<poll>[^']+)'"
    r"|load failed for model '(?P<request>[^']+)'"
)
_BEGINS = re.compile(r"error:|Traceback|Signal \(|terminate called|[+|]")
_MOST_MORE = 8


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a log.

    Attributes:
        line: Its line, from 1.
        text: Its text without prefixes.
        model: The affected model, empty if it is not named.
        loud: Whether it may be a failure: an error, or a line without a level.
        final: Whether it is the server's own message about a model that failed.
        error: Whether its level is an error.
        more: The lines after a final statement that may belong to it.
    """

    line: int
    text: str
    model: str = ""
    loud: bool = True
    final: bool = False
    error: bool = False
    more: str = ""


def cleaned(line: str) -> str:
    """Return a line without prefixes."""
    text = _ANSI.sub("", line.rstrip("\r\n"))
    if text.startswith("{") and text.rstrip().endswith("}"):
        text = _logged(text)
    head = _HEAD.match(text) if "]" in text else None  # file.cc:1] message
    return text[head.end() :] if head else _PREFIX.sub("", text)


def _logged(text: str) -> str:
    """Return the text of a line that a log driver wrote as JSON; other lines unchanged."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if set(found) == {"error"} and isinstance(found["error"], str):  # what Triton answers
        return f"error: {' '.join(found['error'].split())}"
    said = (found.get(key) for key in ("log", "message", "msg", "textPayload"))
    return next((one.rstrip("\n") for one in said if isinstance(one, str)), text)


def statements(lines: Iterable[str]) -> Iterator[Statement]:
    """Return the statements of a log, in order."""
    texts = [cleaned(line) for line in lines]
    row: list[str] = []
    begun = 0
    for at, text in enumerate(texts):
        cells = _cells(text)
        if cells is not None and row and not cells[0].strip():
            row = [_wrapped(*pair) for pair in zip(row, cells, strict=True)]
            continue
        if row:
            yield from _from_row(begun, row)
        row, begun = (cells, at + 1) if cells else ([], 0)
        if cells is None:
            yield from _from_line(texts, at)
    if row:
        yield from _from_row(begun, row)


def _from_line(texts: Sequence[str], at: int) -> Iterator[Statement]:
    line = logs.parse(texts[at])
    if (line.noise and line.level) or _NATIVE_FRAME.match(line.message):
        return
    if crashed := crash(texts, at):
        yield Statement(at + 1, crashed, error=True)
        return
    error = line.level in ("error", "fatal")
    message, loud = line.message, error or (not line.level and not _is_quiet(line.message))
    body = _TRTLLM.sub("", message)
    if body != message and (level := _TRTLLM_LEVEL.match(body)):
        message, loud = body[level.end() :], level[1] in _LOUD
        error = loud
    if member := _MEMBER.search(message):
        # Often only this line is pasted; it contains the reason of the member.
        yield Statement(at + 1, member["what"], "", loud)
        yield Statement(at + 1, member["why"], member["model"], loud, final=True)
        return
    said = _MODEL.search(message)
    model = next(filter(None, said.groups()), "") if said else ""
    final = loud and (bool(said) or message.startswith("UNAVAILABLE: "))
    # A quoted message, as Triton writes them since 24.06, is complete.
    more = _more(texts, at) if final and not texts[at].endswith('"') else ""
    yield Statement(at + 1, message, model, loud, final, error, more)


def _is_quiet(message: str) -> bool:
    warns = "Warning: " in message and _WARNING.search(message)
    return bool(warns or _QUIET.match(message))


def _more(texts: Sequence[str], at: int) -> str:
    """Return the continuation lines of a message: those after it without a prefix."""
    found: list[str] = []
    for text in texts[at + 1 : at + 1 + _MOST_MORE]:
        if not text.strip() or _BEGINS.match(text) or logs.parse(text).level:
            break
        found.append(text)
    return "\n".join(found)


def _cells(text: str) -> list[str] | None:
    """Return the cells of a line of the server's model table, each as wide as its column."""
    match = _ROW.match(text)
    if match is None:
        return None
    cells = match["cells"].split(" | ")
    return [cells[0][1:], cells[1], cells[2].removesuffix(" ")] if len(cells) == 3 else None


def _wrapped(cell: str, more: str) -> str:
    """Join a cell and its next line: the server wraps at the column's end, even inside words."""
    full = not cell.endswith(" ")
    return cell + more if full else f"{cell.rstrip()} {more.lstrip()}"


def _from_row(number: int, row: list[str]) -> Iterator[Statement]:
    model, _, status = (cell.strip() for cell in row)
    if status.startswith(("UNAVAILABLE", "Not loaded")):
        reason = status.partition(":")[2].strip()
        yield Statement(number, reason, model, loud=True, final=True)
