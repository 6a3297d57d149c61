"""Targets of endless zooms: points around which the plane is similar to itself, and their loops."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.pictures import escape_targets
from pipeline.pictures.arithmetic import atan2, log
from pipeline.pictures.draws import Draws
from pipeline.pictures.escape import log_uniform
from pipeline.pictures.escape_kernels import PLAIN, Formula, View
from pipeline.pictures.zoom_kernels import Spiral

_RADIUS = 1e-7  # so deep, magnification by λ changes colours by 1/200 of their range at most
_LEAST_FRAMES = 24  # a loop of fewer could miss the asked factor by more than 2 % of its logarithm
_LEAST_GROWTH = 1.2  # ln |λ| of a loop; shorter ones make strips of few rows
_LONGEST_GROWTH = 6.0  # loops are made longer, up to this, for a slow roll
_SLOW_ROLL = 0.5  # radians per unit of growth: 0.01 per frame at a factor of 1.02
_LIMIT = 1000


class Course(NamedTuple):
    """A zoom without colours, and how interesting its frame at position 0 is."""

    formula: Formula
    spiral: Spiral
    period: int
    laps: int
    interest: float


class _Target(NamedTuple):
    """A point to zoom into, the derivative λ of its cycle, and that cycle's period; 0 if unfit."""

    x: float
    y: float
    multiplier_x: float
    multiplier_y: float
    period: int
    julia_x: float = 0.0
    julia_y: float = 0.0


def draw_course(kind: str, factor: float, draws: Draws) -> Course:
    """Draw a target, and so many laps around its cycle that a loop has rows and frames enough."""
    target = _draw_target(kind, draws)
    growth = 0.5 * float(log(_square(target.multiplier_x, target.multiplier_y)))
    angle = float(atan2(target.multiplier_y, target.multiplier_x)) / (2 * math.pi)
    laps, turns = _choose_laps(growth, angle, factor)
    formula = Formula(
        fold=PLAIN,
        degree=2,
        julia=kind == "julia",
        x=target.julia_x,
        y=target.julia_y,
        trap_x=draws.uniform(-1, 1),
        trap_y=draws.uniform(-1, 1),
        limit=_LIMIT,
    )
    spiral = Spiral(
        x=target.x,
        y=target.y,
        radius=_RADIUS,
        growth=laps * growth,
        roll=2 * math.pi * turns,
        shift=float(laps * target.period),
        density=0.0,
        rings=0.0,
    )
    view = View(target.x, target.y, _RADIUS, 0.0)
    interest = float(escape_targets.interest(formula, view))
    return Course(formula, spiral, target.period, laps, interest)


def _choose_laps(growth: float, angle: float, factor: float) -> tuple[int, float]:
    """Return how often a loop goes round the cycle, and the turns it makes, −½ to ½.

    Args:
        growth: ln |λ| of one lap.
        angle: arg λ of one lap, in turns.
        factor: magnification per frame.

    A loop has rows and frames enough; of those that are not too long the first that rolls slowly.
    """
    least = max(_LEAST_GROWTH, _LEAST_FRAMES * float(log(factor)))
    laps = max(math.ceil(least / growth), 1)
    best = laps, math.inf
    while best[1] == math.inf or laps * growth <= _LONGEST_GROWTH:
        turns = laps * angle - math.floor(laps * angle + 0.5)
        if abs(turns) / laps < abs(best[1]) / best[0]:
            best = laps, turns
        if 2 * math.pi * abs(turns) <= _SLOW_ROLL * laps * growth:
            break
        laps += 1
    return best


def _draw_target(kind: str, draws: Draws) -> _Target:
    """Draw points until one has a multiplier that is neither slow nor wild."""
    while True:
        state = np.array([draws.word()], np.uint64)
        point = escape_targets.find_misiurewicz(2, state)
        if kind == "mandelbrot":
            square = _square(point.multiplier_x, point.multiplier_y)
            if 1.5 * 1.5 <= square <= 30.0 * 30.0 and abs(point.y) > 1e-6:
                return _Target(
                    point.x, point.y, point.multiplier_x, point.multiplier_y, point.period
                )
            continue
        cosine, sine = draws.direction()
        away = log_uniform(draws, 1e-4, 0.016)
        c_x, c_y = point.x + away * cosine, point.y + away * sine
        root_x, root_y = _square_root(1 - 4 * c_x, -4 * c_y)
        sign = 1 - 2 * draws.choice(2)
        x, y = 0.5 * (1 + sign * root_x), 0.5 * sign * root_y
        if 4 * _square(x, y) > 1.15 * 1.15:
            return _Target(x, y, 2 * x, 2 * y, 1, c_x, c_y)


def _square(x: float, y: float) -> float:
    return x * x + y * y


def _square_root(x: float, y: float) -> tuple[float, float]:
    """Return the square root of x + iy whose real part is not negative."""
    length = math.sqrt(x * x + y * y)
    real = math.sqrt(max(0.5 * (length + x), 0.0))
    imaginary = math.sqrt(max(0.5 * (length - x), 0.0))
    return real, imaginary if y >= 0 else -imaginary
