"""What a conversion did, for people and for programs."""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from rich.text import Text
from rich.tree import Tree

from trtbuild.cli.output import console, human_bytes
from trtbuild.pipeline.convert import ConvertResult
from trtbuild.repository import say_source

_SHOWN = 6
_DEPTH = 3  # model/version/directory; what lies deeper is listed there


def as_dict(result: ConvertResult) -> dict[str, Any]:
    """A result as ``--json`` prints it."""
    return {
        "name": result.name,
        "status": result.status,
        "source": asdict(result.source),
        "builder": result.builder,
        "reason": result.reason,
        "triton": result.triton,
        "image": result.image,
        "directories": [entry.name for entry in result.entries],
        "files": {path: asdict(file) for path, file in result.files.items()},
        "bytes": result.bytes,
        "seconds": result.seconds,
        "artifacts": dict(result.artifacts),
        "commands": list(result.commands),
        "warnings": list(result.warnings),
    }


def print_result(result: ConvertResult) -> None:
    """A line of what happened, the files, what to do next."""
    out = console()
    out.print(_headline(result))
    if result.status == "unchanged":
        return
    for entry in result.entries:
        out.print(_tree(result, entry.name))
    out.print(Text.assemble(("  source  ", "dim"), say_source(result.source)))
    out.print(Text.assemble(("  serves  ", "dim"), result.image or "any Triton image"))
    for command in result.commands:
        out.print(Text.assemble(("  runs    ", "dim"), command), soft_wrap=True)
    later = [name for name, state in result.artifacts.items() if state == "later"]
    for name in later if result.status == "written" else ():
        out.print(
            Text.assemble((f"  {name:<8}", "dim"), "not built; convert again without --no-build")
        )
    if result.status == "written":
        # Without its artifacts the server would refuse the repository, and so would validate.
        for row, how in enumerate(("serve --rehearse",) if later else ("validate", "serve")):
            label = ("          " if row else "  next    ", "dim")
            command = f"trtbuild {how} {shlex.quote(result.repository)}"
            out.print(Text.assemble(label, (command, "bold")))
    for warning in result.warnings:
        out.print(Text.assemble(("warning: ", "bold yellow"), warning))


def _headline(result: ConvertResult) -> Text:
    name, where = (result.name, "bold"), f"{result.repository}"
    if result.status == "unchanged":
        return Text.assemble(("✓ ", "green"), name, f" is up to date in {where}")
    if result.status == "planned":
        return Text.assemble(
            ("· ", "yellow"), name, f" would be written to {where} (nothing was written)"
        )
    return Text.assemble(
        ("✓ ", "green"),
        name,
        f" written to {where} for Triton {result.triton} by "
        f"{result.builder}: {human_bytes(result.bytes)} in {result.seconds:.1f} s",
    )


def _tree(result: ConvertResult, entry: str) -> Tree:
    """The directory with sizes; of many files in or below one directory, the largest and a sum."""
    folders: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, file in result.files.items():
        pure = PurePosixPath(path)
        if pure.parts[0] == entry:
            shown = PurePosixPath(*pure.parent.parts[:_DEPTH])
            folders[str(shown)].append((str(pure.relative_to(shown)), file.size))
    tree = Tree(Text(f"{entry}/", style="bold"), guide_style="dim")
    nodes = {entry: tree}
    for folder in sorted(folders):
        node = _node(nodes, folder)
        files = folders[folder]
        for name, size in files if len(files) <= _SHOWN else _summed(files):
            node.add(Text.assemble(name, (f"  {human_bytes(size)}", "dim")))
    for place in (place for e in result.entries if e.name == entry for place in e.weights):
        if result.status == "planned":
            what = place.artifact or place.origin or say_source(result.source)
            _node(nodes, f"{entry}/{place.path}").add(Text(f"… files of {what}", style="dim"))
    return tree


def _summed(files: list[tuple[str, int]]) -> list[tuple[str, int]]:
    largest = sorted(files, key=lambda file: -file[1])[: _SHOWN - 1]
    rest = [file for file in files if file not in largest]
    return [*largest, (f"and {len(rest)} more", sum(size for _, size in rest))]


def _node(nodes: dict[str, Tree], folder: str) -> Tree:
    if folder not in nodes:
        parent, _, name = folder.rpartition("/")
        nodes[folder] = _node(nodes, parent).add(Text(f"{name}/"))
    return nodes[folder]
