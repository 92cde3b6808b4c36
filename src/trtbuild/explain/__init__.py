"""Explain a server's log: root cause, location and fix.

A failed start fills a log with consequences: a traceback in three processes, a model that did not
load, the ensemble that waited for it, the server that gave up. The table ``data/causes.toml``
distinguishes root causes from consequences. With the repository, a root cause becomes a file, a
line and a finding of the validator.
"""

from trtbuild.explain.causes import Cause, causes
from trtbuild.explain.explaining import explain
from trtbuild.explain.model import Explanation, Reason

__all__ = ["Cause", "Explanation", "Reason", "causes", "explain"]
