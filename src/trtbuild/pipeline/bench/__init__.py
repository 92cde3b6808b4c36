"""The stages of ``trtbuild bench``: from what was asked for to a result."""

from trtbuild.pipeline.bench.measuring import BenchOptions, Outcome, run

__all__ = ["BenchOptions", "Outcome", "run"]
