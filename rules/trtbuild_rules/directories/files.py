"""Files: the version directory has the files that the backend opens, and they are valid."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.version import Version

from trtbuild import toolchain
from trtbuild.check.completed import is_version
from trtbuild.check.context import CONFIG, Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import OPENVINO_XML, Example
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_inside, is_placeholder, open_inside
from trtbuild.files import begins_page, stand_in
from trtbuild.located.positions import NOWHERE
from trtbuild_rules.readers.graphs.onnxmodel import onnx_files
from trtbuild_rules.readers.modelfiles import Wanted, wanted

_ONNX = Example(base="onnx")
_OPENVINO = Example(base="openvino")
_PUT = "put the model's file into the version directory"
_POINTER = """\
version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


def _backend(name: str, file: str, content: str = "x") -> Example:
    config = f'backend: "{name}" instance_group [ {{ kind: KIND_CPU }} ]'
    return Example(config, {"m/1/": "", file: content} if file else {"m/1/": ""})


@rule(
    "TRT631",
    "every version has the model file that its backend opens",
    fix=_PUT,
    mirrors="ModelState::LoadModel",
    bad=[
        Example(files={"m/1/": "", "m/1/model.onnx": None}, base="onnx"),
        Example('default_model_filename: "net.onnx"', base="onnx"),
        _backend("pytorch", "m/1/weights.pth"),
        _backend("openvino", ""),
        _backend("tensorrt", "m/1/model.plan", "<!DOCTYPE html><title>model.plan</title>"),
    ],
    good=[_ONNX, _backend("pytorch", "m/1/model.pt"), _OPENVINO],
)
def model_file(model: Model) -> Problems:
    """A backend opens the file in ``default_model_filename`` or its own default. On a GPU it opens
    the file that ``cc_model_filenames`` lists for the compute capability. An empty file or a
    web page in its place is reported, too."""
    for file in wanted(model):
        if why := _trouble(model, file):
            near = _nearest(model, file) if why == _MISSING else ""
            yield Problem(
                f"{file.path} {why}" + (f"; did you mean {near!r}?" if near else ""),
                model.at(*file.place) if file.place else NOWHERE,
                file=CONFIG if file.place else file.path,
                server=file.says,
                fix="correct the name, or " + _PUT if file.place else "",
                severity=None if file.sure else Severity.WARNING,
            )


_MISSING = "is missing"


def _trouble(model: Model, file: Wanted) -> str:
    """Why a file cannot be opened, empty if it can be or lies where nobody looks."""
    path = model.path / file.path
    if not is_inside(path, model.repository.root):
        return ""  # TRT207 reports the link
    try:
        found = path.stat()
    except FileNotFoundError:
        return "is a broken link" if path.is_symlink() else _MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if stat.S_ISDIR(found.st_mode):
        return "" if file.may_be_directory else "is a directory"
    if not found.st_size:
        return "is empty"
    return "is a web page, not the file itself" if _is_web_page(model, path) else ""


_UNREAD = ("dali", "fil", "tensorrt", "tensorflow")  # of the others a rule reads the file


def _is_web_page(model: Model, path: Path) -> bool:
    """Whether a download was a page about the file: of a repository's viewer, or an error's."""
    if model.backend not in _UNREAD:
        return False
    try:
        with open_inside(path, model.repository.root) as stream:
            return begins_page(stream.read(256))
    except OSError:  # a Git LFS pointer, for example
        return False


def _nearest(model: Model, file: Wanted) -> str:
    """The file there that is probably meant, empty if none is near."""
    here = PurePosixPath(file.path)
    try:
        names = sorted(path.name for path in (model.path / here.parent).iterdir())
    except OSError:
        names = []
    alike = [name for name in names if PurePosixPath(name).suffix == here.suffix]
    near = difflib.get_close_matches(here.name, alike, n=1, cutoff=0.0)
    near = near or difflib.get_close_matches(here.name, names, n=1, cutoff=0.9)  # .pth for .pt
    return near[0] if near else ""


@rule(
    "TRT632",
    "the external weights of a model file exist",
    fix="copy it from the export directory to the model file's directory",
    bad=Example(files={"m/1/model.xml": OPENVINO_XML.replace("ReLU", "Const")}, base="openvino"),
    good=_OPENVINO,
)
def companions(model: Model) -> Problems:
    """An ONNX model of more than 2 GB keeps its weights in separate files, and an OpenVINO model in
    a ``.bin`` of the same name. Without them the model does not load."""
    for file in wanted(model):
        for name, server in _companions(model, file):
            path = model.path / name
            if is_inside(path, model.repository.root) and not path.exists():
                yield Problem(
                    f"{name} is missing; {file.path} keeps its weights there",
                    file=file.path,
                    server=server,
                )


_HAS_WEIGHTS = re.compile(rb"""type=["']Const["']|<weights\s|<biases\s""")
_NO_WEIGHTS = "Empty weights data in bin file or bin file cannot be found!"
_NO_DATA = "External data path validation failed"
_NO_DATA_BEFORE = ("1.25", "cannot get file size: No such file or directory")


def _no_data(model: Model) -> str:
    """What the release's ONNX Runtime says when external data is not there."""
    found = toolchain.onnx_runtime(model.triton) if model.triton else None
    version, sentence = _NO_DATA_BEFORE
    older = found and Version(found.version) < Version(version)
    return sentence if older else _NO_DATA


