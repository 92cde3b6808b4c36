"""The tasks: a prompt from a template, vectors, relevance of documents, lines of OpenAI's API."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trtbuild.errors import UsageError
from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest
from trtbuild.signature.sampling import Sampling
from trtbuild_batch.asking.model import Call, Conversation, Question, RowError
from trtbuild_batch.inputs import Row

if TYPE_CHECKING:
    from trtbuild.chat.llm_template import CompiledTemplate

_LONGEST = 4 << 20  # characters of a template, which may contain a whole book

PATHS = (
    "/chat/completions", "/completions", "/embeddings", "/responses", "/moderations", "/score",
    "/rerank", "/classify",
)  # fmt: skip
"""What a line of a batch file may ask for: OpenAI's endpoints, and those of vLLM and the gateway
that answer JSON."""


def require_column(name: str, columns: Collection[str], option: str) -> None:
    """Raise UsageError unless the input has that column."""
    if name in columns:
        return
    if not columns:
        raise UsageError("the input has no rows", fix="name another file")
    near = difflib.get_close_matches(name, columns, 1)
    raise UsageError(
        f"the input has no column {name!r}",
        where=option,
        fix=f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(columns)}",
    )


@dataclass(frozen=True)
class Prompt:
    """A text is generated for each row.

    Args:
        template: Jinja with the columns as variables.
        sampling: How text is generated.
        system: A system message.
        raw: Send the text as it is, not as a user's message.
    """

    template: str
    sampling: Sampling
    system: str = ""
    raw: bool = False
    output: str = field(default="text", init=False)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The variables of the template. UsageError if it is invalid."""
        from jinja2 import TemplateSyntaxError, meta

        from trtbuild.chat.llm_template import environment

        try:  # in the sandbox, because looking for variables computes constants
            tree = environment().parse(self.template)
        except TemplateSyntaxError as error:
            raise UsageError(
                f"the template is invalid: {error.message}",
                where=f"--prompt, line {error.lineno}",
                fix="write {{ column }} where a column's value goes",
            ) from None
        return frozenset(meta.find_undeclared_variables(tree))

    def check(self, columns: Collection[str]) -> None:
        """Raise UsageError if the template is invalid or has a variable that no column has."""
        for name in sorted(self.columns):
            require_column(name, columns, "--prompt")
        if not self.columns:
            raise UsageError(
                "the template has no variable: every row would get the same prompt",
                where="--prompt",
                fix=f"write {{{{ {next(iter(columns), 'column')} }}}} where the value goes",
            )
        _ = self._template

    @cached_property
    def _template(self) -> CompiledTemplate:
        """The template, limited in time and memory: ``{{ text * 10**10 }}`` would take all of it.

        UsageError if it is invalid.
        """
        from jinja2 import StrictUndefined

        from trtbuild.chat.llm_template import ChatError, CompiledTemplate, finalized

        try:
            return CompiledTemplate(
                self.template,
                longest=_LONGEST,
                undefined=StrictUndefined,
                trim_blocks=False,
                lstrip_blocks=False,
                finalize=lambda value: finalized(_not_null(value)),
            )
        except ChatError as error:
            raise UsageError(
                f"the template is invalid: {error}", where="--prompt", fix="simplify it"
            ) from None

    def question(self, row: Row) -> Question:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        from trtbuild.chat.llm_template import ChatError

        try:
            text = self._template.render(row.values)
        except ChatError as error:
            raise RowError(f"the template cannot be filled: {error}") from None
        if self.raw:
            return GenerateRequest(text, self.sampling)
        system = ({"role": "system", "content": self.system},) if self.system else ()
        return Conversation((*system, {"role": "user", "content": text}), self.sampling)

    def about(self) -> Mapping[str, Any]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return {
            "task": "prompt",
            "prompt": self.template,
            "system": self.system,
            "raw": self.raw,
            **self.sampling.given(),
            **self.sampling.more,
        }


@dataclass(frozen=True)
class Embed:
    """A vector for each row: of the text in one column."""

    column: str
    input_type: str = ""
    dimensions: int | None = None
    output: str = field(default="vector", init=False)

    @property
    def columns(self) -> frozenset[str]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return frozenset({self.column})

    def question(self, row: Row) -> Question:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return self.of(_text(row, self.column))

    def of(self, text: str) -> EmbedRequest:
        """Return the request for one text."""
        return EmbedRequest((text,), self.input_type, self.dimensions)

    def about(self) -> Mapping[str, Any]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return {
            "task": "embed",
            "embed": self.column,
            "input_type": self.input_type,
            "dimensions": self.dimensions,
        }


@dataclass(frozen=True)
class Rerank:
    """A score for each document of a row: ``query`` and ``documents`` are columns."""

    query: str
    documents: str
    output: str = field(default="scores", init=False)

    @property
    def columns(self) -> frozenset[str]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return frozenset({self.query, self.documents})

    def question(self, row: Row) -> Question:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        found = row.values.get(self.documents)
        if not isinstance(found, list) or not found or not all(isinstance(x, str) for x in found):
            raise RowError(f"the column {self.documents!r} has no list of texts")
        return RerankRequest(_text(row, self.query), tuple(found))

    def about(self) -> Mapping[str, Any]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return {"task": "rerank", "rerank": self.query, "documents": self.documents}


@dataclass(frozen=True)
class Lines:
    """The rows are lines of an OpenAI batch file: each has its request.

    ``model`` replaces the model that the lines name, if it is not empty.
    """

    model: str = ""
    output: str = field(default="json", init=False)

    @property
    def columns(self) -> frozenset[str]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return frozenset(("custom_id", "method", "url", "body"))

    def question(self, row: Row) -> Question:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        body, url = row.values.get("body"), row.values.get("url")
        if not isinstance(body, dict):
            raise RowError("body is not a JSON object")
        if not isinstance(row.values.get("custom_id"), str):
            raise RowError("custom_id is not text")
        if row.values.get("method") != "POST":
            raise RowError("method is not POST")
        path = url.removeprefix("/v1") if isinstance(url, str) else ""
        if path not in PATHS:
            raise RowError(f"url {url!r} is none of /v1{', /v1'.join(PATHS)}")
        if body.get("stream"):
            raise RowError("stream: a batch has no streams")
        return Call(path, {**body, "model": self.model} if self.model else body)

    def about(self) -> Mapping[str, Any]:
        """See :class:`~trtbuild_batch.asking.model.Task`."""
        return {"task": "openai", "model_given": self.model}


def _not_null(value: Any) -> Any:
    """Refuse what Jinja would write as None: the model would take it for a word."""
    if value is None:
        raise ValueError("a value is null; {{ column or '' }} accepts that")
    return value


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str) or not value:
        raise RowError(f"the column {column!r} has no text")
    return value
