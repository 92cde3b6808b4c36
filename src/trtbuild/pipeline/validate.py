"""Validate repositories: check, apply safe fixes, try to load, subtract the baseline.

A caller passes a :class:`ValidateRequest`; :func:`read_request` builds one from
flags and the ``validate`` section of ``trtbuild.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild import check
from trtbuild.check import EVERYTHING, Options, Report, Selection, Severity, baseline
from trtbuild.check.baseline import Baseline
from trtbuild.check.selecting import known_code, parse_codes
from trtbuild.errors import RecipeError, UsageError
from trtbuild.progress import SILENT, Progress

if TYPE_CHECKING:
    from trtbuild.check.autofix import FileChange
    from trtbuild.recipe import Validation

_ADDRESS = re.compile(r"(?:(grpc|https?)://)?(\[[0-9a-f:]+\]|[\w.-]+):\d+/?", re.IGNORECASE)
_CONFIG = "trtbuild.yaml"

Approve = Callable[[tuple["FileChange", ...]], bool]
"""Receives the safe changes, possibly none; returns whether to write them."""


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """What to validate and how.

    Attributes:
        repositories: The repositories of one server.
        model: Only this model; empty: all.
        options: What is known of the server.
        selection: Which rules apply.
        baseline: File of known findings, which are not reported.
        update_baseline: Whether to write all findings into that file.
        live: Whether to load the models on a real server if there are no errors.
        running: ``[SCHEME://]HOST:PORT`` of a running server to compare with instead; empty: none.
        checkpoints: What stands in for TensorRT-LLM models on that server, by model.
        complete: Whether all models and rules are checked, so that a finding of the baseline that
            is not found is really fixed.
    """

    repositories: tuple[Path, ...]
    model: str = ""
    options: Options = field(default_factory=Options)
    selection: Selection = EVERYTHING
    baseline: Path | None = None
    update_baseline: bool = False
    live: bool = False
    running: str = ""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Validated:
    """The report, and what else happened.

    Attributes:
        report: The findings.
        changed: How many files were changed.
        outdated: How many findings of the baseline are no longer found.
        live_skipped: Whether the live check was left out because of errors.
    """

    report: Report
    changed: int = 0
    outdated: int = 0
    live_skipped: bool = False


def validate(
    request: ValidateRequest, *, approve: Approve | None = None, progress: Progress = SILENT
) -> Validated:
    """Check the repositories; findings are in the report, never raised.

    Args:
        request: What to validate.
        approve: Approves the safe changes; None: no changes.
        progress: Called before a slow step.

    Raises:
        UsageError: No such directory, model, release or checkpoint; an unusable baseline.
        BuildError: A change cannot be written.
        ServerError: ``live``, and no server can be started here; nothing answers at ``running``.
    """
    known = _known(request)
    report = _check(request, progress)
    changed = _fixed(known.apply(report)[0], approve) if approve else 0
    if changed:
        report = _check(request, progress)
    may_start = not request.live or bool(request.running) or _may_start(report)
    if request.live and may_start:
        report = _with_live_findings(request, report, progress)
    if request.update_baseline and request.baseline:
        baseline.write(request.baseline, report)
        known = baseline.read(request.baseline)
    report, outdated = known.apply(report)
    return Validated(report, changed, outdated if request.complete else 0, not may_start)


def _known(request: ValidateRequest) -> Baseline:
    if request.baseline is None:
        if request.update_baseline:
            raise UsageError("--update-baseline needs a file", fix="name it: --baseline known.json")
        return Baseline()
    return Baseline() if request.update_baseline else baseline.read(request.baseline)


def _check(request: ValidateRequest, progress: Progress) -> Report:
    return check.validate_all(
        request.repositories,
        request.options,
        model=request.model,
        selection=request.selection,
        progress=progress,
    )


def _fixed(report: Report, approve: Approve) -> int:
    from trtbuild.check import autofix

    changes = autofix.changes(report.findings)
    if not approve(changes):
        return 0
    autofix.write(changes)
    return len(changes)


def _may_start(report: Report) -> bool:
    from trtbuild.pipeline import live

    return live.may_start(report)


def _with_live_findings(request: ValidateRequest, report: Report, progress: Progress) -> Report:
    from trtbuild.pipeline import live

    for repo in request.repositories:
        found = (
            live.compare_running(repo, request.model, request.running, progress)
            if request.running
            else live.live_check(
                repo, request.model, checkpoints=request.checkpoints, progress=progress
            )
        )
        report = report.with_findings(tuple(replace(one, repository=str(repo)) for one in found))
    return report


def read_request(
    repositories: Sequence[Path],
    *,
    model: str = "",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    config: Path | None = None,
    baseline: Path | None = None,
    update_baseline: bool = False,
    live: bool = False,
    running: str = "",
    checkpoints: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> ValidateRequest:
    """Merge flags over the ``validate`` section of ``config``, by default ``trtbuild.yaml``.

    ``options`` are fields of :class:`Options`; a value of None or ``""`` was not given.

    Raises:
        UsageError: An unknown rule, or a checkpoint without a name.
        RecipeError: An invalid section.
    """
    section, where = _section(config)
    given: dict[str, Any] = {}
    per_model: dict[str, tuple[str, ...]] = {}
    severity: dict[str, Severity] = {}
    complete = not (model or select or ignore)
    if section is not None:
        given = {key: getattr(section, key) for key in ("triton", "gpus", "auto_complete")}
        per_model = {name: _codes(codes, where) for name, codes in section.per_model.items()}
        severity = {
            _codes((code,), where)[0]: Severity(value) for code, value in section.severity.items()
        }
        select = select or _codes(section.select, where)
        ignore = [*ignore, *_codes(section.ignore, where)]
        if baseline is None and section.baseline:
            baseline = Path(where).parent / section.baseline
    selection = Selection(
        parse_codes(select, "--select"), parse_codes(ignore, "--ignore"), per_model, severity
    )
    return ValidateRequest(
        repositories=tuple(repositories),
        model=model,
        options=_options(given, options or {}),
        selection=selection,
        baseline=baseline,
        update_baseline=update_baseline,
        live=live,
        running=running,
        checkpoints=_checkpoints(checkpoints),
        complete=complete,
    )


def with_address(texts: Sequence[str]) -> tuple[list[Path], str]:
    """Return repositories and the address of a running server, which is one of ``texts``: it looks
    like ``HOST:PORT``, and no directory has that name.

    Raises:
        UsageError: There are several addresses.
    """
    found = [one for one in texts if _ADDRESS.fullmatch(one) and not Path(one).exists()]
    if len(found) > 1:
        raise UsageError(
            f"there are {len(found)} addresses: {', '.join(found)}", fix="give one server"
        )
    return [Path(one) for one in texts if one not in found], "".join(found)


def _section(config: Path | None) -> tuple[Validation | None, str]:
    """Return the section and its file; None without a file, unless one was named."""
    path = config or Path(_CONFIG)
    if config is None and not path.is_file():
        return None, ""
    from trtbuild.recipe import load_validation

    return load_validation(path), str(path)


def _codes(codes: Sequence[str], where: str) -> tuple[str, ...]:
    try:
        return tuple(known_code(code, where) for code in codes)
    except UsageError as error:
        raise RecipeError(error.what, where=where, fix=error.fix) from None


def _options(section: Mapping[str, Any], flags: Mapping[str, Any]) -> Options:
    merged = {key: value for key, value in section.items() if value not in (None, "")}
    named = {key: value for key, value in flags.items() if value not in (None, "")}
    if "triton" in merged and "triton" not in named:
        merged["triton_from"] = "recipe"
    merged |= named
    return Options(**{"auto_complete": True, **merged})


def _checkpoints(texts: Sequence[str]) -> dict[str, str]:
    if not texts:
        return {}
    from trtbuild.pipeline.rehearse import parse_checkpoints

    return parse_checkpoints(texts)
