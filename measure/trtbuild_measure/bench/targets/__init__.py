"""The targets of a benchmark."""

from trtbuild_measure.bench.targets.address import Address, parse_target, unique_names

__all__ = ["Address", "parse_target", "unique_names"]
