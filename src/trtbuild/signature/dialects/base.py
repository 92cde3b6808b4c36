"""The interface of request schemas, and shared helpers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Chunk,
    ClassifyRequest,
    EmbedRequest,
    GenerateRequest,
    ImageClassifyRequest,
    RerankRequest,
    ScoreRequest,
    TaskAnswer,
    TaskRequest,
    TokenClassifyRequest,
    TranscribeRequest,
)
from trtbuild.signature.sampling import Sampling
from trtbuild.wire.tensors import InferRequest, Outputs, Parameter, TensorValue

Read = Callable[[Outputs], Chunk]

_EXAMPLES: Mapping[ServedTask, TaskRequest] = {
    **dict.fromkeys((t for t in ServedTask if t.makes_vectors), EmbedRequest(("Hello",))),
    ServedTask.RERANK: RerankRequest("Hello", ("Hello", "Goodbye")),
    ServedTask.CLASSIFY: ClassifyRequest(("Hello",)),
    ServedTask.TOKEN_CLASSIFY: TokenClassifyRequest(("Hello",)),
}
_VERBS: Mapping[type[Any], str] = {
    GenerateRequest: "generate text",
    EmbedRequest: "embed",
    RerankRequest: "rerank",
    ScoreRequest: "score texts",
    ClassifyRequest: "classify texts",
    ImageClassifyRequest: "classify images",
    TokenClassifyRequest: "classify tokens",
    TranscribeRequest: "transcribe recordings",
}


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """The facts by which a model is recognized.

    Attributes:
        inputs, outputs: Names of its tensors.
        backend: Its backend, if known: vLLM's completes a configuration without tensors.
        pooling: Whether the engine's arguments select a pooling runner.
    """

    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    backend: str = ""
    pooling: bool = False


class Dialect:
    """A request schema: converts requests to tensors, and tensors to answers.

    A new one is one file: a subclass, an instance of it, and an entry point of the group
    ``trtbuild.dialects.v1`` that names the instance. It implements :meth:`recognize` and
    :meth:`requests`, and :meth:`reader` for generated text or :meth:`answer` for anything else.

    Attributes:
        name: Also the entry point's name, and ``request_schema`` of a :class:`ServedModel`.
        priority: If several recognize a model, the highest wins. Those of trtbuild are below 50.
        required: Inputs and outputs that a request needs.
    """

    name: str = ""
    priority: int = 50
    required: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Return the task of a model with this request schema, None for any other model."""
        raise NotImplementedError

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return the requests to send, in order; several if the batch is too large for one.

        Raises:
            UsageError: The model does not support the request.
        """
        raise unable(model, request)

    def reader(self, model: ServedModel) -> Read:
        """Return a reader for one stream, which returns what each response adds."""
        raise unable(model, GenerateRequest(""))

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the answer from the responses to :meth:`requests`.

        Raises:
            ServerError: The responses do not fit the request.
        """
        raise unable(model, request)

    def example(self, model: ServedModel) -> TaskRequest:
        """Return a cheap request to test whether the model answers."""
        one = GenerateRequest("Hello", Sampling(max_tokens=1, temperature=0))
        return _EXAMPLES.get(model.task, one)

    def ignored(self, model: ServedModel, request: TaskRequest) -> tuple[str, ...]:
        """Return sampling values of ``request`` for which the model has no input."""
        return ()

    def client_of(self, model: ServedModel) -> str:
        """Return the directory of ``templates/clients`` with client code for such a model."""
        return "generic"

    def client_values(self, model: ServedModel) -> Mapping[str, str]:
        """Return more values for those templates."""
        return {}


def unable(model: ServedModel, request: TaskRequest) -> UsageError:
    """Return the error for a request of another task."""
    verb = _VERBS[type(request)]
    return UsageError(
        f"{model.name!r} cannot {verb}",
        where=f"its task is {model.task}, its request schema {model.request_schema or 'unknown'}",
        fix=f"ask a model that can {verb}: `trtbuild list` shows what is served",
    )


def misfit(model: ServedModel, why: str) -> ServerError:
    """Return the error for an answer that does not fit the request."""
    return ServerError(
        f"the answer of {model.name!r} does not fit the request: {why}",
        where=f"request schema {model.request_schema!r}",
        fix="`trtbuild show` its tensors; `trtbuild logs` has what the server wrote",
    )


