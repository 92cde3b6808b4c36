"""Chat templates, rendered outside the server: most tensors of an LLM take text, not messages.

A template comes from a checkpoint, so it is somebody else's program: it runs in Jinja's
immutable sandbox, with a limit on its size, its output and its time.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trtbuild.errors import UsageError

_MAX_TEMPLATE = 256 * 1024
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_BITS = 4096
_SECONDS = 5.0
_REACHING = re.compile(r"__\w+__|_\w+")


class _RefusedError(TemplateError):
    """What ``raise_exception`` of a template raises."""


class _Generation(Extension):
    """``{% generation %}``: marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - an instance variable of the base class

    def parse(self, parser: Parser) -> list[Node]:
        """The nodes inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's, less products that take all memory or, as one operation of the interpreter that
    nothing interrupts, all time. Jinja would even work them out while it compiles."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``left * right`` or ``left ** right``."""
        for value, times in ((left, right), (right, left)):
            repeats = operator == "*" and isinstance(value, str | list | tuple)
            if repeats and type(times) is int and len(value) * times > _MAX_OUTPUT:
                raise _RefusedError(f"it writes more than {_MAX_OUTPUT} characters")
        if isinstance(left, int) and isinstance(right, int):
            factor = right if operator == "**" else 1
            if left.bit_length() * factor + right.bit_length() > _MAX_BITS:
                raise _RefusedError(f"it computes with numbers of more than {_MAX_BITS} bits")
        return super().call_binop(context, operator, left, right)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template and what it may refer to.

    ``adds_bos``: the tokenizer puts ``bos_token`` first by itself, so a prompt must not.
    """

    text: str
    special_tokens: Mapping[str, str]
    adds_bos: bool = False


FILES = ("tokenizer_config.json", "chat_template.jinja", "chat_template.json", "tokenizer.json")
"""Where a checkpoint says how to chat."""


def find_template(folder: Path, *, tools: bool = False) -> ChatTemplate:
    """The chat template of a checkpoint directory, with ``tools`` the one for them.

    Raises:
        UsageError: there is none.
    """
    files = {}
    for name in FILES:
        with contextlib.suppress(OSError):
            files[name] = (folder / name).read_bytes()
    found = template_in(files, tools=tools)
    if found is None:
        raise UsageError(
            "this checkpoint has no chat template",
            where=str(folder),
            fix="give one with --chat-template FILE, or send plain text without --chat",
        )
    return found


def own_template(text: str, folder: Path | None) -> ChatTemplate:
    """``text`` as a chat template, with the special tokens of the checkpoint in ``folder``."""
    if folder is None:
        return ChatTemplate(text, {})
    files = {"chat_template.jinja": text.encode()}
    for name in ("tokenizer_config.json", "tokenizer.json"):
        with contextlib.suppress(OSError):
            files[name] = (folder / name).read_bytes()
    return template_in(files) or ChatTemplate(text, {})


def template_in(files: Mapping[str, bytes], *, tools: bool = False) -> ChatTemplate | None:
    """The chat template among the :data:`FILES` of a checkpoint, by name; None without one.

    Looks at ``chat_template.jinja``, ``chat_template.json``, then ``tokenizer_config.json``.
    """
    settings = _json(files.get("tokenizer_config.json"))
    special = special_tokens(settings)
    adds_bos = _adds_bos(files.get("tokenizer.json"), settings, special)
    if (own := files.get("chat_template.jinja")) is not None:
        return ChatTemplate(own.decode("utf-8", "replace"), special, adds_bos)
    for found in (_json(files.get("chat_template.json")), settings):
        if template := default_template(found.get("chat_template"), tools=tools):
            return ChatTemplate(template, special, adds_bos)
    return None


def default_template(declared: object, *, tools: bool = False) -> str:
    """The template among what a ``chat_template`` may be: a text, or several with names, of which
    ``default`` is the one, and ``tool_use`` with tools; empty without one."""
    if isinstance(declared, str):
        return declared
    named = declared if isinstance(declared, dict) else {}
    if isinstance(declared, list):
        items = [item for item in declared if isinstance(item, dict)]
        named = {item.get("name"): item.get("template") for item in items}
    texts = {name: text for name, text in named.items() if isinstance(text, str)}
    special = texts.get("tool_use") if tools else None
    return str(special or texts.get("default") or next(iter(texts.values()), ""))


def render_chat(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    *,
    answer: bool = True,
    tools: Sequence[Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """The prompt for ``messages`` (``role`` and ``content``), ready for the answer.

    Without ``answer`` it ends where the last message does. ``variables`` are more that the
    template may read, such as ``enable_thinking``.

    Raises:
        UsageError: a template that is too large, wrong, too slow, or refuses the messages.
    """
    if len(template.text) > _MAX_TEMPLATE:
        raise _wrong(f"it has {len(template.text)} characters, more than {_MAX_TEMPLATE}")
    result: list[str | Exception] = []
    # transformers gives them all, and templates test "tools is not none".
    given = {
        "messages": list(messages),
        "add_generation_prompt": answer,
        "tools": list(tools) if tools else None,
        "documents": None,
        **template.special_tokens,
        **(variables or {}),
    }
    worker = threading.Thread(
        target=_render, args=(template.text, given, result), name="chat-template", daemon=True
    )
    worker.start()
    worker.join(seconds)
    if not result:
        _end(worker)
        raise _wrong(f"it did not end within {seconds:g} s")
    if isinstance(result[0], Exception):
        raise _wrong(str(result[0]) or type(result[0]).__name__)
    bos = template.special_tokens.get("bos_token", "")
    return result[0].removeprefix(bos) if template.adds_bos else result[0]


def reached_attributes(text: str) -> tuple[str, ...]:
    """The attributes with a leading underscore that a template reads, as one does that wants out.

    Nothing for a template that cannot be parsed.
    """
    environment = ImmutableSandboxedEnvironment(extensions=[loopcontrols, _Generation])
    try:
        tree = environment.parse(text)
    except (TemplateError, RecursionError):
        return ()
    names = [node.attr for node in tree.find_all(nodes.Getattr)]
    names += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    return tuple(dict.fromkeys(name for name in names if _REACHING.fullmatch(name)))


def _render(text: str, given: Mapping[str, Any], result: list[str | Exception]) -> None:
    try:
        environment = _Sandbox(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        made = environment.from_string(text)
        pieces: list[str] = []
        size = 0
        for piece in made.generate(given):
            size += len(piece)
            if size > _MAX_OUTPUT:
                raise _RefusedError(f"it writes more than {_MAX_OUTPUT} characters")
            pieces.append(piece)
        result.append("".join(pieces))
    except Exception as error:
        result.append(error)


def _end(thread: threading.Thread) -> None:
    """Raise an error in ``thread``, or its loop would take a core for ever."""
    import ctypes  # here, because templates that end never need it

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_RefusedError)
    )


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
    raise _RefusedError(message)


def _wrong(reason: str) -> UsageError:
    return UsageError(
        "the chat template cannot be used",
        where=reason,
        fix="give another with --chat-template FILE, or send plain text without --chat",
    )


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens' text by role, from a ``tokenizer_config.json``."""
    found = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = settings.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            found[name] = value
    return found


def _adds_bos(
    tokenizer: bytes | None, settings: Mapping[str, Any], special: Mapping[str, str]
) -> bool:
    bos = special.get("bos_token")
    if not bos:
        return False
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    processor = _json(tokenizer).get("post_processor")
    return json.dumps(bos) in json.dumps(processor)
