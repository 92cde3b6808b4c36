"""A report for people: by model, with the lines of the file and a caret under the place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild.check import Finding, Report, Severity
from trtbuild.check.engine import clean
from trtbuild.cli.paint import paint
from trtbuild.progress import counted

if TYPE_CHECKING:
    from trtbuild.check.autofix import FileChange

_MAX_LINE = 120
_MAX_TEXT = 2000


def report_lines(report: Report, repositories: tuple[Path, ...]) -> Iterator[str]:
    """Findings grouped by model, then the verdict."""
    for (repository, model), group in groupby(report.findings, lambda f: (f.repository, f.model)):
        home = f"  in {repository}" if len(repositories) > 1 and model else ""
        title = model or Path(repository).name or repository
        yield paint(title, "title") + paint(home, "dim")
        for found in group:
            yield from finding_lines(found)
        yield ""
    if report.judged:
        yield paint(f"checked against {_releases(report)}", "dim")
    yield _verdict(report, repositories)


def finding_lines(finding: Finding) -> Iterator[str]:
    """One finding: what, where, the lines, the server's words, the fix."""
    severity = finding.severity.value
    yield f"  {paint(severity, severity)} {paint(finding.rule, 'dim')}  {_short(finding.message)}"
    if finding.file:
        place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
        yield paint("     ┌─ ", "dim") + paint(place, "place")
    yield from _excerpt(finding)
    rows = [("Triton: ", "dim", finding.server_message), ("fix: ", "good", finding.fix)]
    rows = [row for row in rows if row[2]]
    for number, (label, style, text) in enumerate(rows, start=1):
        corner = "└─ " if number == len(rows) else "├─ "
        yield paint(f"     {corner}", "dim") + paint(label, style) + _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} …"


def _excerpt(finding: Finding) -> Iterator[str]:
    """The line before, the line meant, and carets under the place."""
    text = _text_of(finding)
    if not 0 < finding.line <= len(text):
        return
    if finding.line > 1 and text[finding.line - 2].strip():
        shown, _ = _window(text[finding.line - 2], 1)
        yield paint(f"{finding.line - 1:>4} │ {shown}", "dim")
    shown, start = _window(text[finding.line - 1], finding.column)
    yield paint(f"{finding.line:>4} │ ", "dim") + shown
    if 0 < finding.column <= start + len(shown) + 1:
        width = max(1, min(finding.width, start + len(shown) - finding.column + 1))
        carets = " " * (finding.column - 1 - start) + paint("^" * width, finding.severity.value)
        yield paint("     │ ", "dim") + carets


def _window(line: str, column: int) -> tuple[str, int]:
    """What of a long line is shown, and the characters left out before it."""
    start = max(0, column - _MAX_LINE // 2) if len(line) > _MAX_LINE and column > _MAX_LINE else 0
    part = line.rstrip("\r").expandtabs(1)[start : start + _MAX_LINE]
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in part
    ), start


def _text_of(finding: Finding) -> list[str]:
    from trtbuild.check.reading import read_inside

    if not finding.line:
        return []
    root = Path(finding.repository)
    try:
        content = read_inside(root / finding.file, root)
    except (OSError, ValueError):
        return []
    return content.decode("utf-8", errors="replace").split("\n")


_ORIGINS = {
    "flag": "--triton",
    "recipe": "trtbuild.yaml",
    "lock": "trtbuild.lock",
    "default": "the newest confirmed release; use --triton for another",
}


def _releases(report: Report) -> str:
    """The releases that counted, and who named them; with several, for how many models."""
    groups: dict[tuple[str, str], int] = {}
    for one in report.judged:
        key = (one.triton, one.origin)
        groups[key] = groups.get(key, 0) + len(one.models)
    texts = [
        f"Triton {triton} ({_ORIGINS[origin]})"
        + (f" for {counted(count, 'model')}" if len(groups) > 1 else "")
        for (triton, origin), count in groups.items()
    ]
    return ", ".join(texts)


def _verdict(report: Report, repositories: tuple[Path, ...]) -> str:
    names = clean(", ".join(map(str, repositories)))
    verb = "is" if len(repositories) == 1 else "are"
    counts = ", ".join(
        counted(report.count(severity), severity.value)
        for severity in (Severity.ERROR, Severity.WARNING)
        if report.count(severity)
    )
    hidden = [
        f"{count} {what}"
        for count, what in ((report.ignored, "ignored"), (report.known, "in the baseline"))
        if count
    ]
    more = f" ({', '.join(hidden)})" if hidden else ""
    if report.ok:
        facts = counted(report.models, "model") + (f", {counts}" if counts else "")
        return paint("✓ ", "good") + f"{names} {verb} valid: {facts}{more}"
    return paint("✗ ", "bad") + f"{names} {verb} not valid: {counts}{more}"


def change_lines(changes: tuple[FileChange, ...]) -> Iterator[str]:
    """The diff of every change."""
    styles = {"+": "good", "-": "bad", "@": "place"}
    for change in changes:
        for number, line in enumerate(change.diff()):
            style = "bold" if number < 2 else styles.get(line[:1], "")
            text = clean(line.expandtabs())
            yield paint(text, style) if style else text
