"""Load generators."""

from trtbuild.bench.loads.arrivals import offsets
from trtbuild.bench.loads.closed import closed_loop
from trtbuild.bench.loads.model import Control, Gate, Limits, Load, Prompts, Session
from trtbuild.bench.loads.open import open_loop

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
