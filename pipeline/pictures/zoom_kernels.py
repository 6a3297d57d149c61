"""Pixel kernels of endless zooms: exact frames, exponential strips, and frames read from strips.

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

from pipeline.pictures.arithmetic import atan2, exp, log, log2, sin_cos
from pipeline.pictures.escape_kernels import Formula, Sample, Style, View, add_colour, orbit
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

STRIP_LEVELS = 5  # a strip and its halvings; sides are multiples of 2^(STRIP_LEVELS − 1)
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


@kernel
def halve(finer: U8, coarser: U8) -> None:
    """Average 2×2 cells of `finer`, uint8 [2V, 2U, 3], into one of `coarser`, uint8 [V, U, 3]."""
    for row in range(coarser.shape[0]):
        for column in range(coarser.shape[1]):
            for channel in range(3):
                total = np.int64(finer[2 * row, 2 * column, channel])
                total += np.int64(finer[2 * row, 2 * column + 1, channel])
                total += np.int64(finer[2 * row + 1, 2 * column, channel])
                total += np.int64(finer[2 * row + 1, 2 * column + 1, channel])
                coarser[row, column, channel] = (total + 2) >> 2


@kernel
def fill_map(columns: int, places: F32) -> None:
    """Write where each pixel of a frame lies in logarithmic polar coordinates.

    Args:
        columns: U of the strip.
        places: float32 [size, size, 3], written: ln |s| of the pixel's place s in the frame, whose
            half-width is 1; arg s in columns; level of the strip whose cells are as large as it.
    """
    size = places.shape[0]
    for row in range(size):
        for column in range(size):
            x, y = 2 * column + 1 - size, 2 * row + 1 - size
            if x == 0 and y == 0:
                x = 1  # the very centre, for odd sizes: half a pixel off
            square = float(x * x + y * y)
            places[row, column, 0] = 0.5 * log(square / (float(size) * size))
            places[row, column, 1] = atan2(float(y), float(x)) * columns / _TWO_PI
            places[row, column, 2] = log2(columns / (np.sqrt(square) * 0.5 * _TWO_PI))


@kernel
def read_frame(
    pyramid: U8,
    shape: tuple[int, int, int],
    growth: float,
    roll: float,
    position: float,
    places: F32,
    out: U8,
) -> None:
    """Draw the frame at `position`, in loops, from a strip: linear between cells and between levels.

    Args:
        pyramid: uint8 [n], the strip's levels end to end.
        shape: rows, columns and twist of the strip.
        growth, roll: as in `Spiral`.
        position: any number.
        places: float32 [size, size, 3], from `fill_map`.
        out: uint8 [size, size, 3], written.
    """
    rows, columns, twist = shape
    starts = np.zeros(STRIP_LEVELS, np.int64)
    for level in range(1, STRIP_LEVELS):
        starts[level] = starts[level - 1] + 3 * (rows >> (level - 1)) * (columns >> (level - 1))
    shear = twist - roll * columns / _TWO_PI
    turned = -position * roll * columns / _TWO_PI
    total = np.empty(3)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            loops = position - places[row, column, 0] / growth
            whole = np.floor(loops)
            v = (loops - whole) * rows
            u = places[row, column, 1] + turned - shear * loops + twist * whole
            u -= columns * np.floor(u / columns)
            fine = min(max(float(places[row, column, 2]), 0.0), STRIP_LEVELS - 1.0)
            level = min(int(fine), STRIP_LEVELS - 2)
            total[:] = 0.5
            for part in range(2):
                weight = fine - level if part else 1.0 - (fine - level)
                if weight > 0.0:
                    at = level + part
                    size = rows >> at, columns >> at, twist >> at
                    scale = 1.0 / (1 << at)
                    start = starts[at]
                    _add_cell(pyramid, start, size, v * scale - 0.5, u * scale - 0.5, weight, total)
            for channel in range(3):
                out[row, column, channel] = int(total[channel])


@kernel
def _add_cell(
    pyramid: U8,
    start: int,
    size: tuple[int, int, int],
    v: float,
    u: float,
    weight: float,
    total: F64,
) -> None:
    """Add `weight` times the colour at (v, u), linear between the four cells around it, to `total`.

    `size` is rows, columns and twist of a level that begins at `start`; the centre of its first cell is
    (0, 0), and −½ ≤ v < rows, −½ ≤ u < columns.
    """
    rows, columns, twist = size
    i, j = int(np.floor(v)), int(np.floor(u))
    down, right = weight * (v - i), u - j
    over = weight - down
    above = start + 3 * columns * i
    left = 3 * (j if j >= 0 else j + columns)
    after = 3 * (j + 1 if j + 1 < columns else 0)
    below, below_left, below_after = above + 3 * columns, left, after
    if i < 0:
        above += 3 * columns * rows
        left, after = 3 * ((j - twist) % columns), 3 * ((j + 1 - twist) % columns)
    elif i + 1 >= rows:
        below -= 3 * columns * rows
        below_left = 3 * ((j + twist) % columns)
        below_after = 3 * ((j + 1 + twist) % columns)
    a, b = np.uint64(above + left), np.uint64(above + after)
    c, d = np.uint64(below + below_left), np.uint64(below + below_after)
    for k in range(3):
        channel = np.uint64(k)
        upper = pyramid[a + channel] + right * (pyramid[b + channel] - float(pyramid[a + channel]))
        lower = pyramid[c + channel] + right * (pyramid[d + channel] - float(pyramid[c + channel]))
        total[k] += over * upper + down * lower
