"""A report as an HTML page with a picture of the intervals."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from trtbuild.files import atomic_write, disk_trouble
from trtbuild_experiments.reporting import Comparison, Report
from trtbuild_measure.bench.report.axes import short, ticks

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 640, 26, 190, 20, 30
_LONGEST = 28  # characters of a label
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        BuildError: The disk refuses it.
    """
    text = render(report)
    with disk_trouble(path.absolute().parent, state="no page was written"):
        atomic_write(path, text.encode())


def render(report: Report) -> str:
    """The page; it loads no script, font or image."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from trtbuild_measure.resources import template_dir

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = template_dir("report", "style.css").read_text(encoding="utf-8")
    return environment.get_template("experiment.html.j2").render(
        report=report,
        style=Markup(style),  # noqa: S704 - our own file
        picture=Markup(draw(report.comparisons)),  # noqa: S704 - its labels are escaped
    )


def draw(comparisons: tuple[Comparison, ...]) -> str:
    """Each interval as a line, in percent of the control's value; empty without any."""
    rows = [(one, *_percent(one)) for one in comparisons if one.control]
    if not rows:
        return ""
    ends = [end for _, low, high in rows for end in (low, high)]
    marks = ticks(min(*ends, 0.0), max(*ends, 0.0))
    low, high = marks[0], marks[-1]
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)

    def x(value: float) -> float:
        return round(_LEFT + (value - low) * scale, 1)

    height = _TOP + _ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Difference from the control">',
        '<text class="title" x="8" y="17">Difference from the control, %</text>',
        f'<path class="grid" d="M{x(0)} {_TOP}V{height - 24}"/>',
    ]
    for index, (one, left, right) in enumerate(rows):
        y = _TOP + _ROW * index + _ROW // 2
        colour = "s5" if one.verdict.startswith("no ") else "s0"
        middle = 100 * one.difference / abs(one.control)
        label = f"{one.metric} {one.variant}"
        label = escape(label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…")
        parts += [
            f'<text x="8" y="{y + 4}">{label}</text>',
            f'<path class="line {colour}" d="M{x(left)} {y}H{x(right)}"/>',
            f'<circle class="dot {colour}" cx="{x(middle)}" cy="{y}" r="4">'
            f"<title>{label}: {middle:+.2f} %</title></circle>",
        ]
    for value in marks:
        place = f'x="{x(value)}" y="{height - 8}" text-anchor="middle"'
        parts.append(f"<text {place}>{short(value)}</text>")
    return "".join([*parts, "</svg>"])


def _percent(one: Comparison) -> tuple[float, float]:
    low, high = (100 * end / abs(one.control) for end in one.interval)
    return low, high
