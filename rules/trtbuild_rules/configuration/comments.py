"""Comments: what hides findings."""

from __future__ import annotations

from trtbuild.check.comments import UNUSED, read_comments, unknown_codes
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild.located.positions import Position


@rule(
    UNUSED,
    "an ignore comment names a rule, and suppresses a finding",
    fix="remove the comment, or correct the id ('trtbuild rules' lists them)",
    bad="max_batch_size: 8  # trtbuild: ignore[TRT303]",
    good="# trtbuild: ignore[TRT504]\ninstance_group [ { count: 0 kind: KIND_CPU } ]",
    severity=Severity.INFO,
    needs_config=False,
)
def names_a_rule(model: Model) -> Problems:
    """A comment that suppresses nothing today may hide a fault later. An id that no rule has is
    a warning, since what it was meant to hide is not hidden."""
    for line, code in unknown_codes(read_comments(model.text or "")):
        message = f"no rule has the id {code!r}, and none begins with it"
        yield Problem(message, Position(line, 1), severity=Severity.WARNING)
