"""A chart of lines over the frames of a clip, as SVG that follows the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Place = Callable[[float], float]
"""A value → where it lies, in pixels."""

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 150, 16, 46
_DASHES = ("none", "8 4", "10 3 2 3", "3 3")
"""Of the lines, in order: they differ in print and to eyes that see their colours alike."""

NUM_LINES = len(_DASHES)

_LEVEL = NUM_LINES
"""Stands for the level among lines."""

STYLE = """
:root { --line-0: #0060a8; --line-1: #00795a; --line-2: #c04a00; --line-3: #8a4f9e; }
@media (prefers-color-scheme: dark) {
  :root { --line-0: #63b3f0; --line-1: #3fc79a; --line-2: #f5935a; --line-3: #d39be6; }
}
.chart { display: block; width: 100%; max-width: 760px; height: auto; }
.chart text { fill: var(--ink); font: 13px system-ui, sans-serif; }
.chart .tick { fill: var(--quiet); font-size: 12px; }
.chart .grid { stroke: var(--rule); }
.chart .level { stroke: var(--quiet); stroke-dasharray: 1 4; stroke-linecap: round; stroke-width: 1.5; }
.chart .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
""".strip()


class Series(NamedTuple):
    """A line: its name, and its values for each clip and step, float64 [n, m]; NaN where there is none."""

    name: str
    values: F64


def draw_chart(
    series: list[Series], *, x_label: str, y_label: str, level: tuple[float, str], alt: str
) -> str:
    """Return a chart of the median of each series over its clips, with a band from quartile to quartile.

    Args:
        series: up to `NUM_LINES`; x of step i is i + 1.
        level: a value marked right across, and what it is.
        alt: what the chart says, for those who do not see it.
    """
    num_steps = max(one.values.shape[1] for one in series)
    quartiles = [_quartiles(one.values) for one in series]
    highest = max(level[0], *(float(np.nanmax(q, initial=0.0)) for q in quartiles))
    top = math.ceil(highest * 1.05 / 0.5) * 0.5

    def x(step: float) -> float:
        share: float = (step - 1) / max(1, num_steps - 1)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - float(value) / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [*_axes(num_steps, top, x, y, x_label, y_label)]
    right, (height, meaning) = _WIDTH - _RIGHT, level
    parts.append(
        f'<line class="level" x1="{_LEFT}" x2="{right}" y1="{y(height)}" y2="{y(height)}"/>'
    )
    ends = [(y(height), _LEVEL)]
    for place, found in enumerate(quartiles):
        steps = np.flatnonzero(~np.isnan(found[1])).tolist()
        if steps:
            parts.append(_line(found[:, steps], [x(i + 1) for i in steps], y, place))
            ends.append((y(found[1, steps[-1]]), place))
    for height, place in _apart(ends):
        name, style = (
            (meaning, 'class="level"')
            if place == _LEVEL
            else (series[place].name, f'class="line" {_stroke(place)}')
        )
        ys = f'y1="{height}" y2="{height}"'
        parts.append(
            f'<line {style} x1="{right + 8}" x2="{right + 32}" {ys}/>'
            f'<text x="{right + 38}" y="{height + 4}">{escape(name)}</text>'
        )
    inside = "\n".join(parts)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alt)}">\n'
        f"{inside}\n</svg>"
    )


def _line(quartiles: F64, places: list[float], y: Place, number: int) -> str:
    """Return a line through medians and the band around it; a dot where it has one point."""
    low, middle, high = ([y(value) for value in row] for row in quartiles.tolist())
    around = [*zip(places, low, strict=True), *reversed([*zip(places, high, strict=True)])]
    band = " ".join(f"{x},{height}" for x, height in around)
    fill = f'fill="var(--line-{number})"'
    drawn = f'<polygon points="{band}" {fill} opacity="0.14"/>'
    if len(places) == 1:
        return f'{drawn}<circle cx="{places[0]}" cy="{middle[0]}" r="4" {fill}/>'
    points = " ".join(f"{x},{height}" for x, height in zip(places, middle, strict=True))
    return f'{drawn}<polyline class="line" points="{points}" {_stroke(number)}/>'


def _stroke(number: int) -> str:
    return f'stroke="var(--line-{number})" stroke-dasharray="{_DASHES[number]}"'


def _quartiles(values: F64) -> F64:
    """Return lower quartile, median and upper quartile of each step, float64 [3, m]; NaN where all are."""
    found = np.full((3, values.shape[1]), np.nan)
    kept = values[~np.isnan(values).any(axis=1)]
    if len(kept):
        found[:] = np.percentile(kept, [25, 50, 75], axis=0)
    return found


def _axes(num_steps: int, top: float, x: Place, y: Place, x_label: str, y_label: str) -> list[str]:
    """Return grid lines, ticks and labels."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for half in range(round(top / 0.5) + 1):
        value = half * 0.5
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(value)}" y2="{y(value)}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
        )
    every = max(1, math.ceil(num_steps / 8))
    for step in range(1, num_steps + 1, every):
        parts.append(
            f'<text class="tick" x="{x(step)}" y="{bottom + 18}" text-anchor="middle">{step}</text>'
        )
    middle = (_LEFT + right) / 2
    upright = (_TOP + bottom) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(16 {upright}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _apart(ends: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return the heights of names beside the ends of their lines, moved down where they would overlap."""
    placed: list[tuple[float, int]] = []
    for height, place in sorted(ends):
        lowest = placed[-1][0] + 18 if placed else 0.0
        placed.append((max(height, lowest), place))
    over = max(0.0, placed[-1][0] - (_HEIGHT - _BOTTOM)) if placed else 0.0
    return [(round(height - over, 1), place) for height, place in placed]
