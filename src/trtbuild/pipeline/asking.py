"""What ``infer`` sends: messages in the model's chat template, and the checkpoint's sampling."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trtbuild.client import (
    ChatTemplate,
    Sampling,
    find_template,
    own_template,
    render_chat,
)
from trtbuild.errors import UsageError
from trtbuild.repository import served_model
from trtbuild.server_records import find_server
from trtbuild.signature import ServedModel

Message = Mapping[str, Any]

# The keys that vLLM's own server reads from generation_config.json, with their types.
_DEFAULTS: Mapping[str, type] = {
    "temperature": float, "top_p": float, "top_k": int, "min_p": float,
    "repetition_penalty": float, "presence_penalty": float, "frequency_penalty": float,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chat:
    """Renders messages into a prompt.

    Attributes:
        template: The checkpoint's template, or that of a file.
        tools: Functions that the model may call, as OpenAI's ``tools`` describes them.
        variables: More variables for the template, such as ``enable_thinking``.
    """

    template: ChatTemplate
    tools: Sequence[Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the prompt for the model."""
        return render_chat(self.template, messages, tools=self.tools, variables=self.variables)


def open_chat(
    name: str,
    *,
    template: Path | None = None,
    tools: Path | None = None,
    variables: str = "",
) -> Chat:
    """Return the chat of a served model.

    Args:
        name: The model.
        template: A file with a template to use in place of the checkpoint's.
        tools: A file with a JSON list.
        variables: A JSON object.

    Raises:
        UsageError: A file or the object is invalid, or there is no template.
    """
    offered = _json_file(tools, "the tools", list) if tools else None
    given = _json(variables, "--chat-template-kwargs", dict) if variables else {}
    folder = tokenizer_directory(name)
    if template is not None:
        found = own_template(_text(template, "the chat template"), folder)
    elif folder is None:
        raise UsageError(
            f"no chat template: the tokenizer of {name!r} is not on this machine",
            where=str(repository_of(name) / name),
            fix="name the template with --chat-template FILE",
        )
    else:
        found = find_template(folder, tools=bool(offered))
    return Chat(found, offered, given)


def own_template_of(name: str) -> Callable[[Any], str] | None:
    """Return a function that renders the content of one user message in the checkpoint's own chat
    template; None if the files on this machine have none."""
    folder = tokenizer_directory(name)
    try:
        chat = Chat(find_template(folder)) if folder else None
    except UsageError:
        return None
    return (lambda content: chat.prompt([{"role": "user", "content": content}])) if chat else None


def read_messages(path: Path) -> list[Message]:
    """Read the messages of a JSON file: a list of objects with ``role``."""
    found: list[Message] = _json_file(path, "the messages", list)
    wrong = [n for n, item in enumerate(found, 1) if not (isinstance(item, dict) and _role(item))]
    if wrong or not found:
        what = f"message {wrong[0]} has no 'role'" if wrong else "the list of messages is empty"
        raise UsageError(
            f"{what}",
            where=str(path),
            fix='write a list such as [{"role": "user", "content": "Hello"}]',
        )
    return found


def _role(item: Message) -> bool:
    return isinstance(item.get("role"), str)


def tokenizer_directory(name: str) -> Path | None:
    """Return the tokenizer directory of a served model on this machine, None without one."""
    model = described(name)
    return repository_of(name) / model.tokenizer if model and model.tokenizer else None


def described(name: str) -> ServedModel | None:
    """Return the description of a served model from the files on this machine, or None."""
    return served_model(repository_of(name), name)


def repository_of(name: str) -> Path:
    """Return the repository of a served model on this machine, else the default one."""
    server = find_server(name)
    return Path(server.repo) if server else Path("model_repository")


def with_defaults(name: str, sampling: Sampling) -> tuple[Sampling, dict[str, Any]]:
    """Return ``sampling`` with defaults from the checkpoint's generation_config.json, and which
    defaults were used. Greedy sampling uses the penalties only."""
    folder = tokenizer_directory(name)
    path = folder / "generation_config.json" if folder else None
    try:
        config = json.loads(path.read_bytes()) if path else {}
    except (OSError, ValueError, RecursionError):
        return sampling, {}
    taken = {}
    for key, kind in _DEFAULTS.items():
        value = config.get(key) if isinstance(config, dict) else None
        # JSON may have Infinity.
        sound = isinstance(value, int | float) and type(value) is not bool and abs(value) < 2**31
        if sound and getattr(sampling, key) is None:
            greedy = sampling.temperature == 0 and "penalty" not in key
            if not greedy and kind(value) == value:
                taken[key] = kind(value)
    return replace(sampling, **taken), taken


def _json_file(path: Path, what: str, kind: type[list[Any]]) -> Any:
    return _json(_text(path, what), what, kind, str(path))


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {what}: {error}", fix="give a text file") from None


def _json(
    text: str, what: str, kind: type[list[Any]] | type[dict[str, Any]], where: str = ""
) -> Any:
    named = "list" if kind is list else "object"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} cannot be read: not valid JSON: {error}",
            where=where,
            fix=f"give a JSON {named}",
        ) from None
    if not isinstance(found, kind):
        raise UsageError(f"{what} must be a JSON {named}", where=where, fix=f"give a JSON {named}")
    return found
