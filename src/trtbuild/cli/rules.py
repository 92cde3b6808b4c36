"""``trtbuild rules``: what the validator looks for, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options
from trtbuild.cli.paint import paint, say

if TYPE_CHECKING:
    from trtbuild.check import Report, Rule

_EPILOG = """
Examples

  trtbuild rules

  trtbuild rules TRT405

  trtbuild rules layout --json
"""
_LIVE = "TRT95"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rules", epilog=_EPILOG)(rules)


def rules(
    code: Annotated[
        str,
        typer.Argument(metavar="[ID]", help="Rule id, the beginning of one, or a subject."),
    ] = "",
    *,
    as_json: options.AsJson = False,
) -> None:
    """List the validator's rules, or explain one with examples."""
    from trtbuild.check.running import all_rules
    from trtbuild.check.selecting import Selection, known_code
    from trtbuild.cli.output import print_json

    known = all_rules()
    if code.upper().startswith(_LIVE):
        _print_live(code.upper(), as_json=as_json)
        return
    if code:
        selection = Selection(select=(known_code(code, ""),))
        known = tuple(rule for rule in known if selection.takes(rule))
    one = len(known) == 1 and known[0].id == code.upper()
    if as_json:
        print_json(_row(known[0]) if one else [_row(rule) for rule in known])
    else:
        for line in _explain(known[0]) if one else _list(known):
            say(line)


def _print_live(code: str, *, as_json: bool) -> None:
    """The rules of ``validate --live``, which need a server and so have no example to run."""
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError
    from trtbuild.probe import RULES

    found = [rule for rule in RULES if rule.id.startswith(code)]
    if not found:
        ids = f"{RULES[0].id} to {RULES[-1].id}"
        raise UsageError(f"there is no rule {code!r}", fix=f"the live check has {ids}")
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for rule in found:
        severity = rule.severity.value
        say(f"{paint(rule.id, 'bold')} {paint(f'{severity:<8}', severity)}{rule.title}")
        say(f"  {paint('fix: ', 'good')}{rule.fix}")
    say(paint("checked by `trtbuild validate --live`, on a running server", "dim"))


def _row(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "subject": rule.subject,
        "explanation": rule.explanation,
        "fix": rule.fix,
        "mirrors": rule.mirrors,
        "backends": rule.backends,
        "fixable": bool(rule.autofix),
        "bad": [example.shown() for example in rule.bad],
        "good": [example.shown() for example in rule.good],
    }


def _list(known: tuple[Rule, ...]) -> Iterator[str]:
    from trtbuild.check.running import subject_title
    from trtbuild.progress import counted

    for subject in dict.fromkeys(rule.subject for rule in known):
        yield paint(subject, "title") + paint(f"  {subject_title(subject)}", "dim")
        for rule in known:
            if rule.subject == subject:
                severity = rule.severity.value
                fixable = paint("  --fix", "good") if rule.autofix else ""
                name = paint(f"  {rule.id}", "bold")
                yield f"{name} {paint(f'{severity:<8}', severity)}{rule.title}{fixable}"
        yield ""
    yield paint(f"{counted(len(known), 'rule')}; 'trtbuild rules ID' explains one", "dim")


def _explain(rule: Rule) -> Iterator[str]:
    from trtbuild.cli.validate_view import finding_lines

    yield f"{paint(rule.id, 'bold')}  {paint(rule.title, 'title')}"
    facts = [f", about {rule.subject}"]
    if rule.backends:
        facts.append(f"of {', '.join(rule.backends)} models")
    if rule.mirrors:
        facts.append(f"as Triton's {rule.mirrors}")
    if rule.autofix:
        facts.append("fixed by validate --fix")
    yield paint(rule.severity.value, rule.severity.value) + paint(", ".join(facts), "dim")
    yield f"\n{rule.explanation}\n"
    yield paint("Wrong", "error")
    yield from _indented(rule.bad[0].shown())
    yield paint("\nWhat validate reports", "bold")
    with _tried(rule) as report:
        for found in report.findings:
            if found.rule == rule.id:
                yield from finding_lines(found)
                yield from (f"       - {one}" for one in found.details)
    yield paint("\nRight", "good")
    yield from _indented(rule.good[0].shown())
    yield f"\n{paint('fix: ', 'good')}{rule.fix}"


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())


@contextmanager
def _tried(rule: Rule) -> Iterator[Report]:
    """The rule's bad example, validated, while its files are there."""
    import tempfile
    from pathlib import Path

    from trtbuild import check

    with tempfile.TemporaryDirectory(prefix="trtbuild-") as folder:
        yield check.judge_example(rule, rule.bad[0], Path(folder))
