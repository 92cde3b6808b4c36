"""The description itself: frozen values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtbuild.modelspec import Head, Vision


class ServedTask(StrEnum):
    """The task of a served model. ``tensor``: no other is known to fit."""

    GENERATE = "generate"
    CHAT = "chat"
    EMBED = "embed"
    SPARSE = "sparse"
    MULTI_VECTOR = "multi-vector"
    RERANK = "rerank"
    SCORE = "score"
    CLASSIFY = "classify"
    TOKEN_CLASSIFY = "token-classify"  # noqa: S105 - a task
    IMAGE_CLASSIFY = "image-classify"
    VISION_LANGUAGE = "vision-language"
    TRANSCRIBE = "transcribe"
    TENSOR = "tensor"

    @property
    def makes_text(self) -> bool:
        """Whether the answer is generated text."""
        return self in (ServedTask.GENERATE, ServedTask.CHAT, ServedTask.VISION_LANGUAGE)

    @property
    def makes_vectors(self) -> bool:
        """Whether the answer is vectors, and the request an ``EmbedRequest``."""
        return self in (ServedTask.EMBED, ServedTask.SPARSE, ServedTask.MULTI_VECTOR)

    @classmethod
    def of(cls, task: str, head: Head | None = None) -> ServedTask:
        """Return the task of a served checkpoint; ``tensor`` if a client cannot ask for it.

        An embedding model with a sparse or a multi-vector head has a task of its own.
        """
        if task == cls.EMBED and head and head.kind.value in (cls.SPARSE, cls.MULTI_VECTOR):
            return cls(head.kind.value)
        return cls(task) if task in set(cls) else cls.TENSOR


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    Attributes:
        name: Its name.
        datatype: As config.pbtxt spells it, without ``TYPE_``: ``STRING``, ``FP32``, ``BOOL``.
        dims: Without the batch dimension; -1 is any size.
        optional: Whether a request may leave it out.
    """

    name: str
    datatype: str
    dims: tuple[int, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a client needs to know of a model in a repository or on a server.

    Attributes:
        name: The model's name in Triton.
        task: Its task.
        request_schema: How a request of the task becomes tensors: the name of a dialect
            (``vllm``, ``embed``…); empty for ``tensor``.
        inputs, outputs: Its public tensors.
        decoupled: Whether it may send any number of responses; None if unknown.
        max_batch_size: As in config.pbtxt; 0 without a batch dimension.
        context_length: Tokens of prompt and answer together; 0 if unknown.
        tokenizer: Directory of the tokenizer's files, relative to the repository; empty if they
            are not in it.
        weights: Directory of the checkpoint, likewise.
        engine_file: The engine's arguments (``model.json``, ``model.yaml``), likewise.
        head: The checkpoint's head, for tasks other than generation.
        vision: How a vision-language model takes images.
    """

    name: str
    task: ServedTask
    request_schema: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    decoupled: bool | None = None
    max_batch_size: int = 0
    context_length: int = 0
    tokenizer: str = ""
    weights: str = ""
    engine_file: str = ""
    head: Head | None = None
    vision: Vision | None = None

    def input(self, name: str) -> Tensor | None:
        """Return the input called ``name``, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def has_output(self, name: str) -> bool:
        """Whether there is an output called ``name``."""
        return any(tensor.name == name for tensor in self.outputs)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ServedModel:
        """Reverse ``asdict``. Unknown keys are ignored: a newer version may have written them.

        Raises:
            KeyError, TypeError, ValueError: ``value`` is not a description.
        """
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        for kind in ("inputs", "outputs"):
            known[kind] = tuple(_tensor(item) for item in known.get(kind, ()))
        if (head := known.get("head")) is not None:
            from trtbuild.modelspec import Head

            known["head"] = Head.from_dict(head)
        if (vision := known.get("vision")) is not None:
            from trtbuild.modelspec import Vision

            known["vision"] = Vision.from_dict(vision)
        return cls(**{**known, "task": ServedTask(known["task"])})


def _tensor(value: Mapping[str, Any]) -> Tensor:
    dims = tuple(int(size) for size in value.get("dims", ()))
    return Tensor(
        str(value["name"]), str(value["datatype"]), dims, bool(value.get("optional", False))
    )
