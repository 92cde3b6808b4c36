"""A model on the probe's server, and the place of findings about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trtbuild import lockfile, pbtxt
from trtbuild.check import Finding, Severity
from trtbuild.probe.rules import LiveRule
from trtbuild.repository import served_model
from trtbuild.server import ServerHandle
from trtbuild.signature import ServedModel

ANSWER_SECONDS = 120.0
"""What a request of the probe may take."""


@dataclass(frozen=True)
class RepositoryModel:
    """One model and its repository."""

    name: str
    repo: Path

    @cached_property
    def config(self) -> Any:
        """Its ``config.pbtxt``, accepted by the validator."""
        return pbtxt.read(self.repo / self.name / "config.pbtxt")

    @cached_property
    def served(self) -> ServedModel:
        """Its description."""
        found = served_model(self.repo, self.name)
        assert found is not None  # its configuration can be read
        return found

    @property
    def members(self) -> tuple[str, ...]:
        """The models of its steps, if it is an ensemble."""
        return tuple(step.model_name for step in self.config.ensemble_scheduling.step)

    @property
    def is_part(self) -> bool:
        """Whether it was written as a part of another model, which calls it."""
        return lockfile.read(self.repo).owner(self.name) not in ("", self.name)

    def finding(self, rule: LiveRule, message: str, **more: Any) -> Finding:
        """Return a finding about this model; see :func:`finding`."""
        return finding(self.repo, self.name, rule, message, **more)


@dataclass(frozen=True)
class ProbedModel(RepositoryModel):
    """A model with the server it was loaded on."""

    handle: ServerHandle


def finding(
    repo: Path,
    model: str,
    rule: LiveRule,
    message: str,
    *,
    server_message: str = "",
    fix: str = "",
    severity: Severity | None = None,
    place: tuple[str, int, int] = ("", 0, 0),
) -> Finding:
    """Return a finding about a model; ``place`` is file, line, column if known."""
    file, line, column = place
    return Finding(
        rule=rule.id,
        severity=severity or rule.severity,
        model=model,
        file=file or f"{model}/config.pbtxt",
        line=line,
        column=column,
        message=message,
        server_message=server_message,
        fix=fix or rule.fix,
        repository=str(repo),
    )
