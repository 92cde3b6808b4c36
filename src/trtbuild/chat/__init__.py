"""Chat templates, rendered outside the server: most LLM backends take text, not messages.

:mod:`trtbuild.chat.llm_template` does the rendering; this package finds the template in a
checkpoint. A gateway can import it: its only large import is Jinja.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trtbuild.chat.llm_template import (
    SPECIAL_TOKENS,
    ChatError,
    CompiledTemplate,
    named_templates,
)
from trtbuild.errors import UsageError

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template and its special tokens.

    ``adds_bos``: the tokenizer itself prepends ``bos_token``, so a prompt must not contain it.
    """

    text: str
    special_tokens: Mapping[str, str]
    adds_bos: bool = False


_TOOLS = "additional_chat_templates/tool_use.jinja"
_DEFAULT = ("additional_chat_templates/default.jinja", "chat_template.jinja")
FILES = (
    _TOOLS, *_DEFAULT, "chat_template.json", "tokenizer_config.json", "special_tokens_map.json",
    "tokenizer.json",
)  # fmt: skip
"""Where a checkpoint says how to chat."""


def find_template(folder: Path, *, tools: bool = False) -> ChatTemplate:
    """Return the chat template of a checkpoint directory, for ``tools`` if there is one.

    Raises:
        UsageError: there is none.
    """
    found = template_in(_files(folder), tools=tools)
    if found is None:
        raise UsageError(
            "this checkpoint has no chat template",
            where=str(folder),
            fix="give one with --chat-template FILE, or send plain text without --chat",
        )
    return found


def own_template(text: str, folder: Path | None) -> ChatTemplate:
    """Return ``text`` as a chat template, with the checkpoint's special tokens (``folder``)."""
    files = _files(folder) if folder else {}
    return template_in({**files, _DEFAULT[0]: text.encode()}) or ChatTemplate(text, {})


def _files(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in FILES:
        with contextlib.suppress(OSError):
            files[name] = (folder / name).read_bytes()
    return files


def template_in(files: Mapping[str, bytes], *, tools: bool = False) -> ChatTemplate | None:
    """Return the chat template from the :data:`FILES` of a checkpoint, or None.

    Looks at files of their own (with ``tools``, ``tool_use.jinja`` before the default), then at
    ``chat_template.json`` and ``tokenizer_config.json``, as transformers 5 does.
    """
    settings = _json(files.get("tokenizer_config.json"))
    older = (
        {} if "added_tokens_decoder" in settings else _json(files.get("special_tokens_map.json"))
    )
    special = special_tokens({**settings, **older})  # as transformers does before 4.34's format
    adds_bos = _adds_bos(files.get("tokenizer.json"), settings, special)
    places = (_TOOLS, *_DEFAULT) if tools else _DEFAULT
    if (own := next((files[name] for name in places if name in files), None)) is not None:
        return ChatTemplate(own.decode("utf-8", "replace"), special, adds_bos)
    for found in (_json(files.get("chat_template.json")), settings):
        named = named_templates(found.get("chat_template"))
        if template := named.get("tool_use" if tools else "default") or named.get("default"):
            return ChatTemplate(template, special, adds_bos)
    return None


def render_chat(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    *,
    answer: bool = True,
    tools: Sequence[Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """Return the prompt for ``messages`` (``role`` and ``content``), ready for the answer.

    Without ``answer`` it ends with the last message. ``variables`` are extra variables that the
    template may read, such as ``enable_thinking``.

    Raises:
        UsageError: the template is too large, invalid, too slow, or refuses the messages.
    """
    known = {
        "messages": list(messages),
        "add_generation_prompt": answer,
        "tools": list(tools) if tools else None,
        **template.special_tokens,
        **(variables or {}),
    }
    try:
        prompt = _compiled(template.text, seconds).render(known, seconds)
    except ChatError as error:
        raise UsageError(
            "the chat template cannot be used",
            where=str(error),
            fix="give another with --chat-template FILE, or send plain text without --chat",
        ) from None
    bos = template.special_tokens.get("bos_token", "")
    return prompt.removeprefix(bos) if template.adds_bos else prompt


@lru_cache(maxsize=32)
def _compiled(text: str, seconds: float) -> CompiledTemplate:
    """Return the compiled template, cached because compiling takes as long as 100 renderings."""
    return CompiledTemplate(text, seconds)


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens' text by role, from a ``tokenizer_config.json``."""
    found = {}
    for name in SPECIAL_TOKENS:
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
