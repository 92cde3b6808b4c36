"""``trtbuild bench``: its commands, their options and what they print."""

from trtbuild_measure.cli.bench.command import register

__all__ = ["register"]
