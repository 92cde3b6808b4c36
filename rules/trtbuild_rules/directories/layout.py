"""Layout: directories, names, versions."""

from __future__ import annotations

import os
import re

from trtbuild.check.autofix import Replace
from trtbuild.check.completed import is_version, version_of
from trtbuild.check.context import CONFIG, Model, Repository
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Example, Link
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_inside
from trtbuild.errors import UsageError
from trtbuild.recipe import check_model_name
from trtbuild_rules.readers.completion import completes
from trtbuild_rules.readers.links import broken_beside

_LIKE_A_VERSION = re.compile(r"(?i)v?[-+]?\d|latest|version")
_SKIPPED = {"warmup", "initial_state", "configs"}
_STAGING = ".trtbuild-"
_NO_VERSION = "at least one version must be available under the version policy of model '{}'"


@rule(
    "TRT201",
    "every directory at the root is a model with a config.pbtxt",
    fix="move the directory out of the repository, or write its config.pbtxt",
    mirrors="ModelRepositoryManager::Poll",
    needs_config=False,
    bad={"notes/": ""},
    good={"notes.txt": "a file at the root is not a model"},
)
def has_config(model: Model) -> Problems:
    """Triton treats every directory at the root of a repository as a model, even a hidden one.
    One without a config.pbtxt makes the server exit with an error after it loaded the others."""
    if model.read_problem != "missing":
        return
    if _STAGING in model.name:
        yield Problem(
            f"{model.name!r} is left over from an interrupted trtbuild",
            file="",
            fix="run any 'trtbuild convert' into this repository, or delete the directory",
        )
        return
    if model.repository.options.auto_complete:
        # the Python backend hands the server a configuration whether it completed it or not
        if model.completed.backend not in ("", "python") and not completes(model):
            yield Problem(
                f"the directory {model.name!r} has no config.pbtxt, and its backend writes none",
                file="",
                server=f"model configuration is not provided for model '{model.name}'",
            )
        return
    yield Problem(
        f"the directory {model.name!r} has no config.pbtxt",
        file="",
        server=f"Poll failed for model directory '{model.name}': failed to open text file for read",
    )


@rule(
    "TRT202",
    "the directory is named like the model, and no other repository has that name",
    fix="give the directory and 'name' the same name",
    mirrors="InitializeModelInfo",
    autofix=Replace('"{model}"'),
    bad='name: "other"',
    good='name: "m"',
)
def directory_name(model: Model) -> Problems:
    """Triton finds a model by its directory, so both names must agree. Of two repositories of one
    server that have a model of the same name it loads neither, unless it is started with
    ``--model-namespacing=true``."""
    name = model.config.name
    if name and name != model.name:
        yield Problem(
            f"the directory is named {model.name!r}, the model {name!r}",
            model.at("name"),
            server=f"unexpected directory name '{model.name}' for model '{name}', "
            "directory name must equal model name",
        )
    for other in () if model.repository.options.namespacing else model.repository.siblings:
        if other.has(model.name):
            yield Problem(
                f"{str(other.root)!r} has a model {model.name!r} too",
                file="",
                server=f"failed to poll model '{model.name}': not unique across all model "
                "repositories",
                fix="rename one of them, or start the server with --model-namespacing=true",
            )


@rule(
    "TRT203",
    "the model has a version",
    fix="put the model's files into a directory '1'",
    mirrors="VersionsToLoad",
    bad={"m/1/": None},
    good={"m/1/model.py": MODEL_PY},
)
def has_version(model: Model) -> Problems:
    """A version is a directory whose name is a number, ``1`` for the first one. An ensemble
    needs one too, even if it is empty."""
    if not model.served and not _specific_missing(model):
        yield Problem(
            "there is no version directory"
            if not model.versions
            else "the version policy selects none of the versions "
            + ", ".join(map(str, model.versions)),
            model.at("version_policy"),
            server=_NO_VERSION.format(model.name),
        )


@rule(
    "TRT204",
    "every version that the policy names exists",
    fix="add the version's directory, or remove the number from version_policy",
    mirrors="VersionsToLoad",
    bad="version_policy { specific { versions: [ 1, 3 ] } }",
    good="version_policy { specific { versions: [ 1 ] } }",
)
def specific_versions(model: Model) -> Problems:
    """``version_policy { specific }`` names versions. The server complains of a missing one, and
    refuses the model when none of them is there."""
    for number, version in _specific_missing(model):
        yield Problem(
            f"the policy names version {version}, which has no directory",
            model.at("version_policy", "specific", "versions", number),
            server=f"version {version} is specified for model '{model.name}', but the version "
            "directory is not present"
            if model.served
            else _NO_VERSION.format(model.name),
            severity=Severity.WARNING if model.served else Severity.ERROR,
        )


def _specific_missing(model: Model) -> list[tuple[int, int]]:
    policy = model.config.version_policy
    if policy.WhichOneof("policy_choice") != "specific":
        return []
    return [(i, v) for i, v in enumerate(policy.specific.versions) if v not in model.versions]


