"""Python: what the Python backend needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild import pbtxt, toolchain
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Example
from trtbuild.check.model import Severity
from trtbuild.errors import UsageError
from trtbuild.located.positions import NOWHERE
from trtbuild_rules.readers.completion import tensors_of

if TYPE_CHECKING:
    from trtbuild_rules.readers.python.pysource import Named, PySource

_PYTHON = ("python",)
# The server's Python may know syntax that ours does not.
_NEWER_SYNTAX = "3.12"


@rule(
    "TRT751",
    "every version of a Python model has its model.py",
    fix="put model.py into the version directory",
    backends=_PYTHON,
    bad={"m/1/model.py": None, "m/1/": ""},
    good={"m/1/model.py": MODEL_PY},
)
def has_model_file(model: Model) -> Problems:
    """Without it the backend's process hangs, and the server never becomes ready."""
    for _, file in _files(model):
        if not (model.path / file).is_file():
            yield Problem(f"{file} is missing", model.at("default_model_filename"), file=file)


def _files(model: Model) -> Iterator[tuple[int, str]]:
    """Every version that would be loaded, and the path of its source."""
    name = model.config.default_model_filename or "model.py"
    for version in model.served:
        yield version, f"{version}/{name}"


def sources(model: Model) -> Iterator[tuple[str, PySource]]:
    """The sources of Python models that can be read, by path; read once for all rules."""
    memo, key = model.repository.memo, ("python", model.name)
    if key not in memo:
        memo[key] = tuple(_read(model))
    yield from memo[key]


def _read(model: Model) -> Iterator[tuple[str, PySource]]:
    from trtbuild_rules.readers.python.pysource import read_source

    for _, file in _files(model):
        try:
            yield file, read_source(model.read(file))
        except FileNotFoundError:
            continue


@rule(
    "TRT601",
    "model.py is Python",
    fix="correct the line",
    mirrors="Stub::Initialize",
    backends=_PYTHON,
    bad={"m/1/model.py": "class TritonPythonModel:\n    def execute(self, requests)\n"},
    good={"m/1/model.py": MODEL_PY},
)
def is_python(model: Model) -> Problems:
    """The file is parsed and compiled here, never run."""
    for file, source in sources(model):
        if source.problem:
            yield Problem(
                f"{file} is not Python: {source.problem}",
                source.at,
                file=file,
                severity=Severity.WARNING if _newer_python(model) else None,
            )


def _newer_python(model: Model) -> bool:
    import sys

    try:
        server = toolchain.load(model.triton).python if model.triton else ""
    except UsageError:
        return False
    return server >= _NEWER_SYNTAX and sys.version_info < (3, 12)


@rule(
    "TRT602",
    "model.py defines TritonPythonModel",
    fix="define class TritonPythonModel at the top level of the file",
    mirrors="Stub::Initialize",
    backends=_PYTHON,
    bad={"m/1/model.py": "class Model:\n    def execute(self, requests):\n        return []\n"},
    good={"m/1/model.py": MODEL_PY},
)
def defines_class(model: Model) -> Problems:
    """The backend makes an object of this class and knows no other name."""
    for file, source in sources(model):
        if not source.problem and not source.defines:
            yield Problem(
                f"{file} does not define TritonPythonModel",
                file=file,
                # the module is model, or 1.model in newer releases
                server="has no attribute 'TritonPythonModel'",
            )


_METHODS = {"__init__": 1, "execute": 2, "initialize": 2, "finalize": 1, "is_ready": 1}
_AT_LOAD = ("__init__", "initialize")


@rule(
    "TRT603",
    "TritonPythonModel has the methods that the backend calls",
    fix="define execute(self, requests), and initialize(self, args) and finalize(self) as needed",
    severity=Severity.WARNING,
    mirrors="Stub::ProcessRequests",
    backends=_PYTHON,
    bad={"m/1/model.py": "class TritonPythonModel:\n    def initialize(self, args): ...\n"},
    good={"m/1/model.py": MODEL_PY},
)
def has_methods(model: Model) -> Problems:
    """A model without ``execute`` is loaded, and then fails every request. ``execute`` and
    ``initialize`` take one argument each, ``finalize`` none. What is called while the model loads
    must take what it is given, or the model is refused."""
    for file, source in sources(model):
        if source.problem or not source.defines or source.inherits:
            continue
        if "execute" not in source.methods:
            yield Problem(
                f"TritonPythonModel in {file} has no execute",
                file=file,
                server=f"Python model {file} does not implement `execute` method.",
            )
        for name, wanted in _METHODS.items():
            fewest, most = source.methods.get(name, (wanted, wanted))
            if not fewest <= wanted <= most:
                says = f"takes {most} positional" if most < wanted else "missing "
                yield Problem(
                    f"{name} in {file} takes {most if most < wanted else fewest} parameters "
                    f"including self; the backend passes {wanted}",
                    file=file,
                    severity=Severity.ERROR if name in _AT_LOAD else None,
                    server=f"TypeError: TritonPythonModel.{name}() {says}",
                )


_CPU_ONLY = "FORCE_CPU_ONLY_INPUT_TENSORS"


