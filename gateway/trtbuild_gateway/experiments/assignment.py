"""Which variant a user gets: computed from hashes, so that every replica computes the same.

A change of a function here moves users of running experiments.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from trtbuild_gateway.experiment_settings import ExperimentSettings

BUCKETS = 10_000
"""Parts of a layer: the finest share of its users is 0.01 %."""


def takes_part(experiment: ExperimentSettings, unit: str) -> bool:
    """Return whether a user is among those of the experiment in its layer."""
    layer = experiment.layer or experiment.name
    at = _number(experiment.salt, "layer", layer, unit) % BUCKETS
    first, end = (round(percent * BUCKETS / 100) for percent in experiment.users)
    return first <= at < end


def variant_of(experiment: ExperimentSettings, unit: str) -> str:
    """Return a user's variant.

    Weighted rendezvous hashing: each variant draws a time from an exponential distribution with its
    weight as the rate, and the first one wins. A larger weight only makes a variant's times
    shorter, so growing it moves users to it and none away.
    """
    times = {
        name: _draw(experiment, name, unit) / one.weight
        for name, one in experiment.variants.items()
        if one.weight
    }
    return min(times, key=times.__getitem__)


def hash_of(experiment: ExperimentSettings, unit: str) -> str:
    """Return what stands for the user in records: the same in all experiments of one salt."""
    return _digest(experiment.salt, "unit", unit, size=16).hex()


def _draw(experiment: ExperimentSettings, variant: str, unit: str) -> float:
    """Return the time of a variant with weight 1, above 0."""
    number = _number(experiment.salt, "variant", experiment.name, variant, unit)
    return -math.log(((number >> 12) + 0.5) / 2**52)  # 52 bits and a half are exact


def _number(*parts: str) -> int:
    return int.from_bytes(_digest(*parts, size=8))


def _digest(*parts: str, size: int) -> bytes:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=size).digest()
