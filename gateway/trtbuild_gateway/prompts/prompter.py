"""The tokenizer and the chat template of a model, from its own files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.chat import ChatTemplate, find_template, own_template, render_chat
from trtbuild.errors import UsageError
from trtbuild.signature import ServedModel
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.settings import ModelSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PARAMETERS = frozenset(("add_generation_prompt", "messages", "tools"))
_SHORT = 4096  # characters that are tokenized in less time than a thread takes to start


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text in the model's own format; ``tokens`` is None if the tokenizer is unknown."""

    text: str
    tokens: int | None = None


class Prompter:
    """Renders and counts prompts of one model. Files are read when they are first needed.

    Args:
        name: The model, for messages.
        folder: The directory of its tokenizer; None if it is unknown.
        template: A file with a chat template to use instead of the model's own.
        parser: The family that its answers are parsed as; empty: what the files tell.
    """

    def __init__(
        self, name: str, folder: Path | None, template: Path | None = None, parser: str = ""
    ) -> None:
        self.name = name
        self.folder = folder
        self.parser = parser
        self._template = template
        self._templates: dict[bool, ChatTemplate] = {}
        self._tokenizer: Tokenizer | None = None
        self._loading = asyncio.Lock()

    @classmethod
    def of(cls, served: ServedModel, repository: Path | None, own: ModelSettings) -> Prompter:
        """Return the prompter of a model of a repository."""
        folder = own.tokenizer
        if folder is None and repository is not None and served.tokenizer:
            folder = repository / served.tokenizer
        return cls(served.name, folder, own.chat_template, own.parser)

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        answer: bool = True,
    ) -> Prompt:
        """Render messages with the chat template and count the tokens.

        Raises:
            ApiError: There is no template, or it refuses the messages; the variables replace
                what has been checked.
        """
        for name in _PARAMETERS & (variables or {}).keys():
            param = f"chat_template_kwargs.{name}"
            raise invalid(f"{param!r} replaces the parameter {name!r}: send that one", param)
        tokenizer = await self.tokenizer()

        def work() -> Prompt:
            template = self._template_for(bool(tools))
            try:
                text = render_chat(
                    template,
                    _known_roles(template, messages),
                    tools=tools,
                    variables=variables,
                    answer=answer,
                )
            except UsageError as error:
                raise invalid(
                    f"the chat template of {self.name!r} refuses the messages: {error.where}",
                    "messages",
                    "invalid_messages",
                ) from None
            return Prompt(text, None if tokenizer is None else _count(tokenizer, text))

        return await asyncio.to_thread(work)

    async def plain(self, text: str) -> Prompt:
        """Return a text as it is, with its tokens counted."""
        tokenizer = await self.tokenizer()
        if tokenizer is None:
            return Prompt(text)
        if len(text) < _SHORT:
            return Prompt(text, _count(tokenizer, text))
        return Prompt(text, await asyncio.to_thread(_count, tokenizer, text))

    async def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer; None if its files are unknown or of another kind."""
        if self._tokenizer is None and self.folder is not None:
            async with self._loading:
                if self._tokenizer is None:
                    self._tokenizer = await asyncio.to_thread(_load, self.folder)
        return self._tokenizer

    async def required_tokenizer(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            ApiError: Its files are unknown.
        """
        found = await self.tokenizer()
        if found is None:
            raise ApiError(
                501,
                f"the gateway has no tokenizer of {self.name!r}: start it with the model's "
                "repository, or set `tokenizer` of the model in gateway.yaml",
                code="no_tokenizer",
            )
        return found

    def settings(self) -> dict[str, Any]:
        """Return ``tokenizer_config.json``; empty without one."""
        try:
            found = json.loads(((self.folder or Path()) / "tokenizer_config.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) and self.folder else {}

    def template(self, *, tools: bool = False) -> ChatTemplate:
        """Return the chat template, for tools if there is one of its own.

        Raises:
            ApiError: There is none.
        """
        return self._template_for(tools)

    def _template_for(self, tools: bool) -> ChatTemplate:
        if tools not in self._templates:
            self._templates[tools] = self._found_template(tools)
        return self._templates[tools]

    def _found_template(self, tools: bool) -> ChatTemplate:
        missing = ApiError(
            400,
            f"the model {self.name!r} has no chat template: use /v1/completions, or set "
            "`chat_template` of the model in gateway.yaml",
            param="model",
            code="no_chat_template",
        )
        try:
            if self._template is not None:
                return own_template(self._template.read_text(encoding="utf-8"), self.folder)
            if self.folder is None:
                raise missing
            return find_template(self.folder, tools=tools)
        except (OSError, UnicodeDecodeError, UsageError):
            raise missing from None


def _known_roles(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return messages of developers as the system's, unless the template knows that role: most
    templates leave out a message whose role they do not know."""
    if "developer" in template.text:
        return messages
    return [
        {**message, "role": "system"} if message.get("role") == "developer" else message
        for message in messages
    ]


def _load(folder: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception:  # the library raises Exception itself
        return None


def _count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text).ids)
