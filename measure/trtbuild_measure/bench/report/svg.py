"""Line charts as SVG text: a few hundred bytes a chart, drawn in the colours of the page.

Colours are classes (``s0`` … ``s5``), so one style sheet serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from trtbuild_measure.bench.report.axes import log_ticks, short, ticks

WIDTH, HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 30, 40
COLOURS = 6
_ROW = 18  # of the legend
_CHARACTER = 6  # of a label, nearly
_DECADES = 8  # minimum ratio of a range for a logarithmic axis

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``colour`` is the target's number, ``band`` is ``(x, low, high)`` around it."""

    name: str
    colour: int
    points: Sequence[Point]
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    dots: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw; ``categories`` are the labels of x = 0, 1, 2 … in place of numbers."""

    title: str
    lines: Sequence[Line]
    x_title: str
    categories: Sequence[str] = ()
    log_x: bool = False
    top: float | None = None


class _Frame:
    """Converts values to coordinates."""

    def __init__(self, chart: Chart) -> None:
        xs = [x for line in chart.lines for x, _ in line.points] or [0.0]
        ys = [y for line in chart.lines for _, y in line.points]
        ys += [high for line in chart.lines for _, _, high in line.band]
        self.log = chart.log_x and min(xs) > 0 and max(xs) > _DECADES * min(xs)
        self.x_low, self.x_high = min(xs), max(xs)
        self.y_ticks = ticks(0, chart.top or max([*ys, 1e-9]))
        self.y_high = self.y_ticks[-1]
        if chart.categories:
            self.x_ticks = [float(index) for index in range(len(chart.categories))]
        elif self.log:
            self.x_ticks = log_ticks(self.x_low, self.x_high)
        else:
            self.x_ticks = ticks(self.x_low, self.x_high)
            self.x_high = max(self.x_high, self.x_ticks[-1])
            self.x_low = min(self.x_low, self.x_ticks[0])

    def x(self, value: float) -> float:
        low, high = self.x_low, self.x_high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        height = HEIGHT - _TOP - _BOTTOM
        return round(_TOP + (1 - min(value / self.y_high, 1)) * height, 1)


def draw(chart: Chart) -> str:
    """Draw the chart for a page that has the style and a legend."""
    return _svg(chart, HEIGHT, _plot(chart))


def draw_alone(chart: Chart, style: str) -> str:
    """Draw the chart as a separate file with style, background and legend."""
    names = dict.fromkeys((line.colour, _target(line.name)) for line in chart.lines)
    height = HEIGHT + _ROW * len(names) + 6
    parts = [f"<style>{style}</style>", f'<path class="page" d="M0 0H{WIDTH}V{height}H0Z"/>']
    for row, (colour, name) in enumerate(names):
        y = HEIGHT + _ROW * row
        key = f'<path class="key s{colour % COLOURS}" d="M{_LEFT} {y}h12v12h-12Z"/>'
        parts.append(f'{key}<text x="{_LEFT + 18}" y="{y + 10.5}">{escape(name)}</text>')
    return _svg(chart, height, [*parts, *_plot(chart)])


def _target(name: str) -> str:
    return name.removesuffix(" p50").removesuffix(" p99")


def _svg(chart: Chart, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
    return "".join([head, f"aria-label={quoteattr(chart.title)}>", *parts, "</svg>"])


def _plot(chart: Chart) -> list[str]:
    frame = _Frame(chart)
    title = f'<text class="title" x="{_LEFT - 36}" y="17">{escape(chart.title)}</text>'
    return [
        title,
        *_grid(frame, chart),
        *(part for line in chart.lines for part in _line(line, frame)),
    ]


def _grid(frame: _Frame, chart: Chart) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    found = []
    for value in frame.y_ticks:
        y = frame.y(value)
        found.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
        found.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{short(value)}</text>')
    each = _every(chart.categories)
    for index, value in enumerate(frame.x_ticks):
        if index % each:
            continue
        label = chart.categories[index] if chart.categories else short(value)
        place = f'x="{frame.x(value)}" y="{bottom + 16}" text-anchor="middle"'
        found.append(f"<text {place}>{escape(label)}</text>")
    middle = (_LEFT + right) / 2
    place = f'x="{middle}" y="{HEIGHT - 6}" text-anchor="middle"'
    found.append(f'<text class="axis" {place}>{escape(chart.x_title)}</text>')
    return found


def _every(categories: Sequence[str]) -> int:
    """Return n to draw every n-th label, so that labels do not overlap."""
    widest = max(map(len, categories), default=0) * _CHARACTER + _CHARACTER
    return max(1, math.ceil(len(categories) * widest / (WIDTH - _LEFT - _RIGHT)))


def _line(line: Line, frame: _Frame) -> list[str]:
    colour = f"s{line.colour % COLOURS}"
    found = []
    if line.band:
        there = [f"{frame.x(x)} {frame.y(high)}" for x, _, high in line.band]
        back = [f"{frame.x(x)} {frame.y(low)}" for x, low, _ in reversed(line.band)]
        found.append(f'<path class="band {colour}" d="M{"L".join(there + back)}Z"/>')
    if len(line.points) > 1:
        path = "L".join(f"{frame.x(x)} {frame.y(y)}" for x, y in line.points)
        dashed = " dashed" if line.dashed else ""
        found.append(f'<path class="line {colour}{dashed}" d="M{path}"/>')
    if line.dots or len(line.points) == 1:
        for x, y in line.points:
            title = f"<title>{escape(line.name)}: {short(y)}</title>"
            place = f'cx="{frame.x(x)}" cy="{frame.y(y)}"'
            found.append(f'<circle class="dot {colour}" {place} r="3">{title}</circle>')
    return found
