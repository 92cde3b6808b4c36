"""What a worker has done and holds, for people and for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of one worker.

    Attributes:
        answered: Messages with a published answer.
        dead: Messages that became dead letters.
        failed: Calls without an answer.
        returned: Messages that went back to the queue at the end.
        held: Messages received and not finished.
        limit: Calls at a time at most, now.
        waiting: Messages that nobody has finished and that are not held; None if unknown.
        oldest_s: Age of the oldest message held, in seconds.
        trouble: Why a broker does not answer now; empty if all is well.
    """

    answered: int = 0
    dead: int = 0
    failed: int = 0
    returned: int = 0
    held: int = 0
    limit: int = 0
    waiting: int | None = None
    oldest_s: float = 0.0
    trouble: str = ""
