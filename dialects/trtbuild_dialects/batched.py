"""Shared by the request schemas with one row of tensors for each item of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from trtbuild.signature.dialects.base import (
    Dialect,
    SchemaFacts,
    batches,
    column,
    misfit,
    parameters,
    required_rows,
    rows,
    texts_of,
    unable,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import TaskAnswer, TaskRequest
from trtbuild.wire.tensors import InferRequest, Outputs, Parameter

R = TypeVar("R", bound=TaskRequest)
Row = TypeVar("Row")
Matrix = tuple[tuple[float, ...], ...]


class Batched(Dialect, Generic[R, Row]):
    """A request schema whose requests are batches: an item is a row of every input and output.

    A request larger than the model's batch becomes several. A subclass implements :meth:`read` and
    :meth:`collect`; the others have defaults for a single input of texts.

    Attributes:
        task: The task of the models that it recognizes.
        takes: The classes of requests.
        noun: What an item is.
    """

    task: ServedTask
    takes: tuple[type[R], ...]
    noun: str = "text"

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by the names of its tensors."""
        inputs, outputs = self.required
        fits = facts.inputs.issuperset(inputs) and facts.outputs.issuperset(outputs)
        return self.task if fits else None

    def items(self, request: R) -> Sequence[Any]:
        """Return the items of a request."""
        found: Sequence[Any] = getattr(request, "inputs", ())
        return found

    def columns(self, model: ServedModel, request: R) -> Mapping[str, Sequence[str]]:
        """Return the values of each input, an element for each item.

        Raises:
            UsageError: The model does not support them.
        """
        ((name,), _) = self.required
        return {name: texts_of(model, self.items(request), self.noun)}

    def options(self, model: ServedModel, request: R) -> Mapping[str, Parameter | None]:
        """Return the request parameters."""
        return {"truncate": getattr(request, "truncate", "").upper()}

    def read(self, model: ServedModel, request: R, part: slice, outputs: Outputs) -> Sequence[Row]:
        """Return a result for each row of one response, which answers ``part`` of the items.

        Raises:
            ServerError: The response does not fit the request.
        """
        raise NotImplementedError

    def collect(
        self, model: ServedModel, request: R, results: Sequence[Row], counts: tuple[int, ...]
    ) -> TaskAnswer:
        """Return the answer from the results of all responses and the tokens of each item."""
        raise NotImplementedError

    def client_of(self, model: ServedModel) -> str:
        """Return client code with a function for the task."""
        return "task"

    def client_values(self, model: ServedModel) -> Mapping[str, str]:
        """Return which task's function it is."""
        return {"schema": self.name}

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return requests with as many items as the model accepts."""
        if not isinstance(request, self.takes):
            raise unable(model, request)
        columns = self.columns(model, request)
        asked = parameters(**self.options(model, request))
        return [
            InferRequest(
                tuple(column(model, name, values[part]) for name, values in columns.items()), asked
            )
            for part in batches(model, len(self.items(request)))
        ]

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the answer, in the order of the items unless the task sorts them."""
        if not isinstance(request, self.takes):
            raise unable(model, request)
        results: list[Row] = []
        counts: list[int] = []
        size = len(self.items(request))
        for part, outputs in zip(batches(model, size), responses, strict=True):
            results += self.read(model, request, part, outputs)
            counted = rows(model, outputs, "token_count", part.stop - part.start)
            counts += [int(row[0]) for row in counted or ()]
        return self.collect(model, request, results, tuple(counts))


def matrices(
    model: ServedModel, outputs: Outputs, name: str, part: slice, counted_by: Sequence[str]
) -> list[Matrix]:
    """Return the rows of an output with two dimensions, without the padding of shorter ones.

    The first output of ``counted_by`` that is there has the number of vectors of each row; without
    any, all vectors count.

    Raises:
        ServerError: The output is missing or has fewer vectors than are counted.
    """
    size = part.stop - part.start
    found = required_rows(model, outputs, name, size)
    width = outputs[name].shape[-1]
    most = len(found[0]) // width if width > 0 else 0
    counts = [most] * size
    for counter in counted_by:
        if counted := rows(model, outputs, counter, size):
            counts = [int(row[0]) for row in counted]
            break
    if max(counts) > most:
        raise misfit(model, f"{max(counts)} vectors are counted and {most} were sent")
    return [
        tuple(tuple(map(float, row[at * width : (at + 1) * width])) for at in range(count))
        for row, count in zip(found, counts, strict=True)
    ]
