"""PyTorch: model.pt is what ``torch.jit.save`` writes."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.reading import is_placeholder, open_inside
from trtbuild_rules.readers.modelfiles import wanted

_CONFIG = 'backend: "pytorch" instance_group [ { kind: KIND_CPU } ]'
_NO_ARCHIVE = "failed reading zip archive: failed finding central directory"
_NO_CODE = "failed locating file constants.pkl: file not found"
_FLATBUFFER = b"PTMF"  # after the first four bytes; torch.jit.load reads this form, too


def _archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:  # always the same bytes
            archive.writestr(zipfile.ZipInfo(f"model/{name}"), "")
    return made.getvalue()


def _torch(content: str | bytes) -> Example:
    return Example(_CONFIG, {"m/1/": "", "m/1/model.pt": content})


@rule(
    "TRT636",
    "model.pt is a TorchScript model",
    fix="save torch.jit.script(model) or torch.jit.trace(model, example) with torch.jit.save; "
    "torch.save writes no code",
    mirrors="ModelState::LoadModel",
    backends=("pytorch",),
    bad=[_torch(_archive("data.pkl", "version")), _torch("<!DOCTYPE html><title>404</title>")],
    good=_torch(_archive("data.pkl", "constants.pkl", "version")),
)
def is_torchscript(model: Model) -> Problems:
    """The backend runs TorchScript, a zip archive with the model's code. ``torch.save`` writes an
    archive of weights or of a pickled module, ``torch.export`` one of a graph. The code itself is
    not checked, nor are AOTInductor packages and files of a few bytes, which are placeholders."""
    if model.config.runtime == "model.py" or model.completed.platform == "torch_aoti":
        return
    for file in wanted(model):
        path = model.path / file.path
        try:
            if is_placeholder(path):
                continue
            why, says = _trouble(model, file.path)
        except OSError:  # it is not there, or is no file: TRT631, TRT634 or TRT207
            continue
        if why:
            yield Problem(
                f"{file.path} {why}",
                file=file.path,
                server=f"failed to load model '{model.name}': PytorchStreamReader {says}",
            )


def _trouble(model: Model, file: str) -> tuple[str, str]:
    """What a file is instead of TorchScript, and what PyTorch says of it; empty if nothing is
    wrong. PyTorch before 1.0 wrote ``model.json`` in place of ``constants.pkl``."""
    with open_inside(model.path / file, model.repository.root) as stream:
        if stream.read(8)[4:] == _FLATBUFFER:
            return "", ""
        try:
            with zipfile.ZipFile(stream) as archive:
                names = {PurePosixPath(name).name for name in archive.namelist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            return "is not a TorchScript model: it is not a zip archive, or is cut off", _NO_ARCHIVE
    if names & {"constants.pkl", "model.json"}:
        return "", ""
    what = "an exported program" if any("program" in name for name in names) else "weights"
    return f"has no code: it holds {what}, not a TorchScript model", _NO_CODE
