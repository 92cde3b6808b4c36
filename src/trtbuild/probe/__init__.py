"""Validation on a running server, for what the files alone do not show.

A separate embedded server loads the models one after the other. Every model is compared with its
file; every LLM is tested for answers, streaming, cancellation, batching and the death of its
engine. Nothing of the server remains afterwards.
"""

from trtbuild.probe.checking import live_check
from trtbuild.probe.rules import RULES, LiveRule
from trtbuild.probe.running import compare_running

__all__ = ["RULES", "LiveRule", "compare_running", "live_check"]
