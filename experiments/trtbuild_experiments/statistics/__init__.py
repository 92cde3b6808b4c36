"""Statistics of experiments: numbers in, numbers out, no files."""

from trtbuild_experiments.statistics.chances import (
    chi_square_tail,
    normal_quantile,
    two_sided,
)
from trtbuild_experiments.statistics.estimates import Difference, difference, quantile, ratio
from trtbuild_experiments.statistics.intervals import always_valid, at_one_look, tuning
from trtbuild_experiments.statistics.mismatch import sample_ratio
from trtbuild_measure.intervals import holm

__all__ = [
    "Difference",
    "always_valid",
    "at_one_look",
    "chi_square_tail",
    "difference",
    "holm",
    "normal_quantile",
    "quantile",
    "ratio",
    "sample_ratio",
    "tuning",
    "two_sided",
]