@rule(
    "TRT607",
    "FORCE_CPU_ONLY_INPUT_TENSORS is yes or no",
    fix='write string_value: "yes" or "no"',
    mirrors="ModelState::ModelState",
    backends=_PYTHON,
    bad=f'parameters {{ key: "{_CPU_ONLY}" value {{ string_value: "true" }} }}',
    good=f'parameters {{ key: "{_CPU_ONLY}" value {{ string_value: "no" }} }}',
)
def cpu_only(model: Model) -> Problems:
    """The Python backend refuses a model with any other value, an empty one too."""
    value = model.parameters().get(_CPU_ONLY, "no")
    if value not in ("yes", "no"):
        at = model.at_parameter(_CPU_ONLY)
        yield Problem(
            f"{_CPU_ONLY} is {value!r}",
            at if at is not NOWHERE else model.at("parameters"),
            server=f"Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: {value}'",
        )


_DECLARES = """\
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "IN", "data_type": "TYPE_%s", "dims": [1]})
        return config

    def execute(self, requests):
        return [None for _ in requests]
"""


@rule(
    "TRT604",
    "the tensors that model.py declares are those of config.pbtxt",
    fix="make auto_complete_config and config.pbtxt say the same",
    severity=Severity.WARNING,
    mirrors="ModelConfig.add_input, ModelConfig.add_output",
    backends=_PYTHON,
    bad=[
        {"m/1/model.py": _DECLARES % "INT64"},
        Example(files={"m/1/model.py": _DECLARES % "INT64"}, auto_complete=True),
    ],
    good={"m/1/model.py": _DECLARES % "FP32"},
)
def declared_tensors(model: Model) -> Problems:
    """``auto_complete_config`` is called by servers that complete configurations; there, a tensor
    with another type or shape than in the file stops the model. Only literal values are read, and
    not those under a condition, which may be that the file lacks the tensor."""
    for file, source in sources(model):
        for named in source.tensors:
            if named.declared and not named.guarded and (said := _disagrees(model, named)):
                message, server = said
                stops = model.repository.options.auto_complete and _certainly_adds(source, named)
                yield Problem(
                    message,
                    named.at,
                    file=file,
                    server=server,
                    severity=Severity.ERROR if stops else None,
                )


def _certainly_adds(source: PySource, named: Named) -> bool:
    """Whether the server refuses the tensor, and no exception handler takes that back."""
    added = source.completion.added if source.completion else []
    return any((one.kind, one.properties["name"]) == (named.kind, named.name) for one in added)


def _disagrees(model: Model, named: Named) -> tuple[str, str] | None:
    tensors = getattr(model.config, named.kind)
    tensor = next((one for one in tensors if one.name == named.name), None)
    if tensor is None:
        return None
    has = pbtxt.data_type_name(tensor.data_type)
    if named.data_type and tensor.data_type and named.data_type != has:
        return (
            f"{named.kind} {named.name!r} is {named.data_type} in model.py and {has} in the file",
            f"unable to load model '{model.name}', configuration expects datatype {has} for "
            f"{named.kind} '{named.name}', model provides {named.data_type}",
        )
    if named.dims is not None and tensor.dims and named.dims != tuple(tensor.dims):
        return (
            f"{named.kind} {named.name!r} has dims {list(named.dims)} in model.py and "
            f"{list(tensor.dims)} in the file",
            f"model '{model.name}', tensor '{named.name}': the model expects dims "
            f"{list(named.dims)} but the model configuration specifies dims {list(tensor.dims)}",
        )
    return None


_ASKS = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            pb_utils.get_input_tensor_by_name(request, "%s")
        return [None for _ in requests]
"""


@rule(
    "TRT605",
    "model.py uses tensors that config.pbtxt has",
    fix="correct the name, or add the tensor to config.pbtxt",
    severity=Severity.WARNING,
    backends=_PYTHON,
    bad={"m/1/model.py": _ASKS % "in"},
    good={"m/1/model.py": _ASKS % "IN"},
)
def asked_tensors(model: Model) -> Problems:
    """A tensor that the configuration does not have is never in a request: the helper returns
    None, and what uses it fails. If ``initialize`` uses it, the model is not loaded, so this is an
    error. Only names that are literals are read. Where the server completes configurations, what
    ``auto_complete_config`` adds counts too."""
    tensors = tensors_of(model)
    if not tensors.whole:
        return
    batching = model.config.sequence_batching
    controls = {control.name for control in batching.control_input}
    states = batching.state
    known = {
        "input": {tensor.name for tensor in tensors.config.input}
        | controls
        | {state.input_name for state in states},
        "output": {tensor.name for tensor in tensors.config.output}
        | {state.output_name for state in states},
    }
    for file, source in sources(model):
        for named in source.tensors:
            if not named.declared and named.name not in known[named.kind]:
                has = ", ".join(map(repr, sorted(known[named.kind]))) or "none"
                yield Problem(
                    f"{file} uses the {named.kind} {named.name!r}; config.pbtxt has {has}",
                    named.at,
                    file=file,
                    severity=Severity.ERROR if named.needed else None,
                )
