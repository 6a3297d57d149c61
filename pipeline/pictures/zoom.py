"""Endless zooms into the Mandelbrot set and Julia sets: any frame, forever, at a constant factor.

A zoom is a loop. Near a Misiurewicz point, or a repelling fixed point of a Julia set, what lies λ
times deeper looks the same, turned by −arg λ (Tan Lei, "Similarity between the Mandelbrot set and
Julia sets", 1990); so a magnification by |λ| that turns along with it ends where it began, and no
depth is ever reached at which float64 runs out. Frames come in two ways:

* `frame` follows the orbits of every pixel: exact, some milliseconds each.
* `zoom_strip.fill_frames` reads a strip that `make_strip` made of one loop: a tenth of a millisecond for a
  frame of 112 pixels, and at any factor per frame.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import escape_colours, zoom_kernels
from pipeline.pictures.arithmetic import exp, log
from pipeline.pictures.draws import Draws
from pipeline.pictures.escape import draw_style
from pipeline.pictures.escape_kernels import Formula, Style
from pipeline.pictures.zoom_kernels import Spiral
from pipeline.pictures.zoom_strip import Strip
from pipeline.pictures.zoom_targets import Course, draw_course
from pipeline.pictures.zoom_words import STRIP_LEVELS

U8 = npt.NDArray[np.uint8]

KINDS = ("mandelbrot", "julia")

_PURPOSE = 0x5A4F4F4D  # "ZOOM"
_SLOWEST, _FASTEST = 1.001, 1.25  # factors per frame
_TARGETS = 16
_RICH = 0.45  # a target as interesting as this needs no rival
_STYLES = 6
_PREVIEW_SIDE = 42
_SPACING_ULPS = 64  # of pixels; closer ones are told apart by few bits: 1.2 % look wrong
_LARGEST_STRIP = 2048  # positions in larger ones might not fit into 32 bits
_STRIP_UNIT = 1 << (STRIP_LEVELS - 1)


class Zoom(NamedTuple):
    """An endless zoom.

    Attributes:
        kind: one of KINDS.
        formula: the map that is iterated, with its limit of iterations.
        spiral: the point zoomed into, the half-width there, and what one loop does.
        style: colours, fixed.
        period: of the cycle that the point leads to.
        laps: times that a loop goes round that cycle.
        num_frames: of a loop.
    """

    kind: str
    formula: Formula
    spiral: Spiral
    style: Style
    period: int
    laps: int
    num_frames: int

    @property
    def factor(self) -> float:
        """Magnification from one frame to the next: the asked one, so rounded that a loop closes."""
        return float(exp(self.spiral.growth / self.num_frames))


def make_zoom(
    seed: int, index: int, *, kind: str = "mandelbrot", factor: float = 1.02, attempt: int = 0
) -> Zoom:
    """Return zoom `index` of the family `seed`: of several targets and styles the busiest.

    Args:
        seed, index: name the zoom; 0 to 2⁶⁴ − 1.
        kind: "mandelbrot" or "julia".
        factor: magnification per frame, 1.001 to 1.25; met to within 2 % of its logarithm.
        attempt: another draw of the same zoom.

    Raises:
        ValueError: another kind, or a factor outside that range.
    """
    if kind not in KINDS:
        raise ValueError(f"a zoom of kind {kind!r}: choose one of {', '.join(KINDS)}")
    if not _SLOWEST <= factor <= _FASTEST:
        raise ValueError(f"a zoom by {factor} per frame: choose {_SLOWEST} to {_FASTEST}")
    draws = Draws(seed, _PURPOSE + KINDS.index(kind), index, attempt)
    course = draw_course(kind, factor, draws)
    for _ in range(_TARGETS - 1):
        if course.interest >= _RICH:
            break
        other = draw_course(kind, factor, draws)
        if other.interest > course.interest:
            course = other
    picture = np.empty((_PREVIEW_SIDE, _PREVIEW_SIDE, 3), np.uint8)
    best: tuple[float, Zoom] | None = None
    for _ in range(_STYLES):
        zoom = _coloured(course, kind, factor, draws)
        frame_at(zoom, 0.0, picture, supersampling=1)
        score = float(escape_colours.score_picture(picture))
        if best is None or score > best[0]:
            best = score, zoom
    assert best is not None
    return best[1]


def frame(zoom: Zoom, number: int, size: int, *, supersampling: int = 2) -> U8:
    """Return frame `number` of an endless zoom, uint8 [size, size, 3].

    Args:
        zoom: from `make_zoom`.
        number: any whole number, also below 0; each frame shows the one before magnified by
            `zoom.factor`, and frames `zoom.num_frames` apart are the same.
        size: pixels a side, at least 1.
        supersampling: orbits per pixel and axis.

    Raises:
        ValueError: `size` is below 1, or so large that float64 cannot tell pixels apart.
    """
    check_depth(zoom, size)
    picture = np.empty((size, size, 3), np.uint8)
    position = (number % zoom.num_frames) / zoom.num_frames
    frame_at(zoom, position, picture, supersampling=supersampling)
    return picture


def frame_at(zoom: Zoom, position: float, out: U8, *, supersampling: int = 2) -> None:
    """Draw the frame at `position`, in loops, into `out`, uint8 [size, size, 3].

    Positions outside [0, 1) are not brought back into it: at 1 this draws, λ times deeper, what
    looks as it does at 0.
    """
    zoom_kernels.paint_frame(zoom.formula, zoom.spiral, zoom.style, position, supersampling, out)


def largest_size(zoom: Zoom) -> int:
    """Return the pixels a side up to which float64 tells neighbours in every frame of a loop apart.

    Their spacing must be 64 units in the last place of the point's larger coordinate.
    """
    spiral = zoom.spiral
    half_width = spiral.radius * float(exp(-spiral.growth))
    finest = _SPACING_ULPS * 2.0**-52 * max(abs(spiral.x), abs(spiral.y))
    return int(min(2.0 * half_width / finest, 1e6))


def check_depth(zoom: Zoom, size: int) -> None:
    """Refuse sizes that `zoom` cannot be drawn at.

    Raises:
        ValueError: see `frame`.
    """
    largest = largest_size(zoom)
    if not 1 <= size <= largest:
        raise ValueError(f"frames of {size} pixels: this zoom has 1 to {largest}, by its depth")


def make_strip(zoom: Zoom, size: int, *, supersampling: int = 2) -> Strip:
    """Return one loop of `zoom` as a strip that is as fine as frames of size×size pixels.

    It has about π·size columns and, for each factor of e, half a size of rows. It serves frames of
    other sizes too; larger ones are then less sharp.

    Raises:
        ValueError: see `frame`; or `size` is above 2048.
    """
    check_depth(zoom, size)
    if size > _LARGEST_STRIP:
        raise ValueError(f"a strip for frames of {size} pixels: choose 1 to {_LARGEST_STRIP}")
    unit, spiral = _STRIP_UNIT, zoom.spiral
    columns = unit * max(round(math.pi * size / unit), 2)
    rows = unit * max(round(columns * spiral.growth / (2 * math.pi) / unit), 1)
    twist = unit * round(spiral.roll * columns / (2 * math.pi) / unit)
    cells = np.empty((rows, columns, 3), np.uint8)
    zoom_kernels.paint_strip(zoom.formula, spiral, zoom.style, twist, supersampling, cells)
    return Strip(cells, twist, spiral.growth, spiral.roll)


def _coloured(course: Course, kind: str, factor: float, draws: Draws) -> Zoom:
    """Draw how to colour a zoom."""
    formula, spiral = course.formula, course.spiral
    levels = np.empty(_PREVIEW_SIDE * _PREVIEW_SIDE)
    most = float(zoom_kernels.scan_levels(formula, spiral, levels))
    levels = np.sort(levels[levels > -1e8])
    spread = float(levels[int(0.97 * levels.size)] - levels[int(0.03 * levels.size)])
    return Zoom(
        kind=kind,
        formula=formula._replace(limit=int(1.5 * (most + spiral.shift)) + 100),
        spiral=spiral._replace(
            density=draws.uniform(0.8, 3) / max(spread, 0.1), rings=float(draws.choice(3) - 1)
        ),
        style=draw_style(1.0, draws),
        period=course.period,
        laps=course.laps,
        num_frames=int(spiral.growth / float(log(factor)) + 0.5),
    )
