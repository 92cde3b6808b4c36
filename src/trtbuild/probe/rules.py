"""The findings of the live check; listed like the validator's own rules."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.check import Severity


@dataclass(frozen=True, slots=True)
class LiveRule:
    """A rule that needs a running server."""

    id: str
    title: str
    fix: str
    severity: Severity = Severity.ERROR


_WARNING, _INFO = Severity.WARNING, Severity.INFO

REHEARSED = LiveRule(
    "TRT950",
    "the model itself was tried, not a stand-in",
    "try it on a machine that has its backend before it goes into service",
    _INFO,
)
LOADS = LiveRule(
    "TRT951",
    "the model loads",
    "fix the cause that the message names; trtbuild explain shows the details",
)
SAME_TENSORS = LiveRule(
    "TRT952",
    "the server serves the tensors of the file",
    "write every tensor into config.pbtxt as the backend has it",
)
ANSWERS = LiveRule(
    "TRT953",
    "the model answers",
    "the log of the server has the reason; try the same with `trtbuild infer`",
)
STREAMS = LiveRule(
    "TRT954",
    "an LLM streams",
    "the model must be decoupled and send chunks: convert it again",
)
CANCELS = LiveRule(
    "TRT955",
    "a request whose client left stops",
    "call the decoupled model directly: ensembles and BLS do not pass a cancel on",
)
OVERLAPS = LiveRule(
    "TRT956",
    "requests are computed together",
    "let the engine batch: max_num_seqs or max_batch_size above 1, and instances of what is before "
    "it for as many requests",
    _WARNING,
)
DEATH_IS_TOLD = LiveRule(
    "TRT957",
    "the death of an engine is noticed within five seconds",
    "probe the model with a one-token inference that has a deadline; /v2/health/ready is not one",
    _WARNING,
)
ENDS = LiveRule(
    "TRT958",
    "the server ends in time",
    "look at the end of its log for the model that holds it",
    _WARNING,
)
EQUALS = LiveRule(
    "TRT959",
    "a running model answers as its reference does",
    "its files were changed, or another model is served under its name: serve this repository, or "
    "convert the model again with --force",
)

RULES = (
    REHEARSED, LOADS, SAME_TENSORS, ANSWERS, STREAMS, CANCELS, OVERLAPS, DEATH_IS_TOLD, ENDS,
    EQUALS,
)  # fmt: skip
