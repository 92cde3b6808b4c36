"""Messages to a prompt, by the checkpoint's own chat template.

A template is a program that came with the checkpoint: it runs in Jinja's immutable sandbox with
limits on its size, its output and its time.
"""

import ctypes
import json
import re
import threading
from datetime import datetime

from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from llm_settings import read_json

_MAX_TEMPLATE = 256 * 1024
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_BITS = 4096
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the escapes of one
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


class ChatError(Exception):
    """Messages or a template that cannot be used; the client is told this text."""


class _Generation(Extension):
    """``{% generation %}`` marks words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - an instance variable of the base class

    def parse(self, parser):
        """The nodes inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's, less products that take all memory or, as one operation of the interpreter that
    nothing interrupts, all time. Jinja would even work them out while it compiles."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context, operator, left, right):
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


class ChatTemplate:
    """The templates of the tokenizer's folder; there may be none until one is asked for."""

    def __init__(self, tokenizer, seconds=5.0):
        self._seconds = seconds
        self._texts = _find(tokenizer)
        self._special = {name: tokenizer.token_text(name) or "" for name in _SPECIAL}
        self._templates = {}

    def render(self, document):
        """The prompt for JSON text: a list of messages, or an object with ``messages`` and what
        else the template knows (``tools``, ``documents``, switches of its own)."""
        given = _variables(document)
        template = self._template("tool_use" if given["tools"] else "default")
        result = []
        worker = threading.Thread(target=self._run, args=(template, given, result), daemon=True)
        worker.start()
        worker.join(self._seconds)
        if not result:
            _end(worker)
            raise ChatError(f"the chat template did not end within {self._seconds:g} s")
        if isinstance(result[0], Exception):
            what = str(result[0]) or type(result[0]).__name__
            raise ChatError(f"the chat template refuses: {what}")
        return result[0]

    def _template(self, name):
        """The template of that name, compiled; the default one where there is none."""
        name = name if name in self._texts else "default"
        if name not in self._templates:
            self._templates[name] = self._compile(self._texts.get(name))
        return self._templates[name]

    def _compile(self, text):
        if text is None:
            raise ChatError("this checkpoint has no chat template: send text_input")
        if len(text) > _MAX_TEMPLATE:
            raise ChatError(f"the chat template has {len(text)} characters, too many")
        environment = _Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(text)
        except Exception as error:
            raise ChatError(f"the chat template is wrong: {error}") from None

    def _run(self, template, given, result):
        try:
            pieces, size = [], 0
            for piece in template.generate(**self._special, **given):
                size += len(piece)
                if size > _MAX_OUTPUT:
                    raise ChatError(f"it writes more than {_MAX_OUTPUT} characters")
                pieces.append(piece)
            result.append("".join(pieces))
        except Exception as error:
            result.append(error)


def _end(thread):
    """Raise an error in ``thread``, or its loop would take a core for ever."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(ChatError)
    )


def _find(tokenizer):
    """Templates by name: ``default``, and ``tool_use`` for chats with tools where there is one."""
    file = tokenizer.folder / "chat_template.jinja"
    if file.is_file():
        return {"default": file.read_text(encoding="utf-8")}
    for found in (read_json(tokenizer.folder / "chat_template.json"), tokenizer.settings):
        template = found.get("chat_template")
        if isinstance(template, str):
            return {"default": template}
        named = _named(template)
        if named:
            return {"default": next(iter(named.values())), **named}
    return {}


def _named(template):
    """Templates of a list of objects, or of an object; what is neither is passed over."""
    if isinstance(template, dict):
        template = [{"name": name, "template": text} for name, text in template.items()]
    items = [item for item in template or () if isinstance(item, dict)]
    named = {item.get("name"): item.get("template") for item in items}
    return {name: text for name, text in named.items() if isinstance(text, str)}


def _variables(document):
    try:
        given = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"'messages' is not valid JSON: {error}") from None
    if _SURROGATE.search(document) and not _is_text(given):
        raise ChatError("'messages' has half of a surrogate pair (\\ud800 to \\udfff) for text")
    given = {"messages": given} if isinstance(given, list) else given
    messages = given.get("messages") if isinstance(given, dict) else None
    if not isinstance(messages, list) or not messages:
        raise ChatError("'messages' must be a list of messages, or an object that has one")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ChatError("each of 'messages' must be an object with a 'role'")
    given = {key: value for key, value in given.items() if key not in _SPECIAL}
    # As transformers does, whose templates test "tools is not none".
    return {"tools": None, "documents": None, "add_generation_prompt": True, **given}


def _is_text(value):
    """Whether all strings in JSON's ``value`` can be written; "\\ud800" alone cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    # As transformers does: no HTML escapes inside a prompt.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message):
    raise ChatError(message)
