"""Line charts and reliability diagrams as SVG.

Coordinates are those of a drawing 300 wide, where text is 11 px. Knows nothing of what is measured: it takes
numbers and words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from evaluation.measures import Bins
from evaluation.report.markup import Html, element, join, number

NUM_STYLES = 6
"""Series that can be told apart by colour, mark and dash."""

_WIDTH = 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 10.0, 10.0, 38.0
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "12 4", "4 2")


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        label: what a legend calls it.
        points: (x, y), by rising x.
        style: colour, mark and dash, 0 to 5.
        faint: one of many lines behind the others, without marks.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    faint: bool = False


class _Frame(NamedTuple):
    """The place of a chart's axes: the values at their ends, and the height of the drawing."""

    low_x: float
    high_x: float
    high_y: float
    height: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.low_x) / ((self.high_x - self.low_x) or 1.0)
        up = y / self.high_y
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM),
        )


def ticks(highest: float) -> list[float]:
    """Return round values from 0 to `highest` or above, in steps of 1, 2 or 5 times a power of ten."""
    if not highest > 0:
        return [0.0, 1.0]
    raw = highest / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [step * place for place in range(math.ceil(highest / step - 1e-9) + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    x_ticks: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
    highest: float | None = None,
) -> Html:
    """Return a chart of lines over a vertical axis from 0, in percent.

    Args:
        series: the lines, faint ones drawn first.
        x_ticks: places on the horizontal axis, rising, and their names.
        x_label: what that axis shows.
        y_label: what the other shows.
        highest: where the vertical axis ends at least, to compare two charts; else what the lines need.
    """
    values = [y for each in series for _, y in each.points]
    levels = ticks(max([*values, highest or 0.0]))
    frame = _Frame(x_ticks[0][0], x_ticks[-1][0], levels[-1], 220.0)
    parts = [*_axes(frame, x_ticks, [(y, f"{y:g}") for y in levels], x_label, y_label)]
    parts += [_faint(frame, each) for each in series if each.faint]
    parts += [_line(frame, each) for each in series if not each.faint]
    about = "; ".join(
        f"{each.label}: {', '.join(f'{y:.1f}' for _, y in each.points)}"
        for each in series
        if not each.faint
    )
    return _drawing(parts, 220.0, f"{y_label} by {x_label}. {about}")


def reliability_chart(bins: Bins, *, style: int = 0) -> Html:
    """Return accuracy against confidence in percent: a mark a bin, and its distance from the diagonal."""
    frame = _Frame(0.0, 100.0, 100.0, 290.0)
    scale = [(float(value), str(value)) for value in (0, 20, 40, 60, 80, 100)]
    parts = [*_axes(frame, scale, scale, "confidence, %", "accuracy, %")]
    parts.append(_segment(frame.at(0, 0), frame.at(100, 100), "axis", stroke_dasharray="4 3"))
    points = [
        (100 * confidence, 100 * accuracy)
        for confidence, accuracy in zip(
            bins.confidence.tolist(), bins.accuracy.tolist(), strict=True
        )
    ]
    gaps = [_segment(frame.at(x, x), frame.at(x, y), "gap") for x, y in points]
    line = Series("accuracy", points, style)
    parts.append(element("g", *gaps, _line(frame, line), class_=f"s{style}"))
    about = ", ".join(f"{x:.1f} → {y:.1f}" for x, y in points)
    return _drawing(parts, frame.height, f"accuracy by confidence, percent: {about}")


def legend(series: Sequence[tuple[str, int]]) -> Html:
    """Return the names of series, each with its line and mark."""
    return element(
        "div", *(element("span", _key(style), label) for label, style in series), class_="legend"
    )


def mark(x: float, y: float, style: int, *, hollow: bool = False) -> Html:
    """Return the mark of a series: circle, square, triangle, diamond, and two more."""
    name = "hollow" if hollow else "mark"
    if style % NUM_STYLES == 0:
        return element("circle", cx=x, cy=y, r=4, class_=name)
    corners = {
        1: ((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
        2: ((0, -4.8), (4.4, 3.4), (-4.4, 3.4)),
        3: ((0, -5), (5, 0), (0, 5), (-5, 0)),
        4: ((0, 4.8), (4.4, -3.4), (-4.4, -3.4)),
        5: ((-2, -5), (2, -5), (2, 5), (-2, 5)),
    }[style % NUM_STYLES]
    return element("polygon", points=places([(x + dx, y + dy) for dx, dy in corners]), class_=name)


def places(points: Sequence[tuple[float, float]]) -> str:
    """Return points as SVG writes them."""
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def dash(style: int) -> str | None:
    """Return the dashes of a series, None for a whole line."""
    return _DASHES[style % NUM_STYLES]


def _key(style: int) -> Html:
    line = element("line", x1=1, y1=7, x2=29, y2=7, class_="line", stroke_dasharray=dash(style))
    return element(
        "svg", line, mark(15, 7, style), width=30, height=14, class_=f"s{style}", aria_hidden="true"
    )


def _drawing(parts: Sequence[str], height: float, about: str) -> Html:
    box = f"0 0 {number(_WIDTH)} {number(height)}"
    return element("svg", element("title", about), *parts, viewBox=box, role="img")


def _axes(
    frame: _Frame,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
) -> list[Html]:
    left, bottom = frame.at(frame.low_x, 0)
    right, top = frame.at(frame.high_x, frame.high_y)
    middle_x, middle_y = number((left + right) / 2), number((top + bottom) / 2)
    parts = []
    for value, name in y_ticks:
        _, y = frame.at(frame.low_x, value)
        parts.append(_segment((left, y), (right, y), "grid"))
        parts.append(element("text", name, x=left - 6, y=y + 4, text_anchor="end"))
    for value, name in x_ticks:
        x, _ = frame.at(value, 0)
        parts.append(_segment((x, bottom), (x, bottom + 4), "axis"))
        parts.append(element("text", name, x=x, y=bottom + 16, text_anchor="middle"))
    parts.append(_segment((left, bottom), (right, bottom), "axis"))
    parts.append(element("text", x_label, x=middle_x, y=bottom + 32, text_anchor="middle"))
    turned = f"translate(11 {middle_y}) rotate(-90)"
    parts.append(element("text", y_label, transform=turned, text_anchor="middle"))
    return parts


def _segment(
    start: tuple[float, float], end: tuple[float, float], class_: str, **attributes: str
) -> Html:
    (x1, y1), (x2, y2) = start, end
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **attributes)


def _faint(frame: _Frame, series: Series) -> Html:
    points = places([frame.at(x, y) for x, y in series.points])
    line = element("polyline", element("title", series.label), points=points, class_="faint")
    return element("g", line, class_=f"s{series.style}")


def _line(frame: _Frame, series: Series) -> Html:
    points = [frame.at(x, y) for x, y in series.points]
    line = element(
        "polyline", points=places(points), class_="line", stroke_dasharray=dash(series.style)
    )
    marks = (
        element("g", mark(*point, series.style), element("title", f"{series.label}: {y:.1f}"))
        for point, (_, y) in zip(points, series.points, strict=True)
    )
    return element("g", line, join(marks), class_=f"s{series.style}")
