"""Where escape-time fractals are worth looking at: points on or near the boundary of their sets.

Kernels that draw from a SplitMix64 `state`, uint64 [1], until they find one. Misiurewicz points are
strictly preperiodic parameters, hence always on the boundary; nuclei are the centres of small copies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import log2
from pipeline.pictures.escape_kernels import NEWTON, Formula, View, orbit, place_of, raised
from pipeline.pictures.splitmix import next_signed, next_unit
from pipeline.render.jit import kernel

U64 = npt.NDArray[np.uint64]

_SCOUT_SIDE = 16
_STARTS = 200
_NEWTON_STEPS = 60
_TRUE = 1e-8  # two points of an orbit that are closer than this are the same


class Misiurewicz(NamedTuple):
    """A parameter x + iy whose critical orbit is periodic after `preperiod` steps, not before.

    `period` is that of the cycle, λ = multiplier_x + i·multiplier_y the derivative around it. The
    plane around the point is asymptotically similar to itself under multiplication by λ. All
    zeros when none was found.
    """

    x: float
    y: float
    preperiod: int
    period: int
    multiplier_x: float
    multiplier_y: float


@kernel
def find_misiurewicz(degree: int, state: U64) -> Misiurewicz:
    """Return a Misiurewicz point of z ← z^degree + c of preperiod 2 to 12, period 1 to 5."""
    for _ in range(_STARTS):
        preperiod, period = 2 + int(11.0 * next_unit(state)), 1 + int(5.0 * next_unit(state))
        x, y = 1.3 * next_signed(state), 1.2 * next_signed(state)
        if degree == 2:
            x -= 0.7
        found, x, y = _solve(degree, preperiod, preperiod + period, x, y)
        if not found:
            continue
        point = _checked(degree, preperiod, period, x, y)
        if point.period > 0:
            return point
    return Misiurewicz(0.0, 0.0, 0, 0, 0.0, 0.0)


@kernel
def _solve(degree: int, early: int, late: int, x: float, y: float) -> tuple[bool, float, float]:
    """Solve f^late(0) = f^early(0) for the parameter by Newton's method from x + iy."""
    for _ in range(_NEWTON_STEPS):
        zx = zy = wx = wy = 0.0
        ex = ey = ux = uy = 0.0
        for n in range(1, late + 1):
            qx, qy = raised(zx, zy, degree - 1)
            wx, wy = degree * (qx * wx - qy * wy) + 1.0, degree * (qx * wy + qy * wx)
            zx, zy = qx * zx - qy * zy + x, qx * zy + qy * zx + y
            if n == early:
                ex, ey, ux, uy = zx, zy, wx, wy
        gx, gy, dx, dy = zx - ex, zy - ey, wx - ux, wy - uy
        size = dx * dx + dy * dy
        if not 1e-200 < size < 1e200:
            return False, 0.0, 0.0
        sx, sy = (gx * dx + gy * dy) / size, (gy * dx - gx * dy) / size
        x, y = x - sx, y - sy
        if not x * x + y * y < 8.0:
            return False, 0.0, 0.0
        if sx * sx + sy * sy < 1e-31:
            return True, x, y
    return False, 0.0, 0.0


@kernel
def _checked(degree: int, preperiod: int, period: int, x: float, y: float) -> Misiurewicz:
    """Return the point if its preperiod and period are no smaller than told, else one of zeros."""
    none = Misiurewicz(0.0, 0.0, 0, 0, 0.0, 0.0)
    points = np.zeros((preperiod + period + 1, 2))
    for n in range(1, preperiod + period + 1):
        zx, zy = points[n - 1]
        qx, qy = raised(zx, zy, degree - 1)
        points[n, 0], points[n, 1] = qx * zx - qy * zy + x, qx * zy + qy * zx + y
    if _same(points, preperiod - 1, preperiod + period - 1):
        return none
    for smaller in range(1, period):
        if _same(points, preperiod, preperiod + smaller):
            return none
    mx, my = 1.0, 0.0
    for n in range(preperiod, preperiod + period):
        qx, qy = raised(points[n, 0], points[n, 1], degree - 1)
        mx, my = degree * (mx * qx - my * qy), degree * (mx * qy + my * qx)
    return Misiurewicz(x, y, preperiod, period, mx, my)


@kernel
def _same(points: npt.NDArray[np.float64], one: int, other: int) -> bool:
    dx, dy = points[one, 0] - points[other, 0], points[one, 1] - points[other, 1]
    return bool(dx * dx + dy * dy < _TRUE * _TRUE)


