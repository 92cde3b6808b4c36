"""The report: one self-contained HTML file, and its charts as separate files."""

from trtbuild_measure.bench.report.page import charts, pngs, render

__all__ = ["charts", "pngs", "render"]
