"""Find the reasons in a log, the root cause first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from packaging.version import Version

from trtbuild import toolchain
from trtbuild.explain import places, unknown
from trtbuild.explain.causes import Cause, Kind, causes, filled, of_rule, possible, url
from trtbuild.explain.model import Explanation, Reason
from trtbuild.explain.sentences import rule_of
from trtbuild.explain.statements import Statement, cleaned, statements

_LONGEST = 400
_LOUD: tuple[Kind, ...] = ("cause", "cascade", "hint")
_FRAMES = re.compile(r"\s*(?:\sAt:\s+[/<]|\n?\b1\s+0x[0-9a-f]{6,}|\bframe #0: ).*", re.DOTALL)
_REFUSES = re.compile(r"error: |(?:UNAVAILABLE: )?(?:Internal|Invalid argument|Not found): ")
_HEAD = re.compile(
    r"^(?:UNAVAILABLE: )?"
    r"(?:failed to load '[^']*'(?: version \d+)?: |Poll failed for model directory '[^']*': )?"
    r"(?:(?:Internal|Invalid argument|Not found|Unavailable|Unsupported): )?"
)


def explain(lines: Iterable[str], repository: Path | None = None) -> Explanation:
    """Explain the log of Triton, TensorRT-LLM or vLLM.

    Args:
        lines: The log.
        repository: The served repository; it is validated to locate the reasons.
    """
    lines = list(lines)
    found: dict[str, list[Reason]] = {"cause": [], "cascade": [], "hint": [], "family": []}
    rest: list[Statement] = []
    rows = _Rows(lines)
    for statement in statements(lines):
        row = rows.of(statement)
        if row is None:
            rest.append(statement)
            continue
        reason = _reason(statement, *row)
        if row[0].kind == "cascade" and statement.final:
            _attribute(found["cause"], statement.model)
            _attribute(found["family"], statement.model)
        _add(found[row[0].kind], reason)
    reasons = found["cause"] + _unexplained(found["family"], found["cause"])
    _add_unknown(reasons, rest, lines, follows=bool(found["cascade"]))
    reasons.sort(key=lambda reason: (_is_weak(reason), reason.log_line))
    hints = found["hint"] if reasons or found["cascade"] else []
    if repository is not None:
        reasons, hints = places.find(repository, reasons, hints)
    return Explanation(tuple(reasons), tuple(hints), tuple(found["cascade"]))


class _Rows:
    """Finds the row of a statement among those that may occur in a log."""

    def __init__(self, lines: Iterable[str]) -> None:
        text = "\n".join(lines)
        self._elsewhere = {row.id for row in causes() if row.within and not row.within.search(text)}

    def of(self, statement: Statement) -> tuple[Cause, dict[str, str]] | None:
        """Return the row and its match; None if no row and no rule matches."""
        said = " ".join(statement.text.split()) if "\n" in statement.text else statement.text
        if not statement.loud:  # most lines of a log are not failures, and can only be hints
            return _first(possible(said, "hint"), said)
        rows = self._possible(said)
        loud = (row for row in rows if row.kind in _LOUD)
        if found := _first(loud, said) or self._with_more(statement):
            return found
        if statement.final or statement.error or _REFUSES.match(said):
            rule = rule_of(said)
            if rule is not None:
                return of_rule(rule.id), {}
        return _first((row for row in rows if row.kind == "family"), said)

    def _with_more(self, statement: Statement) -> tuple[Cause, dict[str, str]] | None:
        if not statement.more:
            return None
        said = " ".join(f"{statement.text} {statement.more}".split())
        return _first((row for row in self._possible(said) if row.kind == "cause"), said)

    def _possible(self, message: str) -> list[Cause]:
        rows = possible(message, *_LOUD, "family")
        return [row for row in rows if row.id not in self._elsewhere]


def _unexplained(families: list[Reason], reasons: list[Reason]) -> list[Reason]:
    """Return groups of failures without a cause, for their model or the whole server."""
    models = {reason.model for reason in reasons}
    return [one for one in families if not models & {"", one.model} and (one.model or not models)]


@cache
def _weak() -> frozenset[str]:
    return frozenset(row.id for row in causes() if row.weak)


def _is_weak(reason: Reason) -> bool:
    """Whether it is probably harmless, because no model failed from it."""
    return reason.cause in _weak() and not reason.model


def _first(rows: Iterable[Cause], text: str) -> tuple[Cause, dict[str, str]] | None:
    for cause in rows:
        groups = cause.match(text)
        if groups is not None:
            return cause, groups | _releases(groups)
    return None


def _releases(groups: dict[str, str]) -> dict[str, str]:
    """Return the release for ``{release}``: the newest with vLLM up to ``until``."""
    until = groups.get("until")
    if not until:
        return {}
    last = Version(until)
    had = [row.triton for row in toolchain.releases() if row.vllm and Version(row.vllm) <= last]
    return {"release": had[0] if had else "YY.MM"}


def _reason(statement: Statement, cause: Cause, groups: dict[str, str]) -> Reason:
    model, issues = statement.model or groups.get("model", ""), tuple(map(url, cause.known_as))
    title, fix = filled(cause.title, groups), filled(cause.fix, groups)
    said = _shown(statement)
    return Reason(
        cause.id, title, said, statement.line, model, cause.rule, fix=fix, known_as=issues
    )


def _attribute(reasons: list[Reason], model: str) -> None:
    """Attribute a failure without a model's name to the next model that the server gives up."""
    for number, reason in enumerate(reasons):
        if not reason.model:
            reasons[number] = replace(reason, model=model)


