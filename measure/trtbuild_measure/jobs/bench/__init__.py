"""The stages of ``trtbuild bench``: from options to a result and its files."""

from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.jobs.bench.files import keeper, require_writable, write_files
from trtbuild_measure.jobs.bench.measuring import run
from trtbuild_measure.jobs.bench.required import require_objectives, require_share
from trtbuild_measure.jobs.bench.session import Outcome

__all__ = [
    "BenchOptions",
    "Outcome",
    "keeper",
    "require_objectives",
    "require_share",
    "require_writable",
    "run",
    "write_files",
]