def _companions(model: Model, file: Wanted) -> Iterator[tuple[str, str]]:
    """Further files that a model's file names, and the backend's sentence without them."""
    here = PurePosixPath(file.path).parent
    for path, onnx in onnx_files(model) if model.backend == "onnxruntime" else ():
        if path == file.path:
            yield from ((str(here / name), _no_data(model)) for name in onnx.external)
    if model.backend == "openvino" and file.path.endswith(".xml"):
        try:
            text = model.read(file.path)
        except FileNotFoundError:
            return
        if _HAS_WEIGHTS.search(text):
            yield f"{file.path.removesuffix('.xml')}.bin", _NO_WEIGHTS


@rule(
    "TRT633",
    "a PyTorch model has inputs and outputs",
    fix="write all inputs and outputs; the backend does not complete them",
    mirrors="ModelInstanceState::ValidateInputs, ValidateOutputs",
    backends=("pytorch",),
    bad=Example(
        files={
            "m/config.pbtxt": 'backend: "pytorch"\nmax_batch_size: 8',
            "m/1/": "",
            "m/1/model.pt": "x",
        }
    ),
    good=_backend("pytorch", "m/1/model.pt"),
)
def pytorch_tensors(model: Model) -> Problems:
    """TorchScript files do not name their tensors, so the configuration must, also on a server that
    completes configurations."""
    if model.config.runtime == "model.py":
        return  # NVIDIA's backend for PyTorch 2, which does not ask for them
    for kind in ("input", "output"):
        if not getattr(model.config, kind):
            yield Problem(
                f"there is no {kind}",
                model.at("platform" if model.config.platform else "backend"),
                server=f"model configuration must contain at least one {kind}, none were "
                "specified.",
            )


@rule(
    "TRT634",
    "no file is a Git LFS pointer",
    fix="run in the repository: git lfs install && git lfs pull",
    needs_config=False,
    bad={"m/1/tokenizer.json": _POINTER},
    good={"m/1/tokenizer.json": "{}"},
)
def no_pointers(model: Model) -> Problems:
    """A clone without Git LFS has a short text file in place of each large file. For files that
    the model does not load, such as images, unserved versions, tests, examples and documentation,
    this is a warning."""
    for entry in model.tree:
        if entry.kind == "file" and stand_in(model.path / entry.path) == "pointer":
            yield Problem(
                f"{entry.path} is a Git LFS pointer, not the file itself",
                file=entry.path,
                severity=None if _is_loaded(model, PurePosixPath(entry.path)) else Severity.WARNING,
            )


def _is_loaded(model: Model, path: PurePosixPath) -> bool:
    version = path.parts[0]
    left_out = is_version(version) and int(version) not in model.served
    beside = len(path.parts) > 1 and bool(_ASIDE.fullmatch(version))
    return not (left_out or beside) and path.suffix.lower() not in _NOT_LOADED


_ASIDE = re.compile(r"(?i)(test|example|sample|doc|image|figure|demo|benchmark|client)s?|testdata")

_NOT_LOADED = {
    ".avi", ".csv", ".gif", ".ipynb", ".jpeg", ".jpg", ".md", ".mkv", ".mov", ".mp3", ".mp4",
    ".pdf", ".png", ".svg", ".tif", ".tiff", ".wav", ".webm", ".webp", ".zip",
}  # fmt: skip


_ENVIRONMENT = "EXECUTION_ENV_PATH"
_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"


def _environment(value: str) -> str:
    return f'parameters {{ key: "{_ENVIRONMENT}" value {{ string_value: "{value}" }} }}'


@rule(
    "TRT635",
    "the environment of a Python model exists",
    fix="pack it again (conda-pack) and put it there, or remove the parameter",
    mirrors="EnvironmentManager::ExtractIfNotExtracted",
    backends=("python",),
    bad=[
        _environment(f"{_MODEL_DIRECTORY}/env.tar.gz"),
        Example(_environment(f"{_MODEL_DIRECTORY[1:]}/env.tar.gz"), {"m/env.tar.gz": "x"}),
        Example(_environment(f"{_MODEL_DIRECTORY}/env.tar.gz"), {"m/env.tar.gz": "404: not found"}),
    ],
    good=Example(_environment(f"{_MODEL_DIRECTORY}/env.tar.gz"), {"m/env.tar.gz": "x"}),
)
def python_environment(model: Model) -> Problems:
    """``EXECUTION_ENV_PATH`` names a packed environment or its directory. Inside the repository it
    is ``$$TRITON_MODEL_DIRECTORY/…``, with two dollars; other paths are the server's and are not
    checked."""
    value = model.parameters().get(_ENVIRONMENT, "")
    if _MODEL_DIRECTORY not in value:
        if _MODEL_DIRECTORY[1:] in value:
            yield Problem(
                f"{_MODEL_DIRECTORY} has two dollars; {value} is not a path",
                model.at_parameter(_ENVIRONMENT),
                server=f"Failed to get the canonical path for {value}.",
                fix=f"write {_MODEL_DIRECTORY}",
            )
        return
    path = Path(os.path.normpath(value.replace(_MODEL_DIRECTORY, str(model.path))))
    if not is_inside(path, model.repository.root):
        return
    if path.is_file() and not is_placeholder(path) and not _is_archive(path):
        yield Problem(
            f"{value} is not a packed environment",
            model.at_parameter(_ENVIRONMENT),
            server="archive_read_open_filename() failed.",
        )
    if not path.exists():
        there = value.replace(_MODEL_DIRECTORY, f"/models/{model.name}")
        yield Problem(
            f"there is no {value}",
            model.at_parameter(_ENVIRONMENT),
            server=f"Failed to get the canonical path for {there}.",
        )


# gzip, bzip2, xz, zstd, zip
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK")


def _is_archive(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(512)
    return head.startswith(_PACKED) or head[257:262] == b"ustar"
