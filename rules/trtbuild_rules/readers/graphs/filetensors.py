"""A tensor of a configuration beside the tensor of the model's file, as backends compare them.

The sentences are those of triton-inference-server/onnxruntime_backend, src/onnxruntime.cc and
src/onnxruntime_utils.cc, and of backend, src/backend_common.cc.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from trtbuild import pbtxt
from trtbuild.check.completed import shown, type_name

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.onnxfile import OnnxTensor


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the backend does not load a model.

    Attributes:
        message: In our words.
        server: In the backend's.
        path: The field of the configuration.
        sure: Whether it is so for every size that ONNX Runtime may find.
        fix: What to change, if more is known than the rule's usual fix.
    """

    message: str
    server: str
    path: tuple[str | int, ...] = ()
    sure: bool = True
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the configuration and what the file has under its name."""

    kind: str
    number: int
    tensor: Any
    found: OnnxTensor | None
    called: str
    batched: bool

    def refusal(
        self, message: str, server: str, field: str, *, model: bool = True, **more: Any
    ) -> Refusal:
        start = f"unable to load model '{self.called}', " if model else ""
        path = (self.kind, self.number, field)
        what = f"the {self.kind} {self.tensor.name!r} {message}"
        return Refusal(what, start + server, path, **more)

    def unknown(self, allowed: Sequence[str]) -> Refusal:
        said = f"unexpected inference {self.kind} '{self.tensor.name}', allowed {self.kind}s are: "
        message = f"is not in the file; it has {', '.join(allowed) or 'none'}"
        return self.refusal(message, said + ", ".join(allowed), "name", model=False)

    def unsupported(self, data_type: str) -> Refusal:
        named = f"{data_type} for {self.kind} '{self.tensor.name}'"
        message = f"is {data_type}, which the backend does not support"
        server = f"unsupported datatype {named} for model '{self.called}'"
        return self.refusal(message, server, "data_type", model=False)

    def written(self) -> tuple[str, tuple[int, ...]]:
        """The field with its sizes as the backend sees them, and these."""
        reshaped = self.tensor.HasField("reshape")
        dims = tuple(self.tensor.reshape.shape if reshaped else self.tensor.dims)
        return "reshape" if reshaped else "dims", dims

    def types(self) -> list[Refusal]:
        assert self.found is not None
        written, has = pbtxt.data_type_name(self.tensor.data_type), self.found.data_type
        if written in ("TYPE_INVALID", "TYPE_BF16"):
            return [self.unsupported(written)]
        if written == has:
            return []
        server = (
            f"configuration expects datatype {written} for {self.kind} '{self.tensor.name}', "
            f"model provides TYPE_{type_name(pbtxt.data_type(has))}"
        )
        fix = "" if has == "TYPE_INVALID" else f"write data_type: {has}"
        message = f"is {written}, in the file {self.found.called}"
        return [self.refusal(message, server, "data_type", fix=fix)]

    def ragged(self) -> Iterator[Refusal]:
        assert self.found is not None
        said = "configuration expects model provides input with shape [-1] "
        named = f"for ragged input '{self.tensor.name}'"
        if self.tensor.optional:
            server = f"{said}{named}, which is not supported for optional input"
            yield self.refusal("is ragged and optional", server, "allow_ragged_batch")
        elif self.found.dims != (-1,):
            yield self.refusal(
                f"is ragged, so the file must have it as [-1]; it is {list(self.found.dims)}",
                f"{said} {named}, model provides {shown(self.found.dims)}",
                "allow_ragged_batch",
            )

    def dims(self) -> list[Refusal]:
        """What the backend says of the sizes; not surely, if it may find other ones."""
        assert self.found is not None
        said = self._sizes(self.found.dims)
        if said is None:
            return []
        if self.found.rival is None:
            return [said]
        other = self._sizes(self.found.rival)
        # they differ in the sizes that they print
        server = commonprefix([said.server, other.server if other else ""])  # noqa: RUF071
        return [replace(said, sure=said.sure and other is not None, server=server)]

    def _sizes(self, has: tuple[int, ...]) -> Refusal | None:
        """What the backend says if the file's tensor has these sizes."""
        field, dims = self.written()
        if not has:
            return self._scalar(dims, field) if any(size != 1 for size in dims) else None
        if self.batched and has[0] != -1:
            return self.refusal(
                f"is {list(has)} in the file: a batch needs an open first dimension",
                f"model '{self.called}', tensor '{self.tensor.name}': for the model to support "
                "batching the shape should have at least 1 dimension and the first dimension "
                f"must be -1; but shape expected by the model is {shown(has)}",
                field,
                model=False,
                fix="write max_batch_size: 0, or export the model with an open batch",
            )
        full = (-1, *dims) if self.batched else dims
        fits = _fits(has, full, exact=self.kind == "output")
        return None if fits else self._misfit(has, full, field)

    def _scalar(self, dims: tuple[int, ...], field: str) -> Refusal:
        assert self.found is not None
        return self.refusal(
            f"is {list(dims)}, and the file gives it no shape",
            f"scalar tensor '{self.tensor.name}', should only provide 1 in the model "
            "configuration when the model doesn't support batching. Model configuration "
            f"provided: {shown(dims)}.",
            field,
            sure=not self.found.vague,
            fix="write dims: [ 1 ], or export the model with the shape",
        )

    def _misfit(self, has: tuple[int, ...], full: tuple[int, ...], field: str) -> Refusal:
        assert self.found is not None
        said = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit "
            f"tensor shape, making complete shape {shown(full)}"
            if self.batched
            else f"shape {shown(full)}"
        )
        right = ", ".join(map(str, has[1:] if self.batched else has))
        start = (
            f"model '{self.called}', tensor '{self.tensor.name}': the model expects {len(has)} "
            "dimensions (shape "
        )
        rest = (
            f"{shown(has)}) but the model configuration specifies {len(full)} dimensions ({said})"
        )
        return self.refusal(
            f"is {list(full)}{' with its batch' if self.batched else ''}, in the file {list(has)}",
            start if self.found.vague and -1 in has else start + rest,
            field,
            model=False,
            sure=not (self.found.vague and _fits(has, full, exact=True, open_fits=True)),
            fix=f"write dims: [ {right} ]" if right and field == "dims" else "",
        )


def _fits(
    dims: Sequence[int], expected: Sequence[int], *, exact: bool, open_fits: bool = False
) -> bool:
    """Whether written sizes are those of a file; with ``open_fits``, whether they may be."""
    return len(dims) == len(expected) and all(
        a == b or (a == -1 and (open_fits or not exact))
        for a, b in zip(dims, expected, strict=True)
    )
