"""The loop: items become calls, calls are retried, parallelism follows the server.

It knows neither files nor HTTP: what is asked and where receipts go is given to it.
"""

from trtbuild_batch.engine.limiting import Aimd, Fixed, Limiter, Metered
from trtbuild_batch.engine.loop import Engine, StoppedError
from trtbuild_batch.engine.model import CallError, Kind, Outcome, Receipt
from trtbuild_batch.engine.retrying import Policy
from trtbuild_batch.engine.yielding import Load, Ours, Yielding

__all__ = [
    "Aimd",
    "CallError",
    "Engine",
    "Fixed",
    "Kind",
    "Limiter",
    "Load",
    "Metered",
    "Ours",
    "Outcome",
    "Policy",
    "Receipt",
    "StoppedError",
    "Yielding",
]
