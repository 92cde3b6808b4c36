"""Prompts: synthetic ones of exact lengths, those of a file, and traces."""

from trtbuild_measure.bench.prompts.batches import batched
from trtbuild_measure.bench.prompts.files import FilePrompts, read_prompts
from trtbuild_measure.bench.prompts.lengths import Lengths, parse_lengths
from trtbuild_measure.bench.prompts.synthetic import SyntheticPrompts
from trtbuild_measure.bench.prompts.trace import Trace, read_trace

__all__ = [
    "FilePrompts",
    "Lengths",
    "SyntheticPrompts",
    "Trace",
    "batched",
    "parse_lengths",
    "read_prompts",
    "read_trace",
]
