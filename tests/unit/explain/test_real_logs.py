"""Logs of public reports: each gets its root cause, and a fix that says what to do."""

from __future__ import annotations

from typing import Any

from support.real_logs import LOGS
from trtbuild.explain import Explanation, explain


def wrong(log: dict[str, Any]) -> str:
    """What is not as the table says; empty when all is."""
    found = explain(log["text"].splitlines())
    told = found.follows if log["cause"] == "follows" else found.reasons
    if not told or (log["cause"] == "follows" and found.reasons):
        return f"{log['cause']} wanted, found {causes_of(found)}"
    root = told[0]
    if log["cause"] not in ("follows", root.cause):
        return f"{log['cause']} wanted, found {causes_of(found)}"
    if log["fix"] not in root.fix or not root.title or not root.message:
        return f"{log['fix']!r} is not in {root.fix!r}"
    if len(found.reasons) > 1:
        return f"one reason wanted, found {causes_of(found)}"
    model = log.get("model", root.model)
    return "" if root.model == model else f"model {model} wanted, found {root.model!r}"


def causes_of(found: Explanation) -> str:
    return f"{[one.cause for one in found.reasons]}, {[one.cause for one in found.follows]} follow"


def test_a_real_log_is_explained() -> None:
    found = {log["source"]: wrong(log) for log in LOGS}
    assert len(found) == len(LOGS), "a source has one log"
    assert {source: told for source, told in found.items() if told} == {}
