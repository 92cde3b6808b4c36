"""What is said of a failure that no row of the table knows: its sentence, and where to look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trtbuild.explain.statements import Statement
from trtbuild.server import logs

_TRACEBACK = "Traceback (most recent call last)"
_PYTHON = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
# Triton's Python backend lists the innermost frame first: /path/file.py(12): function
_BACKEND = re.compile(r"(?P<path>/\S+\.py)\((?P<line>\d+)\): (?P<function>\w+)")
_PACKAGE = re.compile(r"/(?:site|dist)-packages/((\w+)/.+)")
_OWN_BACKEND = re.compile(r"/backends/(\w+)/")
_STANDARD = re.compile(r"/lib/python3\.\d+/(?!site-packages|dist-packages)|<frozen")
_BARE = re.compile(r"\s*((?:\w+\.)*[A-Z]\w*(?:Error|Exception))\s*")
_SAYS = re.compile(
    r"\s*(?:[Ee]rror: |\[?ERROR\b|\[E\]|what\(\): |[Ff]atal\b|FATAL\b|docker: |panic: "
    r"|Error response from daemon: |terminate called |(?:\w+\.)*[A-Z]\w*(?:Error|Exception) ?: \S"
    r"|.*\b(?:InferenceServerException|ERROR): )"
)
_OPEN = re.compile(r":$|validation errors? for ")
# Where the maintainers of what raised it are told of it.
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
    """The sentence of a failure, the line it stands in, and what to do about it."""

    title: str
    message: str
    line: int
    fix: str


def raised(texts: Sequence[str]) -> Failure | None:
    """The exception of a traceback, with the file that raised it."""
    cause = logs.root_exception(texts)
    at = next((number for number, text in enumerate(texts) if cause and cause in text), -1)
    if at < 0:
        return _wordless(texts)
    frames = [found for text in texts[max(0, at - 60) : at] if (found := _PYTHON.search(text))]
    message = cause
    if _OPEN.search(cause) and at + 1 < len(texts):
        message = f"{cause} {texts[at + 1].strip()}"
    name = cause.partition(":")[0]
    return Failure(
        f"{name}, which is not in trtbuild's table of causes",
        message, at + 1, look(at + 1, _innermost(reversed(frames))),
    )  # fmt: skip


def _wordless(texts: Sequence[str]) -> Failure | None:
    """An exception without a message: the line of source that raised it says the most."""
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
    """Whether Python printed one, or a part of it is here."""
    return any(_TRACEBACK in text or _PYTHON.search(text) for text in texts)


def refused(statement: Statement) -> Failure:
    """The server's own word on a model."""
    frames = _BACKEND.finditer(statement.text)
    return Failure(
        "the model was refused; the server's message is not in trtbuild's table of causes",
        statement.text, statement.line, look(statement.line, _innermost(frames)),
    )  # fmt: skip


def said(statements: Sequence[Statement]) -> Failure | None:
    """The last error of a log that has neither a traceback nor a refused model."""
    errors = [one for one in statements if one.error or (one.loud and _SAYS.match(one.text))]
    if not errors:
        return None
    # A traceback's frames and lines of source have words of errors, and tell nothing.
    told = [one for one in errors if _SAYS.match(one.text) or not one.text.startswith("  ")]
    last = (told or errors)[-1]
    title = "the last error of the log is not in trtbuild's table of causes"
    return Failure(title, last.text, last.line, look(last.line, None))


def look(line: int, frame: re.Match[str] | None) -> str:
    """Where to look next: the file that raised it, or the lines before it."""
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
    """The first frame that is not of Python's own library."""
    return next((frame for frame in frames if not _STANDARD.search(frame["path"])), None)