@kernel
def find_nucleus(state: U64) -> tuple[float, float, float]:
    """Return (x, y, size) of a small copy of the Mandelbrot set; size 0 when none was found.

    The size is 1/|β λ²| with λ = Π 2z_k and β = 1 + Σ 1/λ_k over the cycle of the nucleus.
    """
    for _ in range(_STARTS):
        period = 3 + int(30.0 * next_unit(state))
        start_x, start_y = 1.3 * next_signed(state) - 0.7, 1.2 * next_signed(state)
        found, x, y = _solve(2, 0, period, start_x, start_y)
        if not found:
            continue
        zx, zy, lx, ly, bx, by = x, y, 1.0, 0.0, 1.0, 0.0
        true = True
        for _ in range(1, period):
            true = true and zx * zx + zy * zy > _TRUE
            lx, ly = 2.0 * (zx * lx - zy * ly), 2.0 * (zx * ly + zy * lx)
            size = lx * lx + ly * ly + 1e-300
            bx, by = bx + lx / size, by - ly / size
            zx, zy = zx * zx - zy * zy + x, 2.0 * zx * zy + y
        size = 1.0 / ((lx * lx + ly * ly) * np.sqrt(bx * bx + by * by) + 1e-300)
        if true and 1e-9 < size < 0.03:
            return x, y, size
    return 0.0, 0.0, 0.0


@kernel
def find_boundary(formula: Formula, state: U64) -> tuple[float, float]:
    """Return a point where orbits stop to escape, or to escape late, by bisection.

    The slowest of 24 random points within 1.6 is the inner end; all points that escape sooner are
    outside. For Newton's method the basin of the first point is the inside.
    """
    inner_x = inner_y = 0.0
    threshold = -1.0
    num_points = 1 if formula.fold == NEWTON else 24
    for _ in range(num_points):
        x, y = 1.6 * next_signed(state), 1.6 * next_signed(state)
        level = _lateness(formula, x, y)
        if level > threshold:
            inner_x, inner_y, threshold = x, y, level
    outer_x, outer_y = 4.0, 0.0
    for _ in range(20):
        outer_x, outer_y = next_signed(state), next_signed(state)
        length = np.sqrt(outer_x * outer_x + outer_y * outer_y) + 1e-9
        outer_x, outer_y = inner_x + 3.0 * outer_x / length, inner_y + 3.0 * outer_y / length
        if _is_outside(formula, outer_x, outer_y, threshold):
            break
    for _ in range(36):
        x, y = 0.5 * (inner_x + outer_x), 0.5 * (inner_y + outer_y)
        if _is_outside(formula, x, y, threshold):
            outer_x, outer_y = x, y
        else:
            inner_x, inner_y = x, y
    return outer_x, outer_y


@kernel
def _lateness(formula: Formula, x: float, y: float) -> float:
    found = orbit(formula, x, y)
    if formula.fold == NEWTON:
        return float(found.basin)
    return float(found.level) if found.level >= 0.0 else 1e9


@kernel
def _is_outside(formula: Formula, x: float, y: float, threshold: float) -> bool:
    lateness = _lateness(formula, x, y)
    if formula.fold == NEWTON:
        return bool(abs(lateness - threshold) > 1e-6)
    return bool(lateness < threshold)


@kernel
def interest(formula: Formula, view: View) -> float:
    """Tell how rich a window is, 0.65 at most, from 16×16 orbits; below 0 when much is bounded.

    Where levels make smooth bands, their second differences are small beside their first; on the
    boundary of a fractal they are alike. What counts is the share of cells where they are.
    """
    side = _SCOUT_SIDE
    levels = np.empty((side, side))
    bounded = 0
    for row in range(side):
        for column in range(side):
            s, t = (2 * column + 1) / side - 1.0, (2 * row + 1) / side - 1.0
            px, py = place_of(view, s, t)
            sample = orbit(formula, px, py)
            bounded += int(sample.level < 0.0)
            levels[row, column] = log2(1.0 + max(sample.level, 0.0)) + sample.basin
    rough = 0
    for row in range(1, side - 1):
        for column in range(1, side - 1):
            here = levels[row, column]
            left, right = levels[row, column - 1], levels[row, column + 1]
            above, below = levels[row - 1, column], levels[row + 1, column]
            bend = abs(left + right - 2.0 * here) + abs(above + below - 2.0 * here)
            slope = 0.5 * (abs(right - left) + abs(below - above))
            rough += int(bend > 0.6 * slope and bend > 1e-3)
    share = rough / ((side - 2) * (side - 2))
    return min(share, 2.6 - 3.0 * share) - 2.0 * max(bounded / (side * side) - 0.25, 0.0)