def _add(reasons: list[Reason], new: Reason) -> None:
    """Add a new statement; for a repeated one keep the first place and the affected model.

    The last occurrence is the most specific: a traceback's exception line comes after its source
    lines, and the server's message about the model after both.
    """
    for number, old in enumerate(reasons):
        if old.cause == new.cause and ("" in (old.model, new.model) or old.model == new.model):
            model = new.model or old.model
            reasons[number] = replace(new, log_line=old.log_line, model=model)
            return
    reasons.append(new)


def _add_unknown(
    reasons: list[Reason], rest: list[Statement], lines: list[str], *, follows: bool
) -> None:
    """Add unknown failures: models that did not load, else the exception, else the last error."""
    explained = {reason.model for reason in reasons}
    for statement in rest:
        if statement.final and statement.model not in explained:
            reason = _unknown(unknown.refused(statement))
            _add(reasons, replace(reason, message=_shown(statement), model=statement.model))
    if reasons:
        return
    texts = [cleaned(line) for line in lines]
    raised = follows or unknown.has_traceback(texts)
    failure = (unknown.raised(texts) if raised else None) or unknown.said(rest, texts)
    if failure is None and not follows:
        spoken = list(unknown.spoken(rest, texts))
        sorted_ = (one for one in spoken if _known(one.message, "general"))
        failure = next(sorted_, spoken[0] if spoken else None)
    if failure is not None and not _known(failure.message, *_LOUD, "family"):
        reasons.append(_unknown(failure))


def _unknown(failure: unknown.Failure) -> Reason:
    """Return the sentence with the kind of failure that it indicates."""
    message = failure.message[:_LONGEST]
    plain = _HEAD.sub("", _FRAMES.sub("", failure.message))
    found = _known(plain, "general", frames=failure.frames) or _known(
        failure.message[: len(failure.message) - len(plain)], "general"
    )
    said = Reason("unknown", failure.title, message, failure.line, fix=failure.fix)
    if found is None:
        return said
    row, groups = found
    fix, issues = f"{filled(row.fix, groups)}; {failure.fix}", tuple(map(url, row.known_as))
    return replace(said, cause=row.id, title=filled(row.title, groups), fix=fix, known_as=issues)


def _known(text: str, *kinds: Kind, frames: str = "") -> tuple[Cause, dict[str, str]] | None:
    rows = possible(text, *kinds)
    return _first(
        (row for row in rows if row.raised_in is None or row.raised_in.search(frames)), text
    )


def _shown(statement: Statement) -> str:
    """Return a statement in one line, without native stack frames."""
    goes_on = statement.more and statement.text.rstrip().endswith((":", ","))
    text = f"{statement.text} {statement.more}" if goes_on else statement.text
    said = " ".join(_HEAD.sub("", _FRAMES.sub("", text)).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
