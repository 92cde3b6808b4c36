"""How much of a test that has no natural end is done: a fixed share daily, the rest nightly.

Such a test carries the mark ``long``; ``make nightly`` runs those with ``TRTBUILD_NIGHTLY=1``.
"""

from __future__ import annotations

import os

NIGHTLY = bool(os.environ.get("TRTBUILD_NIGHTLY"))


def rounds(daily: int, nightly: int) -> int:
    """The number of examples, files or repetitions in this lane."""
    return nightly if NIGHTLY else daily
