"""Load generators."""

from trtbuild_measure.bench.loads.arrivals import offsets
from trtbuild_measure.bench.loads.closed import closed_loop
from trtbuild_measure.bench.loads.model import Control, Gate, Limits, Load, Prompts, Session
from trtbuild_measure.bench.loads.open import open_loop

__all__ = [
    "Control",
    "Gate",
    "Limits",
    "Load",
    "Prompts",
    "Session",
    "closed_loop",
    "offsets",
    "open_loop",
]
