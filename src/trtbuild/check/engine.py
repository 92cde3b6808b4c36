"""The rules: how one is written, how all are found, how they are run.

A rule is a function of a :class:`Repository` or a :class:`Model` that yields a :class:`Problem`
for each thing wrong. All that is said of it is in the decorator, its explanation is its
docstring; ``docs/writing-a-rule.md`` has the how-to:

    @rule(
        "TRT202",
        "the directory has the model's name",
        fix="give the directory and 'name' the same name",
        mirrors="InitializeModelInfo",
        bad='name: "other"',
        good='name: "m"',
    )
    def directory_name(model: Model) -> Problems:
        \"""Triton finds a model by its directory, so both names must agree.\"""
        if model.config.name not in ("", model.name):
            yield Problem(f"…", model.at("name"), server="unexpected directory name …")
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from trtbuild.check.apart import one_child
from trtbuild.check.context import CONFIG, Model, Repository
from trtbuild.check.examples import Content, Example, example_of
from trtbuild.check.mending import Mending, mend_of
from trtbuild.check.model import Finding, Severity
from trtbuild.check.positions import NOWHERE, Position
from trtbuild.check.reading import ReportedError


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule found.

    Attributes:
        message: One sentence with the offending value.
        at: Where in ``file``.
        file: Relative to the model's directory (to the repository in a rule about that);
            ``config.pbtxt`` unless said otherwise.
        server: The server's own words.
        fix: The mend, if it is not the rule's usual one.
        severity: If it is not the rule's usual one.
        model: The model meant, in a rule about the repository.
        details: What the sentence sums up, one by one.
    """

    message: str
    at: Position = NOWHERE
    file: str = CONFIG
    server: str = ""
    fix: str = ""
    severity: Severity | None = None
    model: str = ""
    details: tuple[str, ...] = ()


Problems = Iterable[Problem]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is listed and run.

    ``mirrors`` names the server's function that applies it, empty when the rule is ours.
    ``subject`` is the module that it stands in. The rule finds each example of ``bad`` and none
    of ``good``, which have no error of any rule.
    """

    id: str
    title: str
    severity: Severity
    explanation: str
    fix: str
    mirrors: str
    subject: str
    scope: Literal["repository", "model"]
    needs_config: bool
    backends: tuple[str, ...]
    mend: tuple[Mending, ...]
    bad: tuple[Example, ...] = field(repr=False)
    good: tuple[Example, ...] = field(repr=False)
    check: Callable[[Any], Problems] = field(repr=False)


Said = Example | str | Mapping[str, Content]
"""An example in short: fields of ``m/config.pbtxt``, or files by path; see :class:`Example`."""

UNREADABLE = "TRT209"
MISTAKE = "TRT000"
_MOST = 100  # findings of one rule about one model; more of them tell nothing new

_RULES: dict[str, Rule] = {}


def rule(
    id: str,
    title: str,
    *,
    fix: str,
    bad: Said | Sequence[Said],
    good: Said | Sequence[Said],
    severity: Severity = Severity.ERROR,
    mirrors: str = "",
    scope: Literal["repository", "model"] = "model",
    needs_config: bool = True,
    backends: tuple[str, ...] = (),
    mend: Mending | tuple[Mending, ...] = (),
) -> Callable[[Callable[[Any], Problems]], Callable[[Any], Problems]]:
    """Register a rule.

    Args:
        id: ``TRT`` and three digits; the first digit is the subject's.
        title: What is right, not what is wrong.
        fix: The usual mend.
        bad: What it finds: fields of a ``config.pbtxt``, or files by path, or an
            :class:`Example`; a list of several. The first one is shown.
        good: The same, mended.
        severity: Of its findings.
        mirrors: The server's function.
        scope: What it looks at.
        needs_config: Only called for models whose ``config.pbtxt`` could be parsed.
        backends: Only called for models of these backends; empty: all.
        mend: The safe change of the config that ``--fix`` makes at the place of a problem; of
            several the first that fits.
    """

    def register(check: Callable[[Any], Problems]) -> Callable[[Any], Problems]:
        if id in _RULES:
            raise ValueError(f"two rules are called {id}")
        explanation = " ".join((check.__doc__ or "").split()).replace("``", "`")
        subject = check.__module__.rpartition(".")[2]
        base = "vllm" if backends == ("vllm",) else "python"
        _RULES[id] = Rule(
            id, title, severity, explanation, fix, mirrors, subject, scope, needs_config, backends,
            mend if isinstance(mend, tuple) else (mend,),
            _examples(bad, base), _examples(good, base), check,
        )  # fmt: skip
        return check

    return register


def _examples(said: Said | Sequence[Said], base: str) -> tuple[Example, ...]:
    several = said if isinstance(said, Sequence) and not isinstance(said, str) else (said,)
    return tuple(example_of(one, base) for one in several)


def all_rules() -> tuple[Rule, ...]:
    """All rules by id."""
    import trtbuild.check.rules  # noqa: F401 - registers them

    return _sorted(len(_RULES))


@cache
def _sorted(_: int) -> tuple[Rule, ...]:
    return tuple(_RULES[id] for id in sorted(_RULES))


def subject_title(subject: str) -> str:
    """What the rules of a subject are about: the first line of their module."""
    doc = sys.modules[f"trtbuild.check.rules.{subject}"].__doc__ or ""
    return doc.partition("\n")[0].partition(": ")[2].rstrip(".")


def run(repository: Repository, takes: Callable[[Rule], bool]) -> tuple[Finding, ...]:
    """Apply every rule that ``takes`` accepts to a repository and each of its models."""
    found: list[Finding] = []
    with one_child():
        for each in all_rules():
            if not takes(each):
                continue
            if each.scope == "repository":
                found += _apply(each, repository, "")
                continue
            for model in repository.models:
                found += _apply(each, model, model.name)
    return tuple(dict.fromkeys(found))


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
            for finding in _apply(each, model, model.name)
            if finding.severity is Severity.ERROR
        )
    return model.errors


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
    root = subject.root if isinstance(subject, Repository) else subject.repository.root
    file = os.path.relpath(str(error.filename), root) if error.filename else model
    message = f"{file} cannot be read: {error.strerror or error}"
    fix = _RULES[UNREADABLE].fix
    return Finding(UNREADABLE, Severity.ERROR, model, clean(file), 0, 0, clean(message), "", fix)


def _mistake(each: Rule, error: Exception, model: str) -> Finding:
    message = f"the rule {each.id} failed, so it says nothing: {type(error).__name__}: {error}"
    fix = "please report this, with the repository's files if you can"
    return Finding(MISTAKE, Severity.ERROR, model, model, 0, 0, clean(message), "", fix)


def _applies(each: Rule, model: Model) -> bool:
    if each.needs_config and model.config is None:
        return False
    return not each.backends or model.backend in each.backends


def _finding(each: Rule, problem: Problem, subject: Any) -> Finding:
    model = subject if isinstance(subject, Model) else None
    name = model.name if model else ""
    inside = model.config_file if model and problem.file == CONFIG else problem.file
    file = f"{name}/{inside}" if name and inside else inside or name
    mend = None
    if model and each.mend and problem.file == CONFIG:
        mend = mend_of(each.mend, model, problem.at)
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
        mend=mend,
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


def clean(text: str) -> str:
    """Text that can be printed: names of files may hold bytes and control characters that a
    terminal would obey."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
