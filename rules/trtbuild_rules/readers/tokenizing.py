"""A checkpoint's tokenizer as facts: does it load, how large is it, which ids end a text.

Loading a tokenizer takes a tenth of a second, so what was learned is remembered by the digest of
its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.check.reading import read_inside
from trtbuild.errors import UsageError
from trtbuild.files import atomic_write
from trtbuild.resources import cache_dir

if TYPE_CHECKING:
    from trtbuild.chat import ChatTemplate

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json")
_KNOWLEDGE = "2"  # raised when facts come to mean something else
_SECONDS = 2.0  # a template that takes longer is hostile
_ANSWER = "Zk9xQ"
_UNDERSCORED = re.compile(r"__\w+__|_\w+")


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What the tokenizer's files say.

    Attributes:
        fast: There is a ``tokenizer.json``; without one nothing else but the template is known.
        problem: Why it cannot be loaded.
        size: One more than its largest id.
        ids: Of its special tokens by role (``eos_token``), -1 for one that it does not have.
        special: The text of those tokens.
        template: Whether there is a chat template.
        template_problem: Why that cannot be rendered.
        ending: The token that a template writes after an answer, empty if it writes none.
        ending_id: Its id, -1 if the tokenizer has no such token.
        reaches: Attributes with a leading underscore that the template reads.
    """

    fast: bool = False
    problem: str = ""
    size: int = 0
    ids: Mapping[str, int] = field(default_factory=dict)
    special: Mapping[str, str] = field(default_factory=dict)
    template: bool = False
    template_problem: str = ""
    ending: str = ""
    ending_id: int = -1
    reaches: Sequence[str] = ()


def facts_of(folder: Path, root: Path) -> TokenizerFacts:
    """The facts of the checkpoint ``folder`` in the repository ``root``.

    Raises:
        OSError: A file of it cannot be read, or lies outside the repository.
    """
    contents: dict[str, bytes] = {}
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            contents[name] = read_inside(folder / name, root)
    sha = hashlib.sha256(_KNOWLEDGE.encode())
    for name, content in contents.items():
        sha.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return _remembered(sha.hexdigest(), contents)


def _remembered(key: str, contents: Mapping[str, bytes]) -> TokenizerFacts:
    path = cache_dir("tokenizers", f"{key}.json")
    with contextlib.suppress(OSError, ValueError, TypeError):
        return TokenizerFacts(**json.loads(path.read_bytes()))
    facts = _learned(contents)
    with contextlib.suppress(OSError):  # losing it costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(asdict(facts)).encode())
    return facts


def _learned(contents: Mapping[str, bytes]) -> TokenizerFacts:
    from trtbuild.chat import special_tokens

    template, problem, ended = _template(contents)
    special = special_tokens(_parsed(contents.get("tokenizer_config.json", b"{}")))
    facts = TokenizerFacts(
        special=special,
        template=template is not None,
        template_problem=problem,
        reaches=_reached_attributes(template.text) if template else (),
    )
    content = contents.get("tokenizer.json")
    if content is None:
        return facts
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises bare Exceptions
        return replace(facts, fast=True, problem=str(error))
    except BaseException as error:  # and panics of its Rust code are not Exceptions at all
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return replace(facts, fast=True, problem=f"{type(error).__name__}: {error}")
    ids = {role: _id(tokenizer, text) for role, text in special.items()}
    added = {token.content: number for number, token in _added(tokenizer).items()}
    ending = max((text for text in added if ended.startswith(text)), key=len, default="")
    size = max([*tokenizer.get_vocab(with_added_tokens=True).values(), -1]) + 1
    ending_id = added.get(ending, -1)
    return replace(facts, fast=True, size=size, ids=ids, ending=ending, ending_id=ending_id)


def _id(tokenizer: Any, text: str) -> int:
    try:
        found = tokenizer.token_to_id(text)
    except UnicodeEncodeError:  # half a character, as JSON can write one
        return -1
    return -1 if found is None else int(found)


def _added(tokenizer: Any) -> dict[int, Any]:
    return dict(tokenizer.get_added_tokens_decoder())


def _template(contents: Mapping[str, bytes]) -> tuple[ChatTemplate | None, str, str]:
    """The chat template, why it cannot be rendered, and what it writes after an answer."""
    from trtbuild.chat import render_chat, template_in

    template = template_in(contents)
    if template is None:
        return None, "", ""
    question = {"role": "user", "content": "Hello"}
    try:
        render_chat(template, [question], seconds=_SECONDS)
    except UsageError as error:
        return template, error.where, ""
    answered = [question, {"role": "assistant", "content": _ANSWER}]
    try:
        text = render_chat(template, answered, answer=False, seconds=_SECONDS)
    except UsageError:
        return template, "", ""  # templates of models for one turn refuse a second
    return template, "", text.partition(_ANSWER)[2].lstrip()


@lru_cache(maxsize=64)
def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def settings(folder: Path, root: Path, name: str) -> dict[str, Any]:
    """A JSON object beside the tokenizer, empty if it is missing or none; raises OSError."""
    try:
        return _parsed(read_inside(folder / name, root))
    except FileNotFoundError:
        return {}


def _reached_attributes(text: str) -> tuple[str, ...]:
    """Attributes with a leading underscore that a template reads: a sandbox escape attempt.

    Empty for a template that cannot be parsed.
    """
    from jinja2 import TemplateError, nodes

    from trtbuild.chat.llm_template import environment

    try:
        tree = environment().parse(text)
    except (TemplateError, RecursionError):
        return ()
    names = [node.attr for node in tree.find_all(nodes.Getattr)]
    names += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    return tuple(dict.fromkeys(name for name in names if _UNDERSCORED.fullmatch(name)))
