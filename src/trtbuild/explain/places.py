"""The place in the repository where a reason can be fixed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trtbuild import check
from trtbuild.check import Finding, Severity
from trtbuild.check.context import CONFIG, Model
from trtbuild.check.opening import open_repository
from trtbuild.check.options import Options
from trtbuild.errors import TrtbuildError
from trtbuild.explain.causes import Cause, causes, filled, of_rule
from trtbuild.explain.model import Reason
from trtbuild.explain.unknown import OWN
from trtbuild.located.positions import NOWHERE

_MANY_WORDS = 24  # minimum characters of a server's sentence to count as evidence


def find(
    repository: Path, reasons: list[Reason], hints: list[Reason]
) -> tuple[list[Reason], list[Reason]]:
    """Add places to reasons and hints; a repository that cannot be read has none."""
    try:
        findings = check.validate(repository).findings
        if any(reason.rule and _finding(reason, findings) is None for reason in reasons):
            # the server may complete configurations, and have no GPU
            findings += check.validate(repository, auto_complete=True, gpus=0).findings
        models = open_repository(repository, Options()).models
    except (TrtbuildError, OSError):
        return reasons, hints
    return (
        _once([_placed(reason, findings, models) for reason in reasons]),
        _once([_placed(hint, findings, models) for hint in hints]),
    )


def _once(reasons: list[Reason]) -> list[Reason]:
    """Remove a second reason for the same place: the server reports some mistakes twice. A row of
    the table is preferred over a rule's sentence."""
    kept: dict[object, Reason] = {}
    for number, reason in enumerate(reasons):
        key = (reason.rule, reason.file, reason.line, reason.column) if reason.line else number
        older = kept.get(key)
        if older is None or older.cause == older.rule:
            kept[key] = replace(reason, log_line=older.log_line) if older else reason
    return list(kept.values())


def _placed(reason: Reason, findings: Sequence[Finding], models: Sequence[Model]) -> Reason:
    finding = _finding(reason, findings)
    if finding is not None:
        if reason.cause == reason.rule:  # several rules may have the server's sentence
            reason = replace(reason, cause=finding.rule, title=of_rule(finding.rule).title)
        return replace(
            reason,
            rule=finding.rule,
            model=reason.model or finding.model,
            file=finding.file,
            line=finding.line,
            column=finding.column,
            fix=finding.fix or reason.fix,
        )
    cause = next((cause for cause in causes() if cause.id == reason.cause), None)
    if own := OWN.search(reason.fix):
        return _raised(reason, own, models)
    if cause is None and reason.rule:
        cause = of_rule(reason.rule)
    if cause is None or cause.kind == "general":
        return reason
    named = [model for model in models if model.name == reason.model]
    for model in named or models:
        if (place := _place(model, cause, reason)) is not None:
            return replace(reason, file=place[0], line=place[1], column=place[2])
    return replace(reason, file=named[0].file(CONFIG)) if named else reason


def _raised(reason: Reason, own: re.Match[str], models: Sequence[Model]) -> Reason:
    """Place the line that raised it, if it is a model's; the log has the server's path."""
    for model in models:
        _, found, name = own["path"].rpartition(f"/{model.name}/")
        if found and (model.path / name).is_file():
            return replace(reason, file=model.file(name), line=int(own["line"]))
    return reason


def _finding(reason: Reason, findings: Sequence[Finding]) -> Finding | None:
    """Return the finding with the server's own sentence, else one of the cause's rule, else one
    whose sentence the cause has: a model's status is less specific than its error line."""
    here = [one for one in findings if reason.model in ("", one.model)]
    # a finding names the files of a model without the server's path of it
    inside = re.sub(rf"\S*/{re.escape(reason.model or '/')}/", "", reason.message)
    said = f"{_plain(reason.message)}\n{_plain(inside)}"
    for one in here:
        sentence = _plain(one.server_message)
        if len(sentence) >= _MANY_WORDS and sentence in said:
            return one
    cause = next((cause for cause in causes() if cause.id == reason.cause), None)
    alike = [one for one in here if reason.rule and one.rule == reason.rule] or [
        one for one in here if cause and one.server_message and cause.match(one.server_message)
    ]
    return min(alike, key=lambda one: one.severity is not Severity.ERROR, default=None)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).lower().strip()


def _place(model: Model, cause: Cause, reason: Reason) -> tuple[str, int, int] | None:
    """Return file, line and column of what the row names, if this model has it."""
    groups = cause.match(reason.message) or {}
    if cause.json:
        for version in model.served:
            file = f"{version}/model.json"
            text = model.json(file)
            if text is not None and (at := text.of(filled(cause.json, groups))) is not NOWHERE:
                return model.file(file), at.line, at.column
    at = NOWHERE
    if cause.parameter:
        at = model.at_parameter(filled(cause.parameter, groups))
    elif cause.field and model.config is not None:
        path = tuple(cause.field.split("."))
        at = model.at(*path, name=True) if model.positions.has(*path) else NOWHERE
    return None if at is NOWHERE else (model.file(CONFIG), at.line, at.column)
