"""Labels: files that name the classes of an output."""

from __future__ import annotations

import os

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_inside
from trtbuild_rules.readers.datafiles import size_of

_OUTPUT = 'output [ {{ name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] label_filename: "{}" }} ]'
_GOOD = Example(_OUTPUT.format("labels.txt"), {"m/labels.txt": "cat\ndog\n"})
_REFUSES_OUTSIDE = "26.08"  # the oldest release known here whose server looks where the file is


@rule(
    "TRT221",
    "label files exist",
    fix="put the file into the model's directory, beside the versions",
    mirrors="LabelProvider::AddLabels",
    bad=Example(_OUTPUT.format("labels.txt")),
    good=_GOOD,
)
def label_file(model: Model) -> Problems:
    """``label_filename`` is relative to the model's directory. A directory in place of the file
    crashes the server, and with it every model."""
    for number, tensor in enumerate(model.config.output):
        name = tensor.label_filename
        path = model.path / name.lstrip("/")
        if not name or not is_inside(path, model.repository.root):
            continue
        at = model.at("output", number, "label_filename")
        if path.is_dir():
            yield Problem(f"{name!r} is a directory", at)
            continue
        try:
            size_of(model, name.lstrip("/"))
        except OSError as error:
            read = f"failed to open text file for read {name.removeprefix('/')}"
            server = f"{read}: {error.strerror}"
            yield Problem(f"{name!r} cannot be read", at, server=server)


@rule(
    "TRT222",
    "label files are in the model's directory",
    fix="put the file into the model's directory, beside the versions",
    mirrors="Model::Init",
    bad=Example(_OUTPUT.format("../../labels.txt")),
    good=_GOOD,
)
def label_file_outside(model: Model) -> Problems:
    """Newer servers refuse a label file outside; older ones read it. It does not travel with the
    model."""
    for number, tensor in enumerate(model.config.output):
        name = tensor.label_filename
        if name and not is_inside(model.path / name.lstrip("/"), model.path):
            path = os.path.normpath(model.path / name.lstrip("/"))
            older = model.triton and model.triton < _REFUSES_OUTSIDE
            yield Problem(
                f"{name!r} leads to {path}",
                model.at("output", number, "label_filename"),
                severity=Severity.WARNING if older and os.path.lexists(path) else Severity.ERROR,
                server=f"failed to open text file for read {name.removeprefix('/')}"
                if older
                else f"for output '{tensor.name}' in model '{model.name}' is outside model "
                "directory",
            )


@rule(
    "TRT223",
    "an output has one label file",
    fix="remove one of the two outputs",
    mirrors="LabelProvider::AddLabels",
    bad=Example(
        "output [\n"
        + ",\n".join(
            2 * ['  { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] label_filename: "labels.txt" }']
        )
        + "\n]",
        {"m/labels.txt": "cat\n"},
    ),
    good=_GOOD,
)
def one_label_file(model: Model) -> Problems:
    """Two outputs of one name are accepted, but not with two label files."""
    seen: set[str] = set()
    for number, tensor in enumerate(model.config.output):
        if tensor.label_filename and tensor.name in seen:
            yield Problem(
                f"a second label file for {tensor.name!r}",
                model.at("output", number, "label_filename"),
                server=f"multiple label files for '{tensor.name}'",
            )
        if tensor.label_filename:
            seen.add(tensor.name)
