"""A checkpoint's chat template, rendered without trusting it.

A template is somebody else's program: it runs in Jinja's immutable sandbox, with a limit on its
size, its output, its time, and the text that it makes on the way to the output. This file and
``llm_watchdog.py`` are also copied into model repositories, where they run inside Triton, so they
import Jinja and the standard library alone.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from jinja2 import Template, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

if __package__:
    from trtbuild.chat.llm_watchdog import within
else:  # a copy in a model's directory
    from llm_watchdog import within  # type: ignore[import-not-found, no-redef]

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
"""The special tokens that a template may read."""

_MAX_TEMPLATE = 256 * 1024
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_MADE = 64 * _MAX_OUTPUT
_MAX_BITS = 4096
_WIDE = re.compile(r"\d{7}")
_NESTED = re.compile(r"\{[^{}]*\{")
_WIDTHS = ("center", "ljust", "rjust", "zfill", "batch", "slice", "tojson")
_LISTED = ("join", "sum")
_TEXTUAL = ("string", "pprint", "escape", "e", "forceescape", "urlize", "xmlattr", "replace")
_T = TypeVar("_T")  # the type parameters of functions came with Python 3.12


class ChatError(Exception):
    """A template, or messages for one, that cannot be used; the text says why."""


class CompiledTemplate:
    """A template, ready to render any number of chats from any number of threads.

    Args:
        text: The template.
        seconds: Time to compile it.
        longest: Most characters that it may have.
        settings: Of the Jinja environment, in place of those for chat templates; a ``finalize``
            calls :func:`finalized`.

    Raises:
        ChatError: The text is too long, or is not a Jinja template.
    """

    def __init__(
        self, text: str, seconds: float = 5.0, longest: int = _MAX_TEMPLATE, **settings: Any
    ) -> None:
        if len(text) > longest:
            raise ChatError(f"it has {len(text)} characters, more than {longest}")
        sandbox = environment(**settings)
        self._template: Template = _guarded(lambda: sandbox.from_string(text), seconds)

    def render(self, variables: Mapping[str, Any], seconds: float = 5.0) -> str:
        """The prompt.

        Raises:
            ChatError: The template refuses the messages, fails, or does not end in ``seconds``.
        """
        # transformers sets these, and templates test "tools is not none".
        known = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        return _guarded(lambda: _limited(self._template.generate(known)), seconds)


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


class _Budget(threading.local):
    """Characters that the rendering in this thread may still make on its way to the prompt."""

    left = 0


_budget = _Budget()


def _spend(size: int) -> None:
    """Count what an operation is about to make, or has made of something as large."""
    if size > _MAX_OUTPUT:
        raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
    _budget.left -= size
    if _budget.left < 0:
        raise ChatError(f"it makes more than {_MAX_MADE} characters on the way")


def _size(value: object) -> int:
    """Memory of one value in characters, without what a container holds."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return 16 * len(value) if isinstance(value, (list, tuple, dict)) else 0


def _weight(value: object) -> int:
    """About the length of a value as text; ChatError as soon as it is too long.

    A list may hold the same list twice, and that one another twice, and so on: as text it has
    no end.
    """
    total, left = 0, [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, (list, tuple)):
            left += item
        else:
            total += len(item) + 2 if isinstance(item, (str, bytes)) else 2
            continue
        total += 16  # more than its brackets, so that this ends soon where it must
        if total + len(left) > _MAX_OUTPUT:
            raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
    return total


def finalized(value: Any) -> Any:
    """What is written, or joined with ``~``, becomes text next."""
    if isinstance(value, (list, tuple, dict)):
        _spend(_weight(value))
    return value


def _concat(chunks: Iterable[str]) -> str:
    chunks = list(chunks)
    _spend(sum(map(len, chunks)))
    return "".join(chunks)


class _Generator(CodeGenerator):
    """Jinja's; two operations that it would write as plain Python go through the sandbox."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        """``a ~ b``."""
        self.write("environment.concat([str(environment.finalize(value)) for value in (")
        for arg in node.nodes:
            self.visit(arg, frame)
            self.write(", ")
        self.write(")])")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        """``a[b:c]``."""
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.counted(")
        super().visit_Getitem(node, frame)
        self.write(")")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's, less what takes all memory or, as one operation of the interpreter that nothing
    interrupts, all time. Jinja would even compute some of it while it compiles."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator
    concat = staticmethod(_concat)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``left * right``, ``left ** right``, ``left % right`` or ``left + right``."""
        for value, times in ((left, right), (right, left)):
            repeats = operator == "*" and isinstance(value, (str, bytes, list, tuple))
            if repeats and isinstance(times, int) and len(value) * times > _MAX_OUTPUT:
                raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
        if isinstance(left, int) and isinstance(right, int):
            factor = right if operator == "**" else 1
            if left.bit_length() * factor + right.bit_length() > _MAX_BITS:
                raise ChatError(f"it computes with numbers of more than {_MAX_BITS} bits")
        if operator == "%" and isinstance(left, (str, bytes)):
            _check_format(str(left), "%", right)
        return self.counted(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: Any, /, *args: Any, **values: Any) -> Any:
        """Call a method or a function."""
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, (str, bytes)):
            args = _checked(name, owner, args, values)
        elif isinstance(owner, int) and name == "to_bytes":
            raise ChatError("it calls to_bytes, which no chat template needs")
        return self.counted(super().call(context, function, *args, **values))

    def counted(self, value: Any) -> Any:
        """``value``, whose memory counts."""
        _spend(_size(value))
        return value


