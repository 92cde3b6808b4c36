"""The metrics, one file each; the file's first lines are its definition."""

from trtbuild_measure.bench.metrics import e2e, icl, itl, queueing, tpot, ttft

LATENCIES = (ttft, itl, icl, tpot, e2e, queueing)
"""Modules with ``NAME``, ``TITLE`` and ``values(timeline)`` in milliseconds."""
