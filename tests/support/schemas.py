"""Models of request schemas, what is sent to them and what they answer."""

from __future__ import annotations

from typing import Any

from trtbuild.signature import ServedModel, ServedTask, Tensor, dialect_of
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import TaskAnswer, TaskRequest
from trtbuild.wire.tensors import Outputs, TensorValue


def model(
    schema: str, task: str, inputs: str, outputs: str = "text_output", **more: Any
) -> ServedModel:
    """A model of STRING tensors."""

    def tensors(names: str) -> tuple[Tensor, ...]:
        return tuple(Tensor(name, "STRING", (1,)) for name in names.split())

    return ServedModel("m", ServedTask(task), schema, tensors(inputs), tensors(outputs), **more)


def dialect(served: ServedModel) -> Dialect:
    found = dialect_of(served)
    assert found is not None
    return found


def sent(served: ServedModel, request: TaskRequest) -> list[dict[str, Any]]:
    """Element by tensor of each request; a list where there are several."""
    return [
        {t.name: t.data[0] if len(t.data) == 1 else list(t.data) for t in one.inputs}
        for one in dialect(served).requests(served, request)
    ]


def outputs(**tensors: list[Any]) -> Outputs:
    return {name: TensorValue(name, "", (len(data),), data) for name, data in tensors.items()}


def answered(served: ServedModel, request: TaskRequest, *responses: Outputs) -> TaskAnswer:
    return dialect(served).answer(served, request, responses)
