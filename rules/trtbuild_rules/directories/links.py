"""Links: symbolic links in a model's directory that the server follows."""

from __future__ import annotations

import os

from trtbuild.check.context import CONFIG, Model, Repository
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example, Link
from trtbuild_rules.readers.links import broken_beside, is_endless, leads_nowhere


@rule(
    "TRT211",
    "no link beside the versions is broken",
    fix="put the file itself there, or remove the link",
    mirrors="ModelRepositoryManager::Poll",
    needs_config=False,
    bad=[{"m/labels.txt": Link("../lost/labels.txt")}, {"m/a": Link("b"), "m/b": Link("a")}],
    good=[{"m/labels.txt": Link("1/model.py")}, {"m/1/data": Link("lost")}],
)
def links_beside_versions(model: Model) -> Problems:
    """The server looks at everything beside the versions, and refuses a model with a broken or
    circular link there. Inside a version such a link matters only in place of a file from which
    the server infers the backend."""
    reads_first = CONFIG if not model.repository.options.auto_complete else ""
    for name in (*broken_beside(model), *_inferred_from(model)):
        fails = "open text file for read" if name == reads_first else "stat file"
        yield Problem(
            f"{name} is a broken link",
            file=name,
            server=f"Poll failed for model directory '{model.name}': failed to {fails} {name}",
        )


# It asks whether these are files or directories; of model.onnx, model.xml and model.py it does not.
_ASKED = ("model.savedmodel", "model.graphdef", "model.plan", "model.pt")


def _inferred_from(model: Model) -> list[str]:
    config = model.config
    if config is None or config.backend or config.platform or config.default_model_filename:
        return []
    first = min(model.folders, key=lambda folder: os.fsencode(folder.name), default=None)
    root = model.repository.root
    if first is None:
        return []
    return [f"{first.name}/{n}" for n in _ASKED if leads_nowhere(first / n, root)]


@rule(
    "TRT212",
    "no two links lead back to a directory above them",
    fix="remove the links to directories above them",
    mirrors="GetModifiedTime",
    needs_config=False,
    bad={"m/1/a": Link(".."), "m/1/b": Link("..")},
    good=[
        {"m/1/a": Link("data"), "m/1/b": Link("data"), "m/1/data/x": ""},
        Example(files={"m/1/a": Link("..")}),
    ],
)
def no_endless_links(model: Model) -> Problems:
    """The server follows links to directories. It gives up on a single link that leads back after
    40 steps, but two of them double the work at each step: the server hangs and loads nothing."""
    links = [entry.path for entry in model.tree if entry.kind == "link"]
    if is_endless(model.path, model.repository.root, links):
        yield Problem(
            f"links lead back to directories above them, such as {_back(model, links)}: the "
            "server never stops following them",
            file="",
        )


def _back(model: Model, links: list[str]) -> str:
    """A link to a directory above it, or any link to a directory."""
    to_directories = [link for link in links if (model.path / link).is_dir()]
    for link in to_directories:
        path = (model.path / link).absolute()
        if (
            path.resolve() in path.parent.resolve().parents
            or path.resolve() == path.parent.resolve()
        ):
            return link
    return to_directories[0]


@rule(
    "TRT213",
    "no link at the root is broken",
    fix="put the model itself there, or remove the link",
    mirrors="ModelRepositoryManager::Poll",
    scope="repository",
    bad={"old": Link("/nowhere/old")},
    good={"notes.txt": Link("m/1/model.py")},
)
def links_at_the_root(repository: Repository) -> Problems:
    """The server checks everything at the root, and loads no model if a link there is broken,
    unless it gets each model's name (``--load-model=NAME``)."""
    for path in sorted(repository.root.iterdir()):
        if leads_nowhere(path, repository.root):
            yield Problem(
                f"{path.name} is a broken link",
                file=path.name,
                server="failed to poll model repository '/models': failed to stat file "
                f"/models/{path.name}",
            )
