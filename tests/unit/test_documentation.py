"""Links of the documentation lead somewhere, and the commands that it shows exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from trtbuild.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
SHOWN = re.compile(r"^\$ (trtbuild .*?)(?<!\\)$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`(?:trtbuild )?([a-z]+ [^`]*?--?[a-z][^`]*)`")


def targets(page: Path) -> Iterator[Path]:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        link = (match[1] or match[2]).partition("#")[0]
        if link and not re.match(r"[a-z]+:", link):
            yield (page.parent / link).resolve()


def test_links_lead_to_files_and_pages_link_only_to_what_the_site_has() -> None:
    linked = [(page.relative_to(ROOT), path) for page in PAGES for path in targets(page)]
    assert len(linked) > 100
    assert not [pair for pair in linked if not pair[1].exists()]
    outside = [pair for pair in linked if not pair[1].is_relative_to(DOCS)]
    assert not [pair for pair in outside if pair[0].parts[0] == "docs"]


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert tomllib.loads(nav)["project"]["nav"]
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    records = re.compile(r"adr/\d{4}-")
    assert not [page for page in pages if not records.match(page) and f'"{page}"' not in nav]


def test_shown_commands_have_only_options_that_exist() -> None:
    program = typer.main.get_command(app.app)
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = [line for page in pages for line in SHOWN.findall(page)]
    assert len(shown) > 50
    commands = program.list_commands(typer.Context(program))
    named = [text for page in pages for text in NAMED.findall(page) if text.split()[0] in commands]
    assert len(named) > 50
    shown += [f"trtbuild {text}" for text in named]
    unknown = {line: options for line in shown if (options := unknown_options(program, line))}
    assert not unknown


def unknown_options(program: Any, shown: str) -> set[str]:
    """The options, or the command, of a shown command line that the program does not have."""
    words = shlex.split(shown.replace("\\\n", " "), comments=True)[1:]
    words = words[: next((at for at, word in enumerate(words) if word in "|>&&"), len(words))]
    command, context = program, typer.Context(program)
    parameters: list[Any] = []
    while words and hasattr(command, "get_command") and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None and command is program:
            return {words[0]}
        if inner is None:  # the group has a command for when none is named (bench)
            break
        command, context = inner, typer.Context(inner, info_name=words.pop(0))
    if command is not program and hasattr(command, "list_commands"):  # bench --slo
        names = command.list_commands(context)
        parameters += [p for name in names for p in command.get_command(context, name).params]
    parameters += command.get_params(context)
    known = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return given - known - {"--help", "-h", "--version"}


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("trtbuild plan x --gpu l4", set()),
        ("trtbuild plan x --cpu l4", {"--cpu"}),
        ("trtbuild plant x", {"plant"}),
        ("trtbuild runtime status --verify", set()),
        ("trtbuild runtime status --verity", {"--verity"}),
        ("trtbuild bench --slo ttft=1s", set()),
        ("trtbuild bench --slow", {"--slow"}),
    ],
)
def test_the_check_of_shown_commands_finds_what_is_wrong(line: str, unknown: set[str]) -> None:
    assert unknown_options(typer.main.get_command(app.app), line) == unknown
