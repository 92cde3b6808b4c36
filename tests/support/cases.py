"""Small repositories as values: to write, to judge, to keep.

``tests/corpus/*.toml`` holds named ones, with what the real server (2.51) says of each model;
``scripts/differential.py --record`` asks it again:

    [an-input-without-name]
    why = "…"                          # what is to be seen in it
    configs.m = '''…'''                # the config.pbtxt of the model m
    folders = ["m/1"]                  # instead of a directory 1 for every model
    files."m/labels.txt" = "…"         # more files
    links."m/1/data" = "../data"       # symbolic links
    auto_complete = true               # a server that completes configurations; default: false
    says.m = "model input must specify 'name' for m"      # empty: it loads the model
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild import check
from trtbuild.check import Finding, Report, Severity
from trtbuild.check.engine import clean

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
CRASHED = "the server died"
RELEASE = "24.10"  # of the embedded server, 2.51


@dataclass(frozen=True)
class Case:
    """A repository: configurations by model, and what lies beside them."""

    name: str
    configs: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    auto_complete: bool = False
    why: str = ""
    says: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Every directory at the root."""
        inside = [path for path in (*self.files, *self.links) if "/" in path]
        paths = [*self.configs, *self._folders(), *inside]
        return tuple(sorted({path.partition("/")[0] for path in paths}))

    def _folders(self) -> tuple[str, ...]:
        return tuple(f"{m}/1" for m in self.configs) if self.folders is None else self.folders

    def write(self, repo: Path) -> None:
        """Create it in an empty directory."""
        for folder in self._folders():
            (repo / folder).mkdir(parents=True, exist_ok=True)
        texts = {f"{model}/config.pbtxt": text for model, text in self.configs.items()}
        for path, text in (texts | dict(self.files)).items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).write_bytes(text.encode("utf-8", errors="surrogateescape"))
        for path, target in self.links.items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).symlink_to(target)

    def validate(self, repo: Path) -> Report:
        """What the validator says of it, by the rules of the embedded server's release."""
        return check.validate(repo, triton=RELEASE, auto_complete=self.auto_complete, gpus=0)


def corpus() -> Iterator[tuple[Path, Case]]:
    """The committed cases with their files."""
    for path in sorted(CORPUS.glob("*.toml")):
        for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
            yield path, parse(name, row)


def parse(name: str, row: Mapping[str, Any]) -> Case:
    """A case from its table."""
    folders = tuple(row["folders"]) if "folders" in row else None
    return Case(name, **{**row, "folders": folders})


# What a server of another installation may load.
_NOT_INSTALLED = re.compile(
    r"unable to find ((Python backend based )?backend library|'libtritonrepoagent)"
)


def as_toml(case: Case) -> str:
    """A case the way the corpus holds it."""
    lines = [f"[{_key(case.name)}]", *([f"why = {json.dumps(case.why)}"] if case.why else [])]
    lines += [f"configs.{_key(m)} = {_text(text)}" for m, text in case.configs.items()]
    if case.folders is not None:
        lines.append(f"folders = {json.dumps(list(case.folders))}")
    lines += [f"files.{_key(path)} = {_text(text)}" for path, text in case.files.items()]
    lines += [f"links.{_key(path)} = {json.dumps(to)}" for path, to in case.links.items()]
    if case.auto_complete:
        lines.append("auto_complete = true")
    lines += [
        f"says.{_key(model)} = {json.dumps(said, ensure_ascii=False)}"
        for model, said in case.says.items()
    ]
    return "\n".join(lines)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)


def _text(text: str) -> str:
    plain = "'''" not in text and all(c.isprintable() or c == "\n" for c in text)
    return f"'''\n{text}'''" if plain else json.dumps(text, ensure_ascii=False)


# From TRT6 on, what refuses an ensemble's member, and a tokenizer that model.py would open.
_OF_THE_BACKEND = re.compile(r"TRT[6-9]|is refused \(TRT[6-9]|tokenizer_dir")


def _counts(found: Finding) -> bool:
    """Whether a finding says that the server refuses the model. From TRT6 on it would be the
    backend, and the judge's backends accept everything."""
    words = found.message if found.rule in ("TRT373", "TRT104") else found.rule
    return found.severity is Severity.ERROR and not _OF_THE_BACKEND.search(words)


def disagreement(verdicts: Mapping[str, str], report: Report, *, of_backends: bool = False) -> str:
    """Where the server and the validator differ, in words; empty if they agree. What a backend
    would refuse counts with ``of_backends`` only.

    They agree on a model when both load it, or when both refuse it and an error quotes the server.
    """
    for model, said in verdicts.items():
        if _NOT_INSTALLED.search(said):
            continue
        errors = [
            found
            for found in report.findings
            if found.model == model
            and (found.severity is Severity.ERROR if of_backends else _counts(found))
        ]
        if bool(errors) != bool(said):
            ours = "; ".join(f"{e.rule} {e.message}" for e in errors) or "no error"
            return f"{model}: the server says {said or 'yes'!r}, the validator {ours}"
        quotes = [error.server_message for error in errors if error.server_message]
        if said in ("", CRASHED):
            continue
        printable = clean(said)  # as findings are
        if not any(quote in printable or printable in quote for quote in quotes):
            return f"{model}: the server says {said!r}, the validator quotes {quotes}"
    return ""
