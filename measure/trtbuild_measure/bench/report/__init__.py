"""The report: one self-contained HTML file, and its charts as separate files."""

from trtbuild.bench.report.page import charts, pngs, render

__all__ = ["charts", "pngs", "render"]
