"""A checkpoint's chat template, rendered without trusting it.

A template is somebody else's program: it runs in Jinja's immutable sandbox, with a limit on its
size, its output and its time. This file is also copied into model repositories, where it runs
inside Triton, so it imports Jinja and the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from jinja2 import Template
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
"""The special tokens that a template may read."""

_MAX_TEMPLATE = 256 * 1024
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_BITS = 4096
_POLL_SECONDS = 0.02
_T = TypeVar("_T")  # the type parameters of functions came with Python 3.12


class ChatError(Exception):
    """A template, or messages for one, that cannot be used; the text says why."""


class CompiledTemplate:
    """A template, ready to render any number of chats from any number of threads.

    Raises:
        ChatError: The text is too long, or is not a Jinja template.
    """

    def __init__(self, text: str, seconds: float = 5.0) -> None:
        if len(text) > _MAX_TEMPLATE:
            raise ChatError(f"it has {len(text)} characters, more than {_MAX_TEMPLATE}")
        self._template: Template = _guarded(lambda: _environment().from_string(text), seconds)

    def render(self, variables: Mapping[str, Any], seconds: float = 5.0) -> str:
        """The prompt.

        Raises:
            ChatError: The template refuses the messages, fails, or does not end in ``seconds``.
        """
        # transformers sets these, and templates test "tools is not none".
        known = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        return _guarded(lambda: _joined(self._template, known), seconds)


def named_templates(declared: object) -> dict[str, str]:
    """The templates in a ``chat_template`` field by name: ``default``, and ``tool_use`` for chats
    with tools where there is one. The field is one text, or several with names."""
    if isinstance(declared, str):
        return {"default": declared} if declared else {}
    named = declared if isinstance(declared, dict) else {}
    if isinstance(declared, list):
        items = [item for item in declared if isinstance(item, dict)]
        named = {item.get("name"): item.get("template") for item in items}
    texts = {str(name): text for name, text in named.items() if isinstance(text, str)}
    return {"default": next(iter(texts.values())), **texts} if texts else {}


class GenerationTag(Extension):
    """``{% generation %}``: marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - an instance variable of the base class

    def parse(self, parser: Parser) -> list[Node]:
        """The nodes inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's, less products that take all memory or, as one operation of the interpreter that
    nothing interrupts, all time. Jinja would even compute them while it compiles."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``left * right`` or ``left ** right``."""
        for value, times in ((left, right), (right, left)):
            repeats = operator == "*" and isinstance(value, (str, list, tuple))
            if repeats and type(times) is int and len(value) * times > _MAX_OUTPUT:
                raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
        if isinstance(left, int) and isinstance(right, int):
            factor = right if operator == "**" else 1
            if left.bit_length() * factor + right.bit_length() > _MAX_BITS:
                raise ChatError(f"it computes with numbers of more than {_MAX_BITS} bits")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _joined(template: Template, variables: Mapping[str, Any]) -> str:
    chunks: list[str] = []
    size = 0
    for chunk in template.generate(variables):
        size += len(chunk)
        if size > _MAX_OUTPUT:
            raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
        chunks.append(chunk)
    return "".join(chunks)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # As transformers does: no HTML escapes inside a prompt.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise ChatError(message)


class _TimeoutError(BaseException):
    """Raised by the watchdog inside a template; ``except Exception`` does not catch it."""


class _Deadline:
    """When a thread must have ended its template.

    ``claim`` holds one item. The template takes it when it ends, the watchdog when time is up;
    popping is atomic, so only one of them gets it and no exception arrives too late.
    """

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.at = time.monotonic() + seconds
        self.claim = [True]

    def end(self) -> None:
        """Take the claim; where the watchdog was faster, wait for its exception."""
        try:
            self.claim.pop()
        except IndexError:
            for _ in range(1000):
                time.sleep(0.001)

    def enforce(self) -> None:
        """Raise an error in the thread; its loop would occupy a core for ever."""
        try:
            self.claim.pop()
        except IndexError:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread), ctypes.py_object(_TimeoutError)
        )


class _Watchdog:
    """One thread for all templates; it sleeps while none is being rendered."""

    def __init__(self) -> None:
        self._running: set[_Deadline] = set()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, deadline: _Deadline) -> None:
        """Watch it, from now on."""
        thread = self._thread
        if thread is None or not thread.is_alive():  # a fork does not copy threads
            self._start()
        self._running.add(deadline)
        if not self._wake.is_set():
            self._wake.set()

    def remove(self, deadline: _Deadline) -> None:
        """Forget it."""
        self._running.discard(deadline)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._running, self._wake = set(), threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, name="chat-template-watchdog", daemon=True
                )
                self._thread.start()

    def _watch(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()  # before the look at what runs: add() does both the other way round
            while self._running:
                time.sleep(_POLL_SECONDS)
                now = time.monotonic()
                for deadline in [item for item in self._running.copy() if item.at < now]:
                    deadline.enforce()


_watchdog = _Watchdog()


def _guarded(work: Callable[[], _T], seconds: float) -> _T:
    """The result of ``work``, run in this thread for at most ``seconds``; ChatError otherwise."""
    deadline = _Deadline(seconds)
    try:
        try:
            _watchdog.add(deadline)
            result = work()
        except _TimeoutError:
            raise
        except BaseException:
            deadline.end()
            raise
        deadline.end()
        return result
    except _TimeoutError:
        raise ChatError(f"it did not end within {seconds:g} s") from None
    except ChatError:
        raise
    except Exception as error:
        raise ChatError(str(error) or type(error).__name__) from None
    finally:
        _watchdog.remove(deadline)
