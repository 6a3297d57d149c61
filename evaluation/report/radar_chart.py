"""The five measures of some methods as a radar chart, on the scale of `evaluation.radar`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evaluation.columns import COLUMNS
from evaluation.radar import axes_of, radar
from evaluation.report.charts import dash, legend, mark, places
from evaluation.report.markup import Html, element, figure, join, notes, number, paragraph, table

_CENTRE_X, _CENTRE_Y, _RADIUS = 190.0, 158.0, 108.0
_LOWEST = -1.0
"""Where the scale ends inwards: a method that loses more than all there was to gain would hide the others."""

Values = Mapping[str, float]


def radar_figure(
    rows: Mapping[str, Values], *, baseline: str, partial: Mapping[str, str], how: str = ""
) -> Html:
    """Return the chart of methods with its legend and its numbers, or a line that says why there is none.

    Args:
        rows: of each method the values of its columns; the order decides colours.
        baseline: the method that the scale starts from.
        partial: of columns that not all methods measured in full, what to know of them.
        how: a sentence on how values were computed.
    """
    title = f"Five measures, from {baseline} to a perfect model"
    five = axes_of(rows.values())
    axes = {
        axis: column
        for axis, column in five.items()
        if all(column in values for values in rows.values())
        and rows[baseline][column] != COLUMNS[column].best
    }
    left_out = [
        f"{axis} ({COLUMNS[column].heading}) is left out: {_reason(rows, baseline, column)}"
        for axis, column in five.items()
        if axis not in axes
    ]
    if len(axes) < 3:
        why = "A radar needs three measures or more that all methods have."
        return figure(paragraph(why), title, notes(left_out))
    gains = radar(rows, baseline=baseline, axes=axes)
    styles = {method: place for place, method in enumerate(rows)}
    remarks = [
        f"{COLUMNS[column].heading}: {why}"
        for column, why in partial.items()
        if column in axes.values()
    ]
    if any(gain < _LOWEST for gained in gains.values() for gain in gained.values()):
        remarks.append("A hollow mark in the centre is off the scale: its number is in the table.")
    beside = element(
        "div",
        paragraph(
            f"The share of the way from {baseline}, the ring at 0%, to perfection, the rim at 100%. "
            f"Further out is better. {how}"
        ),
        _table(rows, gains, axes),
        notes([*remarks, *left_out]),
    )
    chart = element("div", _drawing(gains, axes, styles, partial), legend(list(styles.items())))
    return figure(element("div", chart, beside, class_="halves"), title)


def _reason(rows: Mapping[str, Values], baseline: str, column: str) -> str:
    lacking = [method for method, values in rows.items() if column not in values]
    if lacking:
        return f"not measured of {', '.join(lacking)}."
    return f"{baseline} is perfect in it, so nothing can be gained."


def _drawing(
    gains: Mapping[str, Values],
    axes: Mapping[str, str],
    styles: Mapping[str, int],
    partial: Mapping[str, str],
) -> Html:
    parts: list[Html] = []
    for level in (_LOWEST / 2, 0.0, 0.5, 1.0):
        ring = [_place(place, len(axes), level) for place in range(len(axes))]
        name = "axis" if level in (0.0, 1.0) else "grid"
        parts.append(element("polygon", points=places(ring), class_=name))
    for place, (axis, column) in enumerate(axes.items()):
        x, y = _place(place, len(axes), 1.0)
        parts.append(element("line", x1=_CENTRE_X, y1=_CENTRE_Y, x2=x, y2=y, class_="grid"))
        parts.append(_axis_name(place, len(axes), axis, column, column in partial))
    for method, gained in gains.items():
        parts.append(_outline(method, list(gained.values()), styles[method]))
    for level in (_LOWEST / 2, 0.0, 0.5, 1.0):  # last, so that no line hides them
        (x1, y1), (x2, y2) = (_place(place, len(axes), level) for place in (0, 1))
        name = f"{100 * level:.0f}%".replace("-", "−")
        middle = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2 + 4}
        parts.append(element("text", name, **middle, text_anchor="middle", class_="halo"))
    about = "; ".join(
        f"{method}: {', '.join(f'{axis} {100 * gain:.0f}%' for axis, gain in gained.items())}"
        for method, gained in gains.items()
    )
    return element("svg", element("title", about), *parts, viewBox="0 0 380 282", role="img")


def _place(place: float, num_axes: int, gain: float) -> tuple[float, float]:
    """Return where a gain lies on an axis, the first upright and the others clockwise."""
    angle = 2 * math.pi * place / num_axes - math.pi / 2
    radius = _RADIUS * (max(gain, _LOWEST) - _LOWEST) / (1.0 - _LOWEST)
    return _CENTRE_X + radius * math.cos(angle), _CENTRE_Y + radius * math.sin(angle)


def _axis_name(place: int, num_axes: int, axis: str, column: str, partial: bool) -> Html:
    x, y = _place(place, num_axes, 1.0)
    across = (x - _CENTRE_X) / _RADIUS
    anchor = "middle" if abs(across) < 0.1 else ("start" if across > 0 else "end")
    lines = [*axis.split(" "), COLUMNS[column].heading + ("*" if partial else "")]
    top = (
        y - 14 * len(lines) + 6
        if y < _CENTRE_Y - 0.9 * _RADIUS
        else y + (16 if y > _CENTRE_Y else -4)
    )
    shift = 0 if anchor == "middle" else math.copysign(8, across)
    return join(
        element(
            "text",
            line,
            x=x + shift,
            y=top + 14 * at,
            text_anchor=anchor,
            class_="name" if at < len(lines) - 1 else None,
        )
        for at, line in enumerate(lines)
    )


def _outline(method: str, gained: Sequence[float], style: int) -> Html:
    points = [_place(place, len(gained), gain) for place, gain in enumerate(gained)]
    marks = (
        mark(*point, style, hollow=gain < _LOWEST)
        for point, gain in zip(points, gained, strict=True)
    )
    return element(
        "g",
        element("title", method),
        element("polygon", points=places(points), class_="area"),
        element("polygon", points=places(points), class_="line", stroke_dasharray=dash(style)),
        join(marks),
        class_=f"s{style}",
    )


def _table(
    rows: Mapping[str, Values], gains: Mapping[str, Values], axes: Mapping[str, str]
) -> Html:
    body = [
        [f"{axis}, {COLUMNS[column].heading}"]
        + [f"{rows[method][column]:.1f} ({_signed(gains[method][axis])})" for method in rows]
        for axis, column in axes.items()
    ]
    return table(["measure", *rows], body, caption="Values in percent, and share of the way gained")


def _signed(gain: float) -> str:
    share = number(round(100 * gain))
    return (
        share.replace("-", "−") if share.startswith("-") else f"+{share}" if share != "0" else "0"
    ) + "%"
