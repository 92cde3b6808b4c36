"""Messages to a prompt, by the checkpoint's own chat template."""

import json
import re

from llm_settings import read_json
from llm_template import SPECIAL_TOKENS, ChatError, CompiledTemplate, named_templates

_FILES = (
    ("default", "chat_template.jinja"),
    ("default", "additional_chat_templates/default.jinja"),
    ("tool_use", "additional_chat_templates/tool_use.jinja"),
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the escapes of one


class ChatTemplate:
    """The templates in the tokenizer's directory; there may be none until one is asked for."""

    def __init__(self, tokenizer, seconds=5.0):
        self._seconds = seconds
        self._texts = _find(tokenizer)
        self._special = {name: tokenizer.token_text(name) or "" for name in SPECIAL_TOKENS}
        self._templates = {}

    def render(self, document):
        """The prompt for JSON text: a list of messages, or an object with ``messages`` and what
        else the template knows (``tools``, ``documents``, switches of its own)."""
        variables = _variables(document)
        template = self._template("tool_use" if variables.get("tools") else "default")
        try:
            return template.render({**self._special, **variables}, self._seconds)
        except ChatError as error:
            raise ChatError(f"the chat template failed: {error}") from None

    def _template(self, name):
        """The template of that name, compiled; the default one where there is none."""
        name = name if name in self._texts else "default"
        if name not in self._texts:
            raise ChatError("this checkpoint has no chat template: send text_input")
        if name not in self._templates:
            try:
                self._templates[name] = CompiledTemplate(self._texts[name], self._seconds)
            except ChatError as error:
                raise ChatError(f"the chat template is wrong: {error}") from None
        return self._templates[name]


def _find(tokenizer):
    """Templates by name. A file replaces the one of that name in a JSON file, as it does in
    transformers 5."""
    own = read_json(tokenizer.folder / "chat_template.json")
    declared = (own.get("chat_template"), tokenizer.settings.get("chat_template"))
    files = {
        name: path.read_text(encoding="utf-8")
        for name, place in _FILES
        if (path := tokenizer.folder / place).is_file()
    }
    if "default" in files:
        return files
    return {**(named_templates(declared[0]) or named_templates(declared[1])), **files}


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
    return {key: value for key, value in given.items() if key not in SPECIAL_TOKENS}


def _is_text(value):
    """Whether all strings in JSON's ``value`` can be written; "\\ud800" alone cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
