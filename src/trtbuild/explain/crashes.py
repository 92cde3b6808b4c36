"""A server that a signal killed: the library and function that crashed.

Triton prints ``Signal (11) received.`` and the stack frames; Open MPI and Python have their own
formats. Frames of the C library and of the server are in every crash, so the first frame of another
library shows what crashed.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

_SIGNAL = re.compile(
    r"Signal \((?P<triton>\d+)\) received|\*\*\* Process received signal|"
    r"Fatal Python error: (?P<python>Segmentation fault|Aborted|Bus error|Illegal instruction)|"
    r"(?P<vllm>Segfault encountered)|received signal (?P<gdb>SIG\w+)|"
    r"(?P<shell>Aborted) +\(core dumped\)"
)
_SIGNAL_WORDS = ("ignal", "Fatal Python", "Segfault", "core dumped")  # fast pre-check
_MPI = re.compile(r"Signal: [\w ]+\((?P<number>\d+)\)")
_NAMES = {
    4: "illegal instruction", 6: "abort", 7: "bus error", 8: "arithmetic error",
    11: "segmentation fault",
}  # fmt: skip
_PYTHON = {"Segmentation fault": 11, "Aborted": 6, "Bus error": 7, "Illegal instruction": 4}
_FRAME = re.compile(
    r"^\s*(?:\[[\w.:-]+\] )?(?:frame )?[#\[]?\s*(?P<number>\d{1,3})[#:\]]*\s+(?P<what>\S.*)$"
)
_LIBRARY = re.compile(  # the last library or Triton program in the line
    r".*(?<![\w.+-])([\w.+-]+\.so[\d.]*|triton\w+(?=\(\+0x)|tritonserver)\b"
)
_FUNCTION = re.compile(
    r"^(?:0x[0-9a-f]+ in (?=\S+ ?\())?(?!0x)(?P<name>[A-Za-z_~][\w:~]*(?:<[^()]*>)?[\w:~]*)"
    r"(?: ?\(.*\))?(?: in | at |\s*\+|$)"
)
# In every stack.
_C_LIBRARY = re.compile(r"lib(?:c|m|pthread|stdc\+\+|gcc_s|dl)[-.]|ld-linux")
_SERVER = re.compile(r"(?:lib)?tritonserver")
_HANDLERS = re.compile(r"SignalHandler|^(?:g?signal|raise|abort|clone\d?|start_thread|killpg)\b")
_PYTHON_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_FRAMES = 80
_WHAT = re.compile(r"what\(\):\s*(.+)")


def crash(texts: Sequence[str], at: int) -> str:
    """Return a sentence about the crash that starts at line ``at``; ``""`` without one.

    The sentence is ``Signal (N) received: NAME in LIBRARY, in FUNCTION``, as far as known; for an
    abort it ends with the message of the C++ exception before it.
    """
    text = texts[at]
    found = _SIGNAL.search(text) if any(word in text for word in _SIGNAL_WORDS) else None
    if found is None:
        return ""
    after = texts[at + 1 : at + 1 + _FRAMES]
    number = _number(found, after)
    if number not in _NAMES:
        return ""  # a normal shutdown, not a crash
    said = f"Signal ({number}) received: {_NAMES[number]}"
    place = _place(after)
    if place:
        said = f"{said} in {place}"
    why = _exception(texts, at) if number == 6 else ""
    if why:
        said = f"{said}; what(): {why}"
    return "" if found["shell"] and not why else said  # the shell's message has no stack


def _number(match: re.Match[str], after: Sequence[str]) -> int:
    if match["triton"]:
        return int(match["triton"])
    if match["python"]:
        return _PYTHON[match["python"]]
    if match["gdb"]:
        return getattr(signal, match["gdb"], signal.SIGTERM).value
    if match["vllm"]:
        return 11
    if match["shell"]:
        return 6
    mpi = next(filter(None, map(_MPI.search, after[:4])), None)
    return int(mpi["number"]) if mpi else 11


def _place(after: Sequence[str]) -> str:
    """Return ``LIBRARY, in FUNCTION`` of the innermost relevant frame, or Python's line."""
    frames = sorted((int(one["number"]), one["what"]) for one in map(_FRAME.match, after) if one)
    library = server = function = ""
    for _, what in frames:
        found = _LIBRARY.match(what)
        name = found[1] if found else ""
        if _C_LIBRARY.match(name):
            continue
        server = server or ("tritonserver" if _SERVER.match(name) else "")
        library = library or ("" if _SERVER.match(name) else name)
        called = _FUNCTION.match(what)
        if not function and called and not _HANDLERS.search(what):
            function = called["name"]
    if library or server:
        return f"{library or server}, in {function}" if function else library or server
    python = next(filter(None, map(_PYTHON_FRAME.search, after)), None)
    return function or (f"{python[1]} line {python[2]}" if python else "")


def _exception(texts: Sequence[str], at: int) -> str:
    for text in reversed(texts[max(0, at - 40) : at]):
        if found := _WHAT.search(text):
            return found[1].strip()
    return ""
