"""Prompts: synthetic ones of exact lengths, those of a file, and traces."""

from trtbuild.bench.prompts.batches import batched
from trtbuild.bench.prompts.files import FilePrompts, read_prompts
from trtbuild.bench.prompts.lengths import Lengths, parse_lengths
from trtbuild.bench.prompts.synthetic import SyntheticPrompts
from trtbuild.bench.prompts.trace import Trace, read_trace

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
