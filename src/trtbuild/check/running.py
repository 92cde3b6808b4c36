"""Running the rules: which there are, what each finds, what refuses a model."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from trtbuild.check.apart import one_child
from trtbuild.check.autofix import edit_for
from trtbuild.check.comments import read_comments
from trtbuild.check.context import CONFIG, Model, Repository
from trtbuild.check.engine import MISTAKE, REGISTERED, UNREADABLE, Problem, Rule, clean
from trtbuild.check.families import FAMILIES, family_key
from trtbuild.check.model import Finding, Severity
from trtbuild.check.plugins import broken_plugins, rule_plugins
from trtbuild.check.reading import ReportedError

_MOST = 100  # findings of one rule about one model; more of them tell nothing new


def all_rules() -> tuple[Rule, ...]:
    """The rules of all plug-ins, trtbuild's own first among them, by family and id."""
    rule_plugins()
    return _sorted(tuple(REGISTERED))


def artifact_rules() -> frozenset[str]:
    """The rules that a repository breaks while a file that a builder's step makes is missing: the
    model is refused, and with it every ensemble over it."""
    return frozenset(each.id for each in all_rules() if each.artifact or each.follows)


def following_rules() -> frozenset[str]:
    """The rules whose findings another error causes: not those are what needs a fix."""
    return frozenset(each.id for each in all_rules() if each.follows)


@cache
def _sorted(ids: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(REGISTERED[id] for id in sorted(ids, key=family_key))


def subject_title(subject: str) -> str:
    """What the rules of a subject are about: the first line of their module."""
    module = next(each.check.__module__ for each in all_rules() if each.subject == subject)
    doc = sys.modules[module].__doc__ or ""
    return doc.partition("\n")[0].partition(": ")[2].rstrip(".")


def run(repository: Repository, takes: Callable[[Rule], bool]) -> tuple[Finding, ...]:
    """Apply every rule that ``takes`` accepts to a repository and each of its models."""
    repository.errors_of = errors_of
    found = list(_unloaded())
    with one_child():
        for each in all_rules():
            if not takes(each):
                continue
            if each.scope == "repository":
                found += _apply(each, repository, "")
            elif each.scope == "model":
                for model in repository.models:
                    found += _found(each, model)
    return tuple(dict.fromkeys(found))


def run_on_file(
    family: str, subject: Any, file: str, text: str = "", takes: Callable[[Rule], bool] = bool
) -> tuple[Finding, ...]:
    """Apply the rules of a family other than TRT to what it makes of a file.

    Args:
        family: Its letters.
        subject: What its rules are given, such as a parsed document.
        file: The path that findings name, unless a problem names another.
        text: The file's text, whose ``# trtbuild: ignore[…]`` comments count.
        takes: Which rules.
    """
    comments = read_comments(text)
    found: list[Finding] = []
    for each in all_rules():
        if each.family == family and takes(each):
            for one in _apply(each, subject, ""):
                named = one if one.file not in ("", CONFIG) else replace(one, file=clean(file))
                if not (comments.hides_all(one.rule) or comments.hides(one.rule, one.line)):
                    found.append(named)
    return tuple(dict.fromkeys(found))


def _unloaded() -> Iterator[Finding]:
    """A warning for each plug-in whose rules are missing: what passes without them may not load."""
    fix = "update or uninstall that package"
    for problem in broken_plugins():
        yield Finding(MISTAKE, Severity.WARNING, "", "", 0, 0, clean(problem), "", fix)


def errors_of(model: Model) -> tuple[tuple[Rule, Finding], ...]:
    """The errors of one model with their rules, whatever is selected: what refuses a model refuses
    the ensembles over it. Empty for a model whose errors are being looked for, so that a circle
    of ensembles ends."""
    if model.errors is None:
        model.errors = ()
        model.errors = tuple(
            (each, finding)
            for each in all_rules()
            if each.scope == "model"
            for finding in _found(each, model)
            if finding.severity is Severity.ERROR
        )
    return model.errors


def _found(each: Rule, model: Model) -> tuple[Finding, ...]:
    """What a rule finds in a model, looked for once: the ensembles over it ask again."""
    if each.id not in model.found:
        model.found[each.id] = tuple(_apply(each, model, model.name))
    return model.found[each.id]


def _apply(each: Rule, subject: Any, model: str) -> Iterator[Finding]:
    """One rule's findings. What it cannot read, and a mistake of its own, are findings too: the
    other rules still count."""
    try:
        if isinstance(subject, Model) and not _applies(each, subject):
            return
        for number, problem in enumerate(each.check(subject)):
            yield _finding(each, problem, subject)
            if number == _MOST:
                break
    except ReportedError:
        return  # TRT207 reports links, TRT634 pointers
    except OSError as error:
        yield _unreadable(error, subject, model)
    except Exception as error:
        yield _mistake(each, error, model)


def _unreadable(error: OSError, subject: Any, model: str) -> Finding:
    file = model
    if error.filename:
        root = _root(subject)
        file = os.path.relpath(str(error.filename), root) if root else str(error.filename)
    message = f"{file} cannot be read: {error.strerror or error}"
    fix = REGISTERED[UNREADABLE].fix
    return Finding(UNREADABLE, Severity.ERROR, model, clean(file), 0, 0, clean(message), "", fix)


def _root(subject: Any) -> Path | None:
    if isinstance(subject, Model):
        return subject.repository.root
    return subject.root if isinstance(subject, Repository) else None


def _mistake(each: Rule, error: Exception, model: str) -> Finding:
    message = f"the rule {each.id} failed, so it says nothing: {type(error).__name__}: {error}"
    fix = "please report this, with the files if you can"
    id = FAMILIES[each.family].mistake
    return Finding(id, Severity.ERROR, model, model, 0, 0, clean(message), "", fix)


def _applies(each: Rule, model: Model) -> bool:
    if each.needs_config and model.config is None:
        return False
    return not each.backends or model.backend in each.backends


def _finding(each: Rule, problem: Problem, subject: Any) -> Finding:
    model = subject if isinstance(subject, Model) else None
    name = model.name if model else ""
    inside = model.config_file if model and problem.file == CONFIG else problem.file
    file = f"{name}/{inside}" if name and inside else inside or name
    edit = None
    if model and each.autofix and problem.file == CONFIG:
        edit = edit_for(each.autofix, model, problem.at)
    return Finding(
        rule=each.id,
        severity=problem.severity or each.severity,
        model=clean(name or problem.model),
        file=clean(file),
        line=problem.at.line,
        column=problem.at.column,
        message=clean(problem.message),
        server_message=clean(problem.server),
        fix=clean(problem.fix or each.fix),
        width=_width(model, problem),
        edit=edit,
        details=tuple(map(clean, problem.details)),
    )


def _width(model: Model | None, problem: Problem) -> int:
    """How much of the line is meant: protobuf's parser only says where a word begins."""
    at = problem.at
    if model is None or problem.file != CONFIG or not at.line or at.width > 1:
        return at.width
    lines = (model.text or "").split("\n", at.line)
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    word = _WORD.match(line, max(at.column - 1, 0))
    return len(word.group()) if word else 1


_WORD = re.compile(r"[\w.]+")
