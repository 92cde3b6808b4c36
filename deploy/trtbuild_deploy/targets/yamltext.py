"""YAML as every target writes it: by a dumper, in the order given, without aliases."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, writes long texts as blocks, never an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own form
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


# What Go's parser, so Helm and kubectl, reads as a boolean or a number, and PyYAML as text. It
# leaves out every "_" before it looks: +_1 is a number.
_NO_TEXT_IN_GO = re.compile(
    r"[yYnN]|[-+]?0[oObBxX][0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
)

# Line breaks to some parsers and not to others: only an escape is safe.
_BREAKS = re.compile("[\x85\u2028\u2029]")


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    number = _NO_TEXT_IN_GO.fullmatch(value.replace("_", ""))
    style = '"' if _BREAKS.search(value) else "|" if "\n" in value else "'" if number else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def yaml_bytes(value: Any, header: str = "") -> bytes:
    """Return ``value`` as YAML, with ``header`` as comment lines before it. What is written is
    read again and compared: a hostile text stays a text."""
    body = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, explicit_start=False
    )
    if yaml.load(body, Loader=SafeLoader) != value:
        raise ValueError("the YAML did not survive its own parser")
    return yaml_header(header) + body.encode()


def yaml_header(text: str) -> bytes:
    """Return the lines of ``text`` as comments."""
    return "".join(f"# {line}\n" for line in text.splitlines()).encode()


def documents_bytes(values: Iterable[Any], header: str = "") -> bytes:
    """Return several documents as one file."""
    first, *rest = (yaml_bytes(value) for value in values)
    return yaml_header(header) + first + b"".join(b"---\n" + one for one in rest)


def literal(text: str) -> str:
    """``text`` for Compose, which takes ``$`` for a variable unless it is doubled."""
    return text.replace("$", "$$")


def bind(source: str, target: str) -> dict[str, Any]:
    """A read-only mount of Compose."""
    return {"type": "bind", "source": source, "target": target, "read_only": True}