def _checked(name: str, value: Any, args: tuple[Any, ...], values: Mapping[str, Any]) -> Any:
    """The arguments of a filter, or of a method of a text; ChatError if it makes too much."""
    given = (*args, *values.values())
    numbers = [abs(item) for item in given if isinstance(item, int)]
    widest = max(numbers, default=0)
    if name == "translate":
        raise ChatError("it calls translate, which no chat template needs")
    if name in ("format", "format_map"):
        _check_format(str(value), "{" if "{" in str(value) else "%", given)
    elif name == "join" and isinstance(value, (str, bytes)) and args:
        parts = list(args[0])
        _spend(_weight(parts) + len(value) * len(parts))
        return (parts, *args[1:])
    elif name == "replace" and len(given) > 1:
        old, new = str(given[0]), str(given[1])
        _spend(len(str(value)) + str(value).count(old) * len(new))
    elif name in ("indent", "expandtabs", "wordwrap"):
        sign = {"expandtabs": "\t", "wordwrap": ""}.get(name, "\n")  # "": between all characters
        lines = str(value).count(sign) + 1
        longest = max([widest, *(len(item) for item in given if isinstance(item, str))])
        _spend(len(str(value)) + lines * longest)
    elif name in _WIDTHS and widest > _MAX_OUTPUT:
        raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
    return args


def _check_format(text: str, sign: str, values: Any) -> None:
    """ChatError for a width of millions, written or given, and for too much text."""
    fields = text.count(sign)
    found = _WIDE.search(text) if fields else None
    nested = "*" in text if sign == "%" else _NESTED.search(text)
    listed = values if isinstance(values, tuple) else (values,)
    given = nested and any(isinstance(item, int) and abs(item) > 10_000 for item in listed)
    if found or given:
        raise ChatError("it formats a value wider than a million characters")
    _spend(len(text) + fields * (_weight(values) + (10_000 if nested else 0)))


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses to make too much. With the context as an argument it is not called
    while the template compiles."""
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    @pass_context
    def bounded(context: Context, value: Any = "", /, *args: Any, **values: Any) -> Any:
        if name in _LISTED:  # what maps and selects is consumed by looking at it
            value = list(value)
            separator = next((item for item in (*args, *values.values()) if item), "")
            _spend(_weight(value) + len(value) * len(str(finalized(separator))))
            if name == "sum":
                _spend(len(value) * max(map(_size, value), default=0))
        elif name in _TEXTUAL:
            _spend(_weight(value))
        args = _checked(name, value, args, values)
        first = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }.get(wants, ())
        result = function(*first, value, *args, **values)
        _spend(_size(result))
        return result

    return bounded


def environment(**settings: Any) -> _Sandbox:
    """Return the environment of templates, with other settings of Jinja than for chats."""
    chats = {"trim_blocks": True, "lstrip_blocks": True, "finalize": finalized}
    made = _Sandbox(extensions=[loopcontrols, GenerationTag], **{**chats, **settings})
    made.filters["tojson"] = _tojson
    filters = made.filters.items()
    made.filters = {name: _bounded(name, function) for name, function in filters}
    del made.globals["lipsum"]
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def _limited(made: Iterable[str]) -> str:
    chunks: list[str] = []
    size = 0
    for chunk in made:
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
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    _spend(_weight(value))
    return encoder.encode(value) if indent is None else _limited(encoder.iterencode(value))


def _raise(message: str) -> NoReturn:
    raise ChatError(message)


def _guarded(work: Callable[[], _T], seconds: float) -> _T:
    """The result of ``work``, which may take so long and make so much; ChatError otherwise."""

    def counted() -> _T:
        _budget.left = _MAX_MADE
        return work()

    try:
        return within(seconds, counted)
    except ChatError:
        raise
    except Exception as error:
        raise ChatError(str(error) or type(error).__name__) from None
