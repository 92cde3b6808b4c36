"""What ``trtbuild validate`` was asked for: flags, and the section of ``trtbuild.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.check import Options, Selection, Severity
from trtbuild.check.baseline import Baseline
from trtbuild.check.selecting import known_code, parse_codes
from trtbuild.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from trtbuild.recipe import Validation

_CONFIG = "trtbuild.yaml"
_FORMATS = ("text", "json", "sarif", "github", "junit")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a run needs to know, checked."""

    form: str
    options: Options
    selection: Selection
    baseline: Path | None
    known: Baseline


def settings(
    *,
    form: str,
    select: Sequence[str] | None,
    ignore: Sequence[str] | None,
    config: Path | None,
    baseline: Path | None,
    update_baseline: bool,
    options: dict[str, Any],
) -> Settings:
    """The flags over the section of ``config``.

    Raises:
        UsageError: A format or a rule that does not exist, a baseline that cannot be read.
        RecipeError: A section that cannot be.
    """
    if form not in _FORMATS:
        raise UsageError(f"--format {form!r} is not known", fix=f"use {', '.join(_FORMATS)}")
    section, where = _section(config)
    given: dict[str, Any] = {}
    per_model: dict[str, tuple[str, ...]] = {}
    severity: dict[str, Severity] = {}
    if section is not None:
        given = {key: getattr(section, key) for key in ("triton", "gpus", "auto_complete")}
        per_model = {name: _codes(codes, where) for name, codes in section.per_model.items()}
        severity = {
            _codes((code,), where)[0]: Severity(value) for code, value in section.severity.items()
        }
        select = select or _codes(section.select, where)
        ignore = [*(ignore or ()), *_codes(section.ignore, where)]
        if baseline is None and section.baseline:
            baseline = Path(where).parent / section.baseline
    selection = Selection(
        parse_codes(select or (), "--select"), parse_codes(ignore or (), "--ignore"),
        per_model, severity,
    )  # fmt: skip
    return Settings(
        form, _options(given, options), selection, baseline, _known(baseline, update_baseline)
    )


def _section(config: Path | None) -> tuple[Validation | None, str]:
    """The section, and the file it stands in; none when there is no file that has to be there."""
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


def _options(section: dict[str, Any], flags: dict[str, Any]) -> Options:
    merged = {key: value for key, value in section.items() if value not in (None, "")}
    named = {key: value for key, value in flags.items() if value not in (None, "")}
    if "triton" in merged and "triton" not in named:
        merged["triton_from"] = "recipe"
    merged |= named
    return Options(**{"auto_complete": True, **merged})


def _known(path: Path | None, update: bool) -> Baseline:
    from trtbuild.check import baseline

    if path is None:
        if update:
            raise UsageError("--update-baseline needs a file", fix="name it: --baseline known.json")
        return Baseline()
    return Baseline() if update else baseline.read(path)
