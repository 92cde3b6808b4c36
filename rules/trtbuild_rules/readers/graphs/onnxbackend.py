"""How the ONNX Runtime backend completes a configuration, and what it refuses.

Read from triton-inference-server/onnxruntime_backend, src/onnxruntime.cc and
src/onnxruntime_utils.cc (02ffb9e, 2026): AutoCompleteConfig, ValidateBooleanSequenceControl,
ValidateTypedSequenceControl, ValidateInputs, ValidateOutputs, CompareDimsSupported. Of states it
only counts the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trtbuild import pbtxt
from trtbuild.check.completed import shown
from trtbuild_rules.readers.graphs.filetensors import Pair, Refusal

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.onnxfile import OnnxFile, OnnxTensor

DEFAULT_MAX_BATCH_SIZE = 4
"""What the server hands the backends unless --backend-config says otherwise."""
_CONTROLS = ("START", "END", "READY", "CORRID")


def completes(config: Any) -> bool:
    """Whether the backend completes a configuration: not when both sides are written."""
    return not (len(config.input) + len(config.batch_input) and len(config.output))


def completed(config: Any, file: OnnxFile) -> Any:
    """A copy of a ``ModelConfig`` with the tensors and the batch that the backend fills in from
    the file. Ask :func:`refusals` whether it then loads the model."""
    done = type(config)()
    done.CopyFrom(config)
    if not completes(config):
        return done
    if _batches(file) and done.max_batch_size == 0:
        done.max_batch_size = DEFAULT_MAX_BATCH_SIZE
    if not len(config.input) + len(config.batch_input):
        _fill(done.input, file.inputs, done.max_batch_size)
    if not config.output:
        _fill(done.output, file.outputs, done.max_batch_size)
    return done


def _batches(file: OnnxFile) -> bool:
    return all(one.dims[:1] == (-1,) for one in (*file.inputs.values(), *file.outputs.values()))


def _fill(tensors: Any, has: Mapping[str, OnnxTensor], batch: int) -> None:
    for name, one in has.items():
        dims = one.dims[1:] if batch else one.dims
        tensor = tensors.add(name=name, dims=dims or (1,))
        tensor.data_type = pbtxt.data_type(one.data_type)
        if batch and not dims:
            tensor.reshape.SetInParent()


def refusals(config: Any, called: str, file: OnnxFile, *, auto_complete: bool) -> Iterator[Refusal]:
    """All that the backend would refuse, in its order; it says only the first.

    Args:
        config: The ``ModelConfig`` as it is written.
        called: The model's name.
        file: Its ONNX file.
        auto_complete: Whether the server completes configurations.
    """
    yield from _unsupported(file)
    if auto_complete and completes(config):
        sure = _batch_is_sure(file)
        if config.max_batch_size and not _batches(file):
            yield _no_batch(called, sure=sure)
            return
        done = completed(config, file)
        yield from _unusable(config, done, called)
        found = _compared(done, called, file)
        yield from found if sure else (replace(one, sure=False) for one in found)
    else:
        yield from _compared(config, called, file)


def _compared(config: Any, called: str, file: OnnxFile) -> Iterator[Refusal]:
    wrong = list(_controls(config, called, file))
    yield from wrong or _count(config, called, file)
    yield from _inputs(config, called, file)
    yield from _outputs(config, called, file)


def _unsupported(file: OnnxFile) -> Iterator[Refusal]:
    for kind, has in (("input", file.inputs), ("input", file.optional), ("output", file.outputs)):
        for name, one in has.items():
            if one.kind != "TENSOR":
                yield Refusal(
                    f"the {kind} {name!r} of the file is not a tensor ({one.kind.lower()})",
                    f"Unsupported ONNX Type 'ONNX_TYPE_{one.kind}' for I/O '{name}', expected "
                    "'ONNX_TYPE_TENSOR'.",
                    fix="export the model without it; skl2onnx: options={'zipmap': False}",
                )


def _batch_is_sure(file: OnnxFile) -> bool:
    """Whether :func:`_batches` holds whatever more ONNX Runtime infers."""
    every = (*file.inputs.values(), *file.outputs.values())
    sure = [one for one in every if one.rival is None and (one.dims or not one.vague)]
    if any(one.dims[:1] != (-1,) for one in sure):
        return True
    return len(sure) == len(every) and not any(one.vague for one in every)


def _no_batch(called: str, *, sure: bool) -> Refusal:
    return Refusal(
        "max_batch_size is not 0, but the file has a tensor without an open first dimension",
        f"autofill failed for model '{called}': model does not support batching while non-zero "
        "max_batch_size is specified",
        ("max_batch_size",),
        sure=sure,
        fix="write max_batch_size: 0, or export the model with an open batch",
    )


def _unusable(config: Any, done: Any, called: str) -> Iterator[Refusal]:
    """What the server itself refuses of the tensors that the backend fills in."""
    for kind in ("input", "output"):
        for tensor in () if getattr(config, kind) else getattr(done, kind):
            said = f"model {kind} '{tensor.name}'"
            if not tensor.data_type:
                yield Refusal(
                    f"the {kind} {tensor.name!r} of the file has a type that Triton does not have",
                    f"{said} must specify 'data_type' for {called}",
                )
            elif 0 in tensor.dims:
                yield Refusal(
                    f"the {kind} {tensor.name!r} of the file has a dimension of 0",
                    f"{said} dimension must be integer >= 1, or -1 to indicate a variable-size "
                    f"dimension for {called}",
                )


def _controls(config: Any, called: str, file: OnnxFile) -> Iterator[Refusal]:
    for name, data_type, path in controls(config):
        found = file.inputs.get(name)
        if found is None:
            yield Refusal(
                f"the sequence control {name!r} is not an input of the file",
                f"configuration specified sequence control '{name}', but model does not provide "
                "that input",
                path,
            )
            continue
        dims = found.dims[1:] if config.max_batch_size > 0 else found.dims
        if dims != (1,):
            yield Refusal(
                f"the sequence control {name!r} is {list(dims)} in the file, not [1]",
                f"unable to load model '{called}', sequence control '{name}' in model has dims "
                f"{shown(dims)} but dims [1] is expected",
                path,
            )
        elif data_type != found.data_type:
            yield Refusal(
                f"the sequence control {name!r} is {data_type}, in the file {found.called}",
                f"unable to load model '{called}', sequence control '{name}', the model expects "
                f"data-type {found.called} but the model configuration specifies data-type "
                f"{data_type}",
                path,
            )


def controls(config: Any) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Name, type and place of each sequence control that the backend looks at."""
    for wanted in _CONTROLS:
        for number, tensor in enumerate(config.sequence_batching.control_input):
            for control in tensor.control:
                kind = type(control).Kind.Name(control.kind).removeprefix("CONTROL_SEQUENCE_")
                if kind == wanted and tensor.name:
                    path = ("sequence_batching", 0, "control_input", number, "name")
                    yield tensor.name, _control_type(control, kind), path


