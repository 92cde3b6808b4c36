"""The rules: how one is written, how all are found, how they are run.

A rule is a function of a :class:`Repository` or a :class:`Model` that yields a :class:`Problem`
for each thing wrong. All that is said of it is in the decorator, its explanation is its
docstring; ``docs/guides/writing-a-rule.md`` has the how-to:

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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trtbuild.check.autofix import Autofix
from trtbuild.check.context import CONFIG
from trtbuild.check.examples import Content, Example, example_of
from trtbuild.check.families import REPOSITORIES, family_of
from trtbuild.check.model import Severity
from trtbuild.located.positions import NOWHERE, Position


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule found.

    Attributes:
        message: One sentence with the offending value.
        at: Where in ``file``.
        file: Relative to the model's directory (to the repository in a rule about that);
            ``config.pbtxt`` unless said otherwise.
        server: The server's own words.
        fix: The fix, if it is not the rule's usual one.
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


Said = Example | str | Mapping[str, Content]
"""An example in short: fields of ``m/config.pbtxt``, or files by path; see :class:`Example`."""

Scope = Literal["repository", "model", "file"]
"""What a rule is given. ``file`` is whatever a family other than TRT makes of its files."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is listed and run.

    ``artifact``: it reports the lack of a file that a step of a builder makes, such as an engine.
    A conversion that leaves the step for later expects it, and so does a rehearsal.

    ``follows``: it reports what an error of another model causes, so that error needs the fix.

    ``mirrors`` names the server's function that applies it, empty when the rule is ours.
    ``subject`` is the module that it stands in. The rule finds each example of ``bad`` and none
    of ``good``, which have no error of any rule. Examples are kept as they were written and made
    when asked for, because a validation needs none.
    """

    id: str
    title: str
    severity: Severity
    explanation: str
    fix: str
    mirrors: str
    subject: str
    scope: Scope
    needs_config: bool
    backends: tuple[str, ...]
    autofix: tuple[Autofix, ...]
    wrong: Said | Sequence[Said] = field(repr=False)
    right: Said | Sequence[Said] = field(repr=False)
    check: Callable[[Any], Problems] = field(repr=False)
    artifact: bool = False
    follows: bool = False

    @property
    def family(self) -> str:
        """The letters of its id."""
        return family_of(self.id)

    @property
    def bad(self) -> tuple[Example, ...]:
        """What it finds."""
        return self._examples(self.wrong)

    @property
    def good(self) -> tuple[Example, ...]:
        """What it does not find."""
        return self._examples(self.right)

    def _examples(self, spec: Said | Sequence[Said]) -> tuple[Example, ...]:
        base = "python" if self.family == REPOSITORIES else ""
        base = "vllm" if self.backends == ("vllm",) else base
        several = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else (spec,)
        return tuple(example_of(one, base) for one in several)


UNREADABLE = "TRT209"  # these two are findings of the engine itself, too
MISTAKE = "TRT000"
REGISTERED: dict[str, Rule] = {}


def rule(
    id: str,
    title: str,
    *,
    fix: str,
    bad: Said | Sequence[Said],
    good: Said | Sequence[Said],
    severity: Severity = Severity.ERROR,
    mirrors: str = "",
    scope: Scope | None = None,
    needs_config: bool = True,
    backends: tuple[str, ...] = (),
    autofix: Autofix | tuple[Autofix, ...] = (),
    artifact: bool = False,
    follows: bool = False,
) -> Callable[[Callable[[Any], Problems]], Callable[[Any], Problems]]:
    """Register a rule.

    Args:
        id: A family's letters and three digits; the first digit is the subject's.
        title: What is right, not what is wrong.
        fix: The usual fix.
        bad: What it finds: fields of a ``config.pbtxt``, or files by path, or an
            :class:`Example`; a list of several. The first one is shown.
        good: The same, fixed.
        severity: Of its findings.
        mirrors: The server's function.
        scope: What it is given; by default the model, in other families than TRT the file.
        needs_config: Only called for models whose ``config.pbtxt`` could be parsed.
        backends: Only called for models of these backends; empty: all.
        autofix: The safe change of the config that ``--fix`` makes at the place of a problem; of
            several the first that fits.
        artifact: It reports the lack of a file that a step of a builder makes.
        follows: It reports what an error of another model causes.
    """

    def register(check: Callable[[Any], Problems]) -> Callable[[Any], Problems]:
        if id in REGISTERED:
            raise ValueError(f"two rules have the id {id}")
        explanation = " ".join((check.__doc__ or "").split()).replace("``", "`")
        subject = check.__module__.rpartition(".")[2]
        REGISTERED[id] = Rule(
            id=id,
            title=title,
            severity=severity,
            explanation=explanation,
            fix=fix,
            mirrors=mirrors,
            subject=subject,
            scope=_scope(id, subject, scope),
            needs_config=needs_config,
            backends=backends,
            autofix=autofix if isinstance(autofix, tuple) else (autofix,),
            wrong=bad,
            right=good,
            check=check,
            artifact=artifact,
            follows=follows,
        )
        return check

    return register


def _scope(id: str, subject: str, scope: Scope | None) -> Scope:
    """What a rule is given; ValueError where its family has no such thing or no such subject."""
    family = family_of(id)
    if family == REPOSITORIES:
        if scope == "file":
            raise ValueError(f"{id} is about a model or a repository, not about a file")
        return scope or "model"
    for other in REGISTERED.values():
        if other.subject == subject and other.family != family:
            raise ValueError(f"{subject} is a subject of {other.family}, so not one of {family}")
    if scope not in (None, "file"):
        raise ValueError(f"{id} is about a file, not about a {scope}")
    return "file"


def clean(text: str) -> str:
    """Text that can be printed: names of files may hold bytes and control characters that a
    terminal would obey."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
