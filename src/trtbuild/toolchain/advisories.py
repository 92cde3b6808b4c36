"""Releases with known vulnerabilities (``data/advisories.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Literal

from packaging.version import Version

from trtbuild.resources import data_file


@dataclass(frozen=True, slots=True)
class Advisory:
    """One row; see the head of the table."""

    program: str
    ids: tuple[str, ...]
    what: str
    fixed: str
    published: str
    reach: Literal["network", "checkpoint", "local", "elsewhere"]
    source: str
    since: str = ""
    score: float = 0.0
    auto_map: bool = False

    @property
    def remote(self) -> bool:
        """Whether a client or a checkpoint can exploit it, not only a local user."""
        return self.reach in ("network", "checkpoint")

    def affects(self, version: str) -> bool:
        """Whether a release is affected."""
        key = Version(version)
        late = not self.since or key >= Version(self.since)
        return late and key < Version(self.fixed)


@cache
def _table() -> tuple[str, tuple[Advisory, ...]]:
    table = tomllib.loads(data_file("advisories.toml").read_text(encoding="utf-8"))
    rows = (Advisory(**{**row, "ids": tuple(row["ids"])}) for row in table["advisory"])
    return table["as_of"], tuple(rows)


def advisories_of(program: str, version: str) -> tuple[Advisory, ...]:
    """Return the advisories for a release of ``triton`` (YY.MM), ``vllm``, ``tensorrt-llm`` or
    ``transformers`` that can be exploited through Triton, the newest first; none for a release
    that is not a version."""
    try:
        Version(version)
    except ValueError:
        return ()
    rows = (one for one in _table()[1] if one.program == program and one.reach != "elsewhere")
    return tuple(one for one in rows if one.affects(version))


def safe_since(program: str) -> str:
    """Return the first release without a known remote vulnerability."""
    fixed = (one.fixed for one in _table()[1] if one.program == program and one.remote)
    return max(fixed, key=Version, default="")


def advisories_as_of() -> str:
    """Return the date (ISO) on which the table was read from its sources."""
    return _table()[0]