def tensor(model: ServedModel, name: str, values: Sequence[Any]) -> TensorValue:
    """Return the input ``name`` of one request: values in the last dimension, 1 in the others."""
    declared = model.input(name)
    assert declared is not None, name
    rank = len(declared.dims) + (model.max_batch_size > 0)
    shape = (*(1,) * (rank - 1), len(values))
    return TensorValue(name, wire_type(declared.datatype), shape, values)


def column(model: ServedModel, name: str, values: Sequence[Any]) -> TensorValue:
    """Return the input ``name`` of a batch with one value per row."""
    declared = model.input(name)
    assert declared is not None, name
    shape = (len(values), *(1,) * len(declared.dims)) if model.max_batch_size else (len(values),)
    return TensorValue(name, wire_type(declared.datatype), shape, values)


def wire_type(datatype: str) -> str:
    """Return a datatype of config.pbtxt in the protocol's spelling."""
    return "BYTES" if datatype == "STRING" else datatype


def batches(model: ServedModel, count: int) -> list[slice]:
    """Split ``count`` rows into batches of the model's size; one batch without a limit."""
    size = model.max_batch_size or max(1, count)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def parameters(**values: Parameter | None) -> dict[str, Parameter]:
    """Return request parameters without those left to the model (None or empty)."""
    return {name: value for name, value in values.items() if value not in (None, "", False)}


def texts_of(model: ServedModel, inputs: Sequence[Any], noun: str = "text") -> list[str]:
    """Return inputs that must be texts, for a model that tokenizes itself.

    Raises:
        UsageError: There are none, or one is a list of token ids.
    """
    require_some(inputs, noun)
    if any(not isinstance(text, str) for text in inputs):
        raise UsageError(
            f"{model.name!r} takes texts, not token ids",
            fix="send the text and not its tokens; LangChain's OpenAIEmbeddings does so with "
            "check_embedding_ctx_length=False",
        )
    return list(inputs)


def columns_of(
    model: ServedModel, items: Sequence[Any], first: str, second: str
) -> Mapping[str, Sequence[str]]:
    """Return texts as the input ``first``, or pairs of texts as both inputs.

    Raises:
        UsageError: There are none, they are mixed, or the model takes only the other kind.
    """
    pairs = sum(isinstance(item, tuple) for item in items)
    if pairs and pairs < len(items):
        raise UsageError(
            "some inputs are pairs of texts and some are single texts",
            fix="send one kind at a time",
        )
    declared = model.input(second)
    if pairs and declared is None:
        raise UsageError(f"{model.name!r} takes no pairs of texts", fix="send single texts")
    if items and not pairs and declared is not None and not declared.optional:
        raise UsageError(f"{model.name!r} takes pairs of texts", fix="send two texts for each row")
    if not pairs:
        return {first: texts_of(model, items)}
    return {
        name: texts_of(model, [item[at] for item in items])
        for at, name in enumerate((first, second))
    }


def require_some(inputs: Sequence[Any], noun: str = "text") -> None:
    """Raise UsageError for an empty request."""
    if not inputs:
        raise UsageError(f"there is nothing to send: no {noun} was given", fix="give at least one")


def rows(model: ServedModel, outputs: Outputs, name: str, count: int) -> list[Sequence[Any]] | None:
    """Return the output ``name`` split into ``count`` rows; None if it is missing.

    Raises:
        ServerError: It cannot be split evenly.
    """
    found = outputs.get(name)
    if found is None:
        return None
    width, rest = divmod(len(found.data), count)
    if rest:
        raise misfit(model, f"{name!r} has {len(found.data)} elements for {count} rows")
    return [found.data[at : at + width] for at in range(0, width * count, width or 1)]


def required_rows(
    model: ServedModel, outputs: Outputs, name: str, count: int
) -> list[Sequence[Any]]:
    """Like :func:`rows`, for an output that must exist and not be empty."""
    found = rows(model, outputs, name, count)
    if not found or not found[0]:
        raise misfit(model, f"it has no {name!r}")
    return found


def text(element: Any) -> str:
    """Return an element of a ``BYTES`` output as text."""
    if type(element) is str and element.isascii():
        return element
    content = element if isinstance(element, bytes) else str(element).encode("utf-8", "replace")
    return content.decode("utf-8", "replace")  # JSON can contain a lone surrogate


def count(element: Any) -> int | None:
    """Return a token count, None if the server sent none."""
    if type(element) is int:
        return element
    try:
        return int(element) if isinstance(element, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None