@rule(
    "TRT205",
    "directories of a model are versions",
    fix="rename it to a number without a leading zero, or move it into a version directory",
    severity=Severity.WARNING,
    mirrors="VersionsToLoad",
    needs_config=False,
    bad={"m/01/model.py": MODEL_PY},
    good={"m/2/model.py": MODEL_PY},
)
def other_folders(model: Model) -> Problems:
    """A directory whose name is not a number, or starts with 0, is ignored by the server with a
    warning. From ``1a``, ``+1`` or ``-1`` it reads the number, and then looks for a directory of
    that name. Names that do not look like a version, such as ``assets``, are one info per model if
    there is a version beside them; caches and hidden directories are not reported."""
    names = [
        folder.name
        for folder in model.folders
        if not is_version(folder.name) and not _is_scratch(folder.name)
    ]
    versioned = any(is_version(folder.name) for folder in model.folders)
    meant = [name for name in names if not versioned or _LIKE_A_VERSION.match(name)]
    for name in meant:
        yield Problem(f"{name!r} is not a version, so the server ignores it", file="")
    others = [name for name in names if name not in meant]
    if others:
        verb = "is not a version" if len(others) == 1 else "are not versions"
        yield Problem(
            f"{', '.join(map(repr, others))} {verb}, so the server ignores "
            f"{'it' if len(others) == 1 else 'them'}",
            file="",
            fix="ignore this if the model finds its files there; otherwise move them",
            severity=Severity.INFO,
        )


def _is_scratch(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__" or name in _SKIPPED


@rule(
    "TRT210",
    "a version's number fits into 64 bits",
    fix="rename the directory to a smaller number",
    mirrors="VersionsToLoad",
    needs_config=False,
    bad={"m/99999999999999999999/model.py": MODEL_PY},
    good={"m/20261121/model.py": MODEL_PY},
)
def version_fits(model: Model) -> Problems:
    """A directory whose name is a larger number crashes the server, and with it every model."""
    for folder in model.folders:
        version = version_of(folder.name)
        if version is not None and not -(2**63) <= version < 2**63:
            yield Problem(f"{folder.name!r} does not fit into 64 bits", file=folder.name)


@rule(
    "TRT206",
    "the name is safe in files, URLs and shells",
    fix="use 1 to 63 letters, digits, '_', '-' or '.', starting with a letter or digit",
    severity=Severity.WARNING,
    mirrors="ValidateModelName",
    needs_config=False,
    bad={"a b/config.pbtxt": 'name: "a b"'},
    good='name: "m"',
)
def safe_name(model: Model) -> Problems:
    """Triton accepts more names than URLs, Kubernetes labels and shells do. It refuses names
    that leave the repository."""
    if _STAGING in model.name:
        return
    try:
        check_model_name(model.name)
    except UsageError as error:
        yield Problem(error.what, file="")


@rule(
    "TRT207",
    "nothing points out of the repository",
    fix="put the file itself there (trtbuild convert does)",
    severity=Severity.WARNING,
    needs_config=False,
    bad={"m/1/data": Link("/etc/hostname")},
    good={"m/1/data": Link("model.py")},
)
def no_link_outside(model: Model) -> Problems:
    """A symbolic link to a place outside breaks when the repository is moved, copied or mounted
    in a container, and may expose files to the server that it should not read."""
    links = [entry.path for entry in model.tree if entry.kind == "link"]
    if model.path.is_symlink():
        links.insert(0, "")
    broken = broken_beside(model)  # TRT211 reports these
    for link in links:
        path = model.path / link
        if link not in broken and not is_inside(path, model.repository.root):
            target = os.path.realpath(path)
            message = f"{link or model.name} is a link to {target}, outside the repository"
            yield Problem(f"{message}; it was not checked", file=link)


@rule(
    "TRT208",
    "the repository has a model",
    fix="trtbuild convert SOURCE --repo REPO",
    scope="repository",
    bad=Example(base=""),
    good='name: "m"',
)
def not_empty(repository: Repository) -> Problems:
    """An empty repository serves nothing; usually the path is wrong."""
    if not repository.directories:
        yield Problem("the repository is empty: it has no model", file="")
    elif (repository.root / CONFIG).is_file():
        yield Problem(
            "config.pbtxt is at the root: this looks like a model, not a repository",
            file=CONFIG,
            severity=Severity.WARNING,
            fix="give the directory above it as the repository",
        )


@rule(
    "TRT209",
    "everything is a readable file or directory",
    fix="remove it, or make it readable for the server's user",
    bad={"m/1/model.py": Link("model.py")},
    good={"m/1/model.py": MODEL_PY},
    severity=Severity.WARNING,
    needs_config=False,
)
def can_be_read(model: Model) -> Problems:
    """Links that lead nowhere or in a circle, pipes, sockets and devices do not belong in a
    model, and what this user may not read cannot be checked. It is an error if a rule needs to
    read it."""
    broken = broken_beside(model)  # TRT211 reports these
    for entry in model.tree:
        if entry.kind == "unreadable":
            yield Problem(f"{entry.path or model.name}: {entry.why}", file=entry.path)
        elif entry.kind == "other":
            yield Problem(f"{entry.path} is neither a file nor a directory", file=entry.path)
        elif entry.path in broken:
            continue
        elif entry.kind == "link" and _leads_nowhere(model, entry.path):
            yield Problem(f"{entry.path} is a broken link", file=entry.path)


def _leads_nowhere(model: Model, link: str) -> bool:
    path = model.path / link
    return is_inside(path, model.repository.root) and not path.exists()
