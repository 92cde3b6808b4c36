"""Requests of the tasks that generate no text, in OpenAI's, Cohere's, Jina's, NIM's and vLLM's
forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.schema.sampling import Positive, TokenId

Name = Annotated[str, Meta(min_length=1)]
_MOST_INPUTS = 2048  # OpenAI's limit of an embedding request
_MOST_DIMENSIONS = 65536  # far above any model: the server may make room for what it is asked for
_TRUNCATE = frozenset(("", "none", "start", "end"))


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """``/v1/embeddings``."""

    model: Name
    input: str | list[str | TokenId | list[TokenId]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1, le=_MOST_DIMENSIONS)] | None = None
    input_type: str = ""
    truncate: str = ""

    def inputs(self) -> list[str | tuple[int, ...]]:
        """Return each input, a text or token ids."""
        if isinstance(self.input, str):
            return [self.input]
        ids = tuple(item for item in self.input if isinstance(item, int))
        others = [item for item in self.input if not isinstance(item, int)]
        if ids and others:
            raise invalid("'input' mixes token ids with texts or lists", "input")
        found = [item if isinstance(item, str) else tuple(item) for item in others]
        return counted("input", [ids] if ids else found)


class RerankRequest(msgspec.Struct, frozen=True):
    """``/v1/rerank`` and ``/v2/rerank``."""

    model: Name
    query: str | dict[str, Any]
    documents: list[str | dict[str, Any]]
    top_n: Positive | None = None
    return_documents: bool = True
    truncate: str = ""


class RankingRequest(msgspec.Struct, frozen=True):
    """``/v1/ranking``, NIM's form."""

    model: Name
    query: str | dict[str, Any]
    passages: list[str | dict[str, Any]]
    truncate: str = ""


class ScoreRequest(msgspec.Struct, frozen=True):
    """``/v1/score``, vLLM's form; its newer names are ``queries`` and ``documents``."""

    model: Name
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None
    queries: str | list[str] | None = None
    documents: str | list[str] | None = None
    data_1: str | list[str] | None = None
    data_2: str | list[str] | None = None
    truncate: str = ""

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs: one text with each of a list, or two lists side by side."""
        first = _texts("text_1", self.text_1, self.queries, self.data_1)
        second = _texts("text_2", self.text_2, self.documents, self.data_2)
        if len(first) == 1:
            first *= len(second)
        if len(first) != len(second):
            raise invalid(
                f"'text_1' has {len(first)} texts and 'text_2' {len(second)}: give one text or "
                "as many",
                "text_2",
            )
        return list(zip(first, second, strict=True))


class ClassifyRequest(msgspec.Struct, frozen=True):
    """``/v1/classify``, vLLM's form."""

    model: Name
    input: str | list[str]
    truncate: str = ""
    raw_scores: bool = False

    def inputs(self) -> list[str]:
        """Return the texts."""
        return counted("input", [self.input] if isinstance(self.input, str) else self.input)


def counted(param: str, items: Sequence[Any]) -> list[Any]:
    """Return the items; ApiError for none or too many."""
    if not items:
        raise invalid(f"{param!r} is empty", param)
    if len(items) > _MOST_INPUTS:
        raise invalid(f"{param!r} has {len(items)} items, the most is {_MOST_INPUTS}", param)
    return list(items)


def text_of(param: str, item: str | dict[str, Any]) -> str:
    """Return the text of a document, which may be an object with ``text``."""
    found = item if isinstance(item, str) else item.get("text")
    if not isinstance(found, str):
        raise invalid(f"{param!r} must be text, or an object with 'text'", param)
    return found


def truncation(value: str) -> str:
    """Return a value of ``truncate`` in the description's words; NIM and Cohere write capitals."""
    found = value.lower()
    if found not in _TRUNCATE:
        raise invalid(f"'truncate' must be none, start or end, not {value!r}", "truncate")
    return found


def _texts(param: str, *given: str | list[str] | None) -> list[str]:
    found = [item for item in given if item is not None]
    if not found:
        raise invalid(f"the parameter {param!r} is missing", param, "missing_parameter")
    return counted(param, [found[0]] if isinstance(found[0], str) else found[0])
