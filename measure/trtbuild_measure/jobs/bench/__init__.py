"""The stages of ``trtbuild bench``: from options to a result and its files."""

from trtbuild.bench.options import BenchOptions
from trtbuild.pipeline.bench.files import keeper, require_writable, write_files
from trtbuild.pipeline.bench.measuring import run
from trtbuild.pipeline.bench.session import Outcome

__all__ = ["BenchOptions", "Outcome", "keeper", "require_writable", "run", "write_files"]
