"""What backends fill in where the server completes configurations.

Nothing is executed: of a Python model the literals in ``auto_complete_config`` are known, of an
ONNX model its file, of any other that completes itself only what its configuration says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from trtbuild import pbtxt
from trtbuild.check.context import Model
from trtbuild_rules.readers import known_backends
from trtbuild_rules.readers.graphs.onnxmodel import BACKEND, completed_config, onnx_files

if TYPE_CHECKING:
    from trtbuild_rules.readers.python.pycomplete import Completion


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of a model as its clients and ensembles meet them.

    Attributes:
        config: A ``ModelConfig`` with what is known of its inputs, outputs and batch.
        whole: Whether it has no other tensors.
        filled: Whether types and shapes that are left out there stay so.
        batch_known: Whether ``max_batch_size`` stays so.
    """

    config: Any
    whole: bool = True
    filled: bool = True
    batch_known: bool = True


def completes(model: Model) -> bool:
    """Whether a model's backend fills in tensors, as far as its name and files tell."""
    row = known_backends.backends().get(model.backend)
    if row is None or row.completes == "no" or model.config.runtime == _PYTORCH_2:
        return False
    return row.completes != "python" or _of_python(model) is not None


_PYTORCH_2 = (
    "model.py"  # the runtime of NVIDIA's backend for PyTorch 2 models; it completes nothing
)


def is_unknown(model: Model) -> bool:
    """Whether nobody knows what a model's backend fills in."""
    return bool(model.backend) and model.backend not in known_backends.backends()


_OPEN = partial(Tensors, whole=False, filled=False, batch_known=False)


def tensors_of(model: Model) -> Tensors:
    """The tensors of a model once the server and its backend completed the configuration."""
    memo, key = model.repository.memo, ("tensors", model.name)
    if key not in memo:
        memo[key] = _tensors_of(model)
    tensors: Tensors = memo[key]
    return tensors


def _tensors_of(model: Model) -> Tensors:
    if not model.repository.options.auto_complete:
        return Tensors(model.config)
    if is_unknown(model):
        return _OPEN(model.config)
    if not completes(model):
        return Tensors(model.config)
    row = known_backends.backends()[model.backend]
    if row.completes == "python" and (of_source := _of_python(model)) is not None:
        return _completed_by_python(model.config, of_source)
    if (of_file := _completed_by_file(model)) is not None:
        return of_file
    config = model.config
    whole = row.completes == "missing" and bool(config.input and config.output)
    return _OPEN(config, whole=whole)


def _completed_by_file(model: Model) -> Tensors | None:
    """The tensors of an ONNX model; None when they are not known from its file."""
    if model.backend != BACKEND:
        return None
    try:
        files = [file for _, file in onnx_files(model)]
        config = completed_config(model)
    except OSError:  # another rule reports it
        return None
    if config is None:
        return None
    vague = {name for file in files for name, one in file.outputs.items() if one.is_vague}
    for tensor in config.output if vague and not model.config.output else ():
        if tensor.name in vague:
            tensor.ClearField("dims")
    return Tensors(config, filled=not vague)


def _of_python(model: Model) -> Completion | None:
    """What every served version of a Python model adds; None if none completes anything."""
    from trtbuild_rules.readers.python.pycomplete import UNKNOWN
    from trtbuild_rules.readers.python.pysource import read_source

    name = model.completed.filename or "model.py"
    try:
        found = [read_source(model.read(f"{version}/{name}")) for version in model.served]
    except OSError:
        return UNKNOWN
    several = [source.completion for source in found if source.completion is not None]
    if not several or len(found) == 1:
        return several[0] if several else None
    return several[0] if all(one == several[0] for one in several) else UNKNOWN


def _completed_by_python(config: Any, completion: Completion) -> Tensors:
    done = pbtxt.model_config()
    done.CopyFrom(config)
    try:
        for added in completion.added:
            _add(getattr(done, added.kind), added.properties)
        if completion.batch:
            done.max_batch_size = completion.batch
    except ValueError:  # names and numbers that no configuration can hold; the server refuses them
        return _OPEN(config)
    whole = completion.whole
    return Tensors(done, whole, filled=whole, batch_known=completion.batch is not None)


def _add(tensors: Any, properties: Any) -> None:
    """As ``ModelConfig.add_input`` does: what the configuration has stays, what it lacks comes."""
    name = properties["name"]
    tensor = next((one for one in tensors if one.name == name), None) or tensors.add(name=name)
    if not tensor.data_type:
        tensor.data_type = _data_type(properties.get("data_type"))
    dims = properties.get("dims")
    if not tensor.dims and isinstance(dims, list) and all(isinstance(n, int) for n in dims):
        tensor.dims.extend(dims)
    if properties.get("optional") is True and "optional" in tensor.DESCRIPTOR.fields_by_name:
        tensor.optional = True


def _data_type(name: Any) -> int:
    try:
        return pbtxt.data_type(name) if isinstance(name, str) else 0
    except ValueError:
        return 0
