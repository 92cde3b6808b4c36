"""Write docs/reference/rules.md from the rules; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from trtbuild.check import Rule, all_rules
from trtbuild.check.families import FAMILIES, REPOSITORIES
from trtbuild.check.running import subject_title

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/rules.md"
HEAD = """\
# The rules

What `trtbuild validate` looks for. This page is written by `scripts/document_rules.py` from the
rules themselves; `trtbuild rules ID` adds what the validator says of the wrong example.
How to write one: [writing a rule](../guides/writing-a-rule.md).

An example shows only what differs from a sound model `m`, for a server that does not complete
configurations; `# m/1/model.json` begins another file.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_lines()])


def _lines() -> Iterator[str]:
    rules = all_rules()
    family = REPOSITORIES
    for subject in dict.fromkeys(rule.subject for rule in rules):
        of = next(rule.family for rule in rules if rule.subject == subject)
        if of != family:
            family = of
            yield f"# {of}: {FAMILIES[of].about}\n"
        yield f"## {subject}: {subject_title(subject)}\n"
        yield "| | | |\n|---|---|---|"
        own = [rule for rule in rules if rule.subject == subject]
        for rule in own:
            yield f"| [{rule.id}](#{rule.id.lower()}) | {rule.severity.value} | {rule.title} |"
        yield ""
        for rule in own:
            yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f"### {rule.id}\n"
    facts = [f"**{rule.title}** ({rule.severity.value}"]
    if rule.mirrors:
        facts.append(f"; Triton: `{rule.mirrors}`")
    if rule.autofix:
        facts.append("; fixed by `--fix`")
    yield f"{''.join(facts)}). {rule.explanation}\n"
    yield "Wrong:\n" if len(rule.bad) == 1 else "Wrong, for example:\n"
    yield f"```\n{rule.bad[0].shown()}\n```\n"
    yield f"Right:\n\n```\n{rule.good[0].shown()}\n```\n"
    yield f"Fix: {rule.fix}.\n"


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not same:
            print("docs/reference/rules.md is out of date; run: python scripts/document_rules.py")
        return int(not same)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