def _control_type(control: Any, kind: str) -> str:
    if kind == "CORRID":
        return pbtxt.data_type_name(control.data_type)
    for field, name in (("int32", "INT32"), ("fp32", "FP32"), ("bool", "BOOL")):
        if getattr(control, f"{field}_false_true"):
            return f"TYPE_{name}"
    return "TYPE_INVALID"


def _count(config: Any, called: str, file: OnnxFile) -> Iterator[Refusal]:
    expected = (
        sum(not tensor.optional for tensor in config.input)
        + len(config.batch_input)
        + len(list(controls(config)))
        + len(config.sequence_batching.state)
    )
    if expected == len(file.inputs):
        return
    named = {tensor.name for tensor in config.input}
    named |= {name for name, *_ in controls(config)}
    named |= {state.input_name for state in config.sequence_batching.state}
    named |= {name for one in config.batch_input for name in one.target_name}
    missing = ", ".join(repr(name) for name in file.inputs if name not in named)
    more = f"; config.pbtxt lacks {missing}" if missing else ""
    yield Refusal(
        f"the file has {_inputs_of(len(file.inputs))}, config.pbtxt {expected} (controls, states "
        f"and batch inputs count){more}",
        f"unable to load model '{called}', configuration expects {expected} inputs, model "
        f"provides {len(file.inputs)}",
        ("input",),
    )


def _inputs_of(count: int) -> str:
    return f"{count} input{'' if count == 1 else 's'}"


def _inputs(config: Any, called: str, file: OnnxFile) -> Iterator[Refusal]:
    has = {**file.inputs, **file.optional}
    for number, tensor in enumerate(config.input):
        found = has.get(tensor.name)
        pair = Pair("input", number, tensor, found, called, config.max_batch_size > 0)
        if tensor.optional and pair.batched:
            yield pair.refusal(
                "is optional, in a model with a batch",
                f"optional input '{tensor.name}' is not supported for models that support batching",
                "optional",
            )
        elif found is None:
            yield pair.unknown(sorted(has))
        elif found.kind == "TENSOR":
            yield from pair.types() or (pair.ragged if tensor.allow_ragged_batch else pair.dims)()


def _outputs(config: Any, called: str, file: OnnxFile) -> Iterator[Refusal]:
    targets = {name for one in config.batch_output for name in one.target_name}
    for number, tensor in enumerate(config.output):
        found = file.outputs.get(tensor.name)
        pair = Pair("output", number, tensor, found, called, config.max_batch_size > 0)
        if found is None:
            yield pair.unknown(sorted(file.outputs))
        elif found.kind == "TENSOR":
            yield from pair.types() or ([] if tensor.name in targets else pair.dims())
