"""Explain a failure that no row of the table matches: its message, and where to look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trtbuild.explain.statements import Statement
from trtbuild.server import logs

_TRACEBACK = "Traceback (most recent call last)"
_PYTHON = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
# Triton's Python backend lists the innermost frame first: /path/file.py(12): function
_BACKEND = re.compile(r"(?P<path>/\S+\.py)\((?P<line>\d+)\): (?P<function>[\w<>]+)")
_PACKAGE = re.compile(r"/(?:site|dist)-packages/((\w+)/.+)")
_OWN_BACKEND = re.compile(r"/backends/(\w+)/")
_STANDARD = re.compile(r"/lib/python3\.\d+/(?!site-packages|dist-packages)|<frozen|_backend_utils")
_BARE = re.compile(r"\s*((?:\w+\.)*[A-Z]\w*(?:Error|Exception))\s*")
_SAYS = re.compile(
    r"\s*(?:[Ee]rror: |\[?ERROR\b|\[E\]|what\(\): |[Ff]atal\b|FATAL\b|docker: |panic: "
    r"|Error response from daemon: |terminate called "
    r"|(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Failed) ?: \S"
    r"|\d+:\d\d:\d\d\.\d+ +\d+ +0x\w+ ERROR "  # GStreamer's, so DeepStream's
    r"|(?:Internal|Invalid argument|Not found|Unavailable|Unsupported|INTERNAL)(?:: | - )"
    r"|.*\b(?:InferenceServerException|ERROR): )"
)
_OPEN = re.compile(r":$|validation errors? for |error\(s\) found\.$")
# Words of a failure, for an excerpt without an error line.
_SPEAKS = re.compile(
    r"\b(?:errors?|exception|fail(?:ed|ure|s)?|cannot|can't|could not|unable|invalid|not (?:found"
    r"|exist|available|callable|recognized|supported|defined|a directory)|is a directory|no such"
    r"|refused|denied|dead|died|killed|lost|missing|unexpected|must|insufficient|has no|no module"
    r"|undefined|crash\w*|abort\w*|exceeds?|mismatch|un(?:known|recognized|supported)|timed out"
    r"|thrown|assert\w*)\b|\bno runtime\b",
    re.IGNORECASE,
)
_RUNS = re.compile(r"Started \w+Service|Uvicorn running|startup complete|successfully loaded")
_ASIDE = re.compile(r"find: |Usage: |usage: |NOTE: |\s*-|  ")
_EXCERPT = 60  # lines: a longer text is not an excerpt
# Lines that only refer to another line.
_VAGUE = re.compile(
    r"[Cc]heck the \S* ?log|[Ss]ee (?:the )?\S* ?(?:log|above|below|details)|[Ff]ailed to maintain "
    r"|[Ss]hutting down|[Ee]xiting|[Cc]all stack"
)
_NATIVE = re.compile(r"^\s*(?:frame )?#?\d{1,3}[#:]?\s+(?:0x[0-9a-f]+\s+)?[\w(/<]")
_AROUND = 60  # lines in which the frames of a message are searched
_MOST_OPEN = 3
# What look() writes of code that belongs to nobody else.
OWN = re.compile(r"correct (?P<path>/\S+) line (?P<line>\d+) \(in ")
# Where to report it to the maintainers of the code that raised it.
_TRACKERS = {
    "vllm": "vllm-project/vllm",
    "tensorrt_llm": "NVIDIA/TensorRT-LLM",
    "transformers": "huggingface/transformers",
    "tokenizers": "huggingface/tokenizers",
    "torch": "pytorch/pytorch",
    "flashinfer": "flashinfer-ai/flashinfer",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """The message of a failure, its line, and what to do about it."""

    title: str
    message: str
    line: int
    fix: str
    frames: str = ""  # the traceback before it and the native stack after it


def raised(texts: Sequence[str]) -> Failure | None:
    """Return the exception of a traceback, with the file that raised it."""
    cause = logs.root_exception(texts)
    at = next((number for number, text in enumerate(texts) if cause and cause in text), -1)
    if at < 0:
        return _wordless(texts)
    name = re.split(r"[:(]", cause)[0]
    frame = _innermost(filter(None, map(_PYTHON.search, reversed(_before(texts, at)))))
    title = f"{name}, which is not in trtbuild's table of causes"
    message = _whole(cause, texts, at)
    return Failure(title, message, at + 1, look(at + 1, frame), _frames(texts, at))


def _before(texts: Sequence[str], at: int) -> Sequence[str]:
    return texts[max(0, at - _AROUND) : at]


def _frames(texts: Sequence[str], at: int) -> str:
    """Return the lines of the frames around line ``at``."""
    native = [text for text in texts[at + 1 : at + 1 + _AROUND] if _NATIVE.match(text)]
    python = [text for text in _before(texts, at) if _PYTHON.search(text)]
    return "\n".join([*python, *native])


def _whole(message: str, texts: Sequence[str], at: int) -> str:
    """Return a message with its continuation lines."""
    for text in texts[at + 1 : at + 1 + _MOST_OPEN]:
        if not _OPEN.search(message.rstrip()) or _NATIVE.match(text):
            break
        message = f"{message} {logs.parse(text).message.strip()}"
    return message


def _wordless(texts: Sequence[str]) -> Failure | None:
    """Describe an exception without a message by the source line that raised it."""
    for at in range(len(texts) - 1, 1, -1):
        name = _BARE.fullmatch(logs.parse(texts[at]).message)
        before = [text for text in texts[max(0, at - 6) : at] if _PYTHON.search(text)]
        if name and before:
            frame = _PYTHON.search(before[-1])
            marks = [text for text in texts[at - 2 : at] if text.strip(" ~^")]
            source = logs.parse(marks[-1]).message.strip() if marks else ""
            title = f"{name[1]}, which is not in trtbuild's table of causes"
            return Failure(title, f"{name[1]}: {source}", at + 1, look(at + 1, frame))
    return None


def has_traceback(texts: Iterable[str]) -> bool:
    """Whether there is a Python traceback, or part of one."""
    return any(_TRACEBACK in text or _PYTHON.search(text) for text in texts)


def refused(statement: Statement) -> Failure:
    """Return the server's own message about a model."""
    frames = _BACKEND.finditer(statement.text)
    title = "the model was refused; the server's message is not in trtbuild's table of causes"
    fix = look(statement.line, _innermost(frames))
    return Failure(title, statement.text, statement.line, fix)


