"""When the requests of an open loop are due."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from trtbuild_measure.bench.loads.model import Load


def offsets(load: Load, seed: int) -> Iterator[float]:
    """Yield seconds from the start, indefinitely.

    ``constant``: every ``1/rate`` seconds. ``poisson``: with independent, exponentially
    distributed gaps, which is how many independent users arrive.
    """
    if load.arrivals == "constant":
        return (number / load.rate for number in itertools.count())
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return itertools.accumulate(source.expovariate(load.rate) for _ in itertools.count())
