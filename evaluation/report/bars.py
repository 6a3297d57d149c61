"""Bars with names on their left and numbers on their right, which fill whatever width there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evaluation.report.charts import ticks
from evaluation.report.markup import Html, element, join, number

_THICK, _THIN = 9, 5
_ROW = 25
"""Height of a row in pixels, no less than its line of text, so that the lines of the scale have no gaps."""


class Bar(NamedTuple):
    """A row of one or two bars.

    Attributes:
        label: on its left.
        values: one of each series, None of what was not measured.
        shown: on its right.
        marks: values that strokes stand at on the first bar.
    """

    label: str
    values: Sequence[float | None]
    shown: str
    marks: Sequence[float] = ()


def bars(rows: Sequence[Bar], *, unit: str, highest: float | None = None) -> Html:
    """Return bars from 0 below one scale.

    Args:
        rows: from top to bottom; series have the colours 0, 1 …
        unit: what the scale measures.
        highest: where the scale ends; else what the rows need.
    """
    found = [v for row in rows for v in (*row.values, *row.marks) if v is not None]
    scale = ticks(max(found, default=1.0)) if highest is None else ticks(highest)
    cells = [
        element("span", class_="label"),
        _scale(scale),
        element("span", unit, class_="value absent"),
    ]
    for row in rows:
        measured = row.marks or any(value is not None for value in row.values)
        absent = "" if measured else " absent"
        cells += [
            element("span", row.label, class_=f"label{absent}"),
            _row(row, scale),
            element("span", row.shown, class_=f"value{absent}"),
        ]
    return element("div", *cells, class_="bars")


def swatches(names: Sequence[str]) -> Html:
    """Return what the colours of bars mean."""
    keys = (
        element(
            "span",
            element(
                "svg",
                element("rect", width=14, height=_THIN if style else _THICK, y=1, class_="bar"),
                width=14,
                height=11,
                class_=f"s{style}",
                aria_hidden="true",
            ),
            name,
        )
        for style, name in enumerate(names)
    )
    return element("div", *keys, class_="legend")


def _scale(scale: Sequence[float]) -> Html:
    anchors = ["start", *["middle"] * (len(scale) - 2), "end"]
    last = len(scale) - 1
    texts = (
        element(
            "text",
            f"{value:g}",
            x=_share(value, scale),
            y=12,
            text_anchor=anchor,
            class_="sparse" if 0 < at < last and (at % 2 or at == last - 1) else None,
        )
        for at, (value, anchor) in enumerate(zip(scale, anchors, strict=True))
    )
    return element("svg", *texts, height=16, aria_hidden="true")


def _row(row: Bar, scale: Sequence[float]) -> Html:
    content = _THICK + (2 + _THIN) * (len(row.values) - 1)
    height = max(_ROW, content + 6)
    lines = (
        element("line", x1=_share(v, scale), x2=_share(v, scale), y1=0, y2=height, class_="grid")
        for v in scale
    )
    start = top = (height - content) / 2
    drawn = []
    for style, value in enumerate(row.values):
        thickness = _THIN if style else _THICK
        if value is not None:
            rect = element(
                "rect", width=_share(value, scale), height=thickness, y=top, class_="bar"
            )
            drawn.append(element("g", rect, class_=f"s{style}"))
        top += thickness + 2
    strokes = (
        element(
            "line",
            x1=_share(v, scale),
            x2=_share(v, scale),
            y1=start - 3,
            y2=start + _THICK + 3,
            class_="tick",
        )
        for v in row.marks
    )
    return element(
        "svg", join(lines), join(drawn), join(strokes), height=height, aria_hidden="true"
    )


def _share(value: float, scale: Sequence[float]) -> str:
    return f"{number(100 * value / scale[-1])}%"
