"""Pixel kernels of endless zooms: exact frames, and strips in logarithmic polar coordinates.

Around a Misiurewicz point c₀, and around a repelling fixed point of a Julia set, the plane is
asymptotically similar to itself: what lies at c₀ + d/λ looks like what lies at c₀ + d, turned by
−arg λ, and its orbits take `shift` steps more. Colours here depend on the place alone, through
quantities that this similarity leaves as they are. So a zoom is a rigid magnification, and the
logarithm of d lives on a torus: a strip of one period in log |d| holds an endless zoom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import exp, log, sin_cos
from pipeline.pictures.escape_kernels import Formula, Sample, Style, View, add_colour, orbit
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_TWO_PI = 6.283185307179586


class Spiral(NamedTuple):
    """The similarity of a plane around a point, and how it is coloured.

    Attributes:
        x, y: the point.
        radius: half-width of the frame at position 0.
        growth: ln |λ| of one loop.
        roll: arg λ of one loop, −π to π; a frame at position τ is turned by −τ·roll.
        shift: iterations that one loop adds to every orbit.
        density: turns of the palette per iteration.
        rings: whole turns of the palette that one loop adds, besides.
    """

    x: float
    y: float
    radius: float
    growth: float
    roll: float
    shift: float
    density: float
    rings: float


@kernel
def add_place(
    formula: Formula, spiral: Spiral, style: Style, dx: float, dy: float, rgb: F64
) -> None:
    """Add the colour of the place dx + i·dy away from the spiral's point to `rgb`, float64 [3].

    `style.reach` is in units of that distance, and the light turns with its logarithm.
    """
    square = dx * dx + dy * dy
    depth = _depth(spiral, square)
    found = orbit(formula, spiral.x + dx, spiral.y + dy)
    turn = spiral.density * (found.level - spiral.shift * depth) + spiral.rings * depth
    distance = found.distance / np.sqrt(square) if found.distance > 0.0 else found.distance
    across, turned = 1.0, 0.0
    if style.relief > 0.0:
        sine, cosine = sin_cos(spiral.roll * depth)
        across, turned = cosine, -sine
    local = Sample(
        found.level,
        found.trap,
        found.stripe,
        distance,
        found.normal_x,
        found.normal_y,
        found.basin,
    )
    add_colour(local, turn, View(0.0, 0.0, across, turned), style, rgb)


@kernel
def _depth(spiral: Spiral, square: float) -> float:
    """Return how many loops deep a place is whose squared distance from the point is `square`."""
    ratio = spiral.radius * spiral.radius / max(square, 1e-300)
    depth: float = 0.5 * log(ratio) / spiral.growth
    return depth


@kernel
def scan_levels(formula: Formula, spiral: Spiral, levels: F64) -> float:
    """Write what is coloured, before `density`, of one orbit for each cell of a preview at position 0.

    Args:
        formula, spiral: what and where.
        levels: float64 [side²], written: level − shift · depth; −1e9 where bounded.

    Returns:
        The greatest number of iterations of all that escape.
    """
    side = int(np.sqrt(float(levels.size)) + 0.5)
    most = 0.0
    for cell in range(levels.size):
        dx = spiral.radius * ((2 * (cell % side) + 1) / side - 1.0)
        dy = spiral.radius * ((2 * (cell // side) + 1) / side - 1.0)
        level = orbit(formula, spiral.x + dx, spiral.y + dy).level
        most = max(most, level)
        depth = _depth(spiral, dx * dx + dy * dy)
        levels[cell] = level - spiral.shift * depth if level >= 0.0 else -1e9
    return most


@kernel
def paint_frame(
    formula: Formula, spiral: Spiral, style: Style, position: float, supersampling: int, out: U8
) -> None:
    """Draw the frame at `position`, in loops: half-width radius·|λ|^−position, turned by −position·roll.

    Args:
        formula, spiral, style: what, where and how.
        position: any number; far from 0 the plane is not similar to itself, or floats run out.
        supersampling: orbits per pixel and axis.
        out: uint8 [size, size, 3], written.
    """
    size = out.shape[0]
    step = 2.0 / (size * supersampling)
    half_width = spiral.radius * exp(-position * spiral.growth)
    sine, cosine = sin_cos(-position * spiral.roll)
    across, turned = half_width * cosine, half_width * sine
    total = np.empty(3)
    samples = supersampling * supersampling
    for row in range(size):
        for column in range(size):
            total[:] = 0.0
            for part in range(samples):
                s = (column * supersampling + part % supersampling + 0.5) * step - 1.0
                t = (row * supersampling + part // supersampling + 0.5) * step - 1.0
                dx, dy = s * across - t * turned, s * turned + t * across
                add_place(formula, spiral, style, dx, dy, total)
            for channel in range(3):
                out[row, column, channel] = _rounded(total[channel] / samples)


@kernel
def _rounded(value: float) -> int:
    return int(min(max(value, 0.0), 255.0) + 0.5)


@kernel
def paint_strip(
    formula: Formula,
    spiral: Spiral,
    style: Style,
    twist: int,
    supersampling: int,
    out: U8,
) -> None:
    """Draw one loop of the plane in logarithmic polar coordinates.

    The place at row coordinate v, column coordinate u has |d| = radius·|λ|^(−v/V) and
    arg d = 2π(u + f·v/V)/U with f = twist − roll·U/2π, so that row V, column u shows what row 0,
    column u + twist shows. Cell (i, j) covers v of [i, i + 1) and u of [j, j + 1).

    Args:
        formula, spiral, style: what, where and how.
        twist: columns, the whole number that should be near roll·U/2π.
        supersampling: orbits per cell and axis.
        out: uint8 [V, U, 3], written.
    """
    rows, columns = out.shape[0], out.shape[1]
    shear = twist - spiral.roll * columns / _TWO_PI
    total = np.empty(3)
    samples = supersampling * supersampling
    for row in range(rows):
        for column in range(columns):
            total[:] = 0.0
            for part in range(samples):
                v = row + (part // supersampling + 0.5) / supersampling
                u = column + (part % supersampling + 0.5) / supersampling
                distance = spiral.radius * exp(-spiral.growth * v / rows)
                sine, cosine = sin_cos(_TWO_PI * (u + shear * v / rows) / columns)
                add_place(formula, spiral, style, distance * cosine, distance * sine, total)
            for channel in range(3):
                out[row, column, channel] = _rounded(total[channel] / samples)