def said(statements: Sequence[Statement], texts: Sequence[str]) -> Failure | None:
    """Return the last error of a log without a traceback and without a failed model."""
    heard = [one for one in statements if not logs.parse(one.text).noise]
    errors = [one for one in heard if one.error or (one.loud and _SAYS.match(one.text))]
    if not errors:
        return None
    # Frames and source lines of a traceback contain words of errors without being one.
    told = [one for one in errors if _SAYS.match(one.text) or not one.text.startswith("  ")]
    clear = [one for one in told if not _VAGUE.search(one.text)]
    formed = [one for one in clear if _SAYS.match(one.text)]
    if not told and (cut := _cut(texts)):
        return cut
    return _spoken((formed or clear or told or errors)[-1], texts)


def _cut(texts: Sequence[str]) -> Failure | None:
    """Describe a log that ends within a traceback, so that its exception is missing."""
    found = [(at, frame) for at, text in enumerate(texts) if (frame := _PYTHON.search(text))]
    if not found:
        return None
    at, frame = found[-1]
    source = texts[at + 1] if at + 1 < len(texts) else texts[at]
    fix = f"pass the log to its end, which names the exception; {look(at + 1, frame)}"
    title = "the log ends within a traceback, before its exception"
    return Failure(title, logs.parse(source).message.strip(), at + 1, fix)


def spoken(statements: Iterable[Statement], texts: Sequence[str]) -> Iterator[Failure]:
    """Return the failure in an excerpt without an error line, such as a client's or a shell's."""
    if len(texts) > _EXCERPT or any(map(_RUNS.search, texts)):
        return
    for one in sorted(statements, key=lambda one: bool(_VAGUE.search(one.text))):
        quiet = (
            not (one.loud or _SAYS.match(one.text))
            or one.text.startswith("  ")
            or logs.parse(one.text).noise
        )
        if not quiet and _SPEAKS.search(one.text) and not _ASIDE.match(one.text):
            yield _spoken(one, texts)


def _spoken(statement: Statement, texts: Sequence[str]) -> Failure:
    at = statement.line - 1
    title = "the last error of the log is not in trtbuild's table of causes"
    message = _whole(statement.text, texts, at)
    return Failure(title, message, statement.line, look(statement.line, None), _frames(texts, at))


def look(line: int, frame: re.Match[str] | None) -> str:
    """Return where to look next: the file that raised it, or the lines before it."""
    before = f"read the lines before line {line}, which show what the server was doing"
    if frame is None:
        return f"{before}; start it with --log-verbose=1 for more of them"
    path, number, function = frame["path"], frame["line"], frame["function"]
    package, backend = _PACKAGE.search(path), _OWN_BACKEND.search(path)
    if package:
        where = f"{package[1]} line {number} (in {function}) raised it"
        tracker = _TRACKERS.get(package[2])
        if tracker:
            return f"{where}; search the issues of {tracker} for the message, or try --triton YY.MM"
        return f"{where}; check the version of {package[2]} in the image"
    if backend:
        return (
            f"the {backend[1]} backend's {path} line {number} raised it: check that the image "
            "has the versions that it was written for"
        )
    return f"correct {path} line {number} (in {function}), which raised it; or {before}"


def _innermost(frames: Iterable[re.Match[str]]) -> re.Match[str] | None:
    """Return the first frame outside Python's own library."""
    return next((frame for frame in frames if not _STANDARD.search(frame["path"])), None)
