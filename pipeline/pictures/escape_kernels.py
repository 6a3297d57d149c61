"""Pixel kernels of escape-time fractals: orbits, palettes, colour, and the measures of a preview.

Formulas are those of Peitgen & Richter, "The Beauty of Fractals" (1986): smooth escape counts and
distance estimates. Where to look is decided in `escape_targets`, what to draw in `escape`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import atan2, log, log2
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

PLAIN, SHIP, TRICORN, NEWTON = 0, 1, 2, 3
"""Folds: z is used as it is, as |x| + i|y|, as its conjugate; or Newton's method is followed."""

PALETTE_COLOURS = 1024  # one turn
TONES = 128

_LOG_BAILOUT = 9.210340371976184  # ln 1e4: at this radius smooth counts join without a visible step
_BAILOUT_SQUARE = 1e8
_STANDING_SQUARE = 1e-24  # an orbit that comes this close to an earlier point of itself is periodic
_STRIPE_MEMORY = 0.75
_MOVING = 1e-6  # a squared step of Newton's method that counts one half
_CONVERGED = 1e-18
_TWO_PI = 6.283185307179586


class Formula(NamedTuple):
    """What is iterated: z ← fold(z)^degree + c, or z ← z − c·(z^degree − 1)/(degree · z^(degree − 1)).

    Attributes:
        fold: PLAIN, SHIP, TRICORN or NEWTON.
        degree: 2, 3 or 4; 3 or 4 for NEWTON.
        julia: whether pixels are starting points and c is fixed; else pixels are c and z starts at 0.
        x, y: the fixed c; the relaxation of NEWTON.
        trap_x, trap_y: the point whose least distance to the orbit is kept.
        limit: iterations after which an orbit is taken for bounded.
    """

    fold: int
    degree: int
    julia: bool
    x: float
    y: float
    trap_x: float
    trap_y: float
    limit: int


class View(NamedTuple):
    """A square window: (s, t) of [−1, 1]² shows the point (x + iy) + (s + it)·(across + i·turned)."""

    x: float
    y: float
    across: float
    turned: float


@kernel
def place_of(view: View, s: float, t: float) -> tuple[float, float]:
    """Return the point that (s, t) of [−1, 1]² shows."""
    x: float = view.x + (s * view.across - t * view.turned)
    y: float = view.y + (s * view.turned + t * view.across)
    return x, y


class Sample(NamedTuple):
    """What is known of one orbit.

    Attributes:
        level: smooth number of iterations until escape (or convergence); −1 when bounded.
        trap: squared least distance from the trap.
        stripe: running mean of sin(2 arg z), −1 to 1, over the last few iterations.
        distance: estimated distance to the set, in the plane's units; −1 where there is none.
        normal_x, normal_y: unit vector that points away from the set; 0, 0 where there is none.
        basin: turns of the root that Newton's method found, 0 to 1; else 0.
    """

    level: float
    trap: float
    stripe: float
    distance: float
    normal_x: float
    normal_y: float
    basin: float


class Style(NamedTuple):
    """How samples become colours.

    Attributes:
        palette: float64 [PALETTE_COLOURS, 3], 0 to 255, cyclic.
        stripes, traps, basins: turns of the palette per unit of stripe, trap distance and basin.
        outline: 0 to 1, how much of `ink` covers points at distance 0.
        reach: distance at which the outline ends, in the plane's units.
        ink_red, ink_green, ink_blue: 0 to 255.
        relief: 0 to 1, how dark the sides are that face away from the light.
        light_x, light_y: direction of the light, of length 1.
    """

    palette: F64
    stripes: float
    traps: float
    basins: float
    outline: float
    reach: float
    ink_red: float
    ink_green: float
    ink_blue: float
    relief: float
    light_x: float
    light_y: float


@kernel
def raised(x: float, y: float, exponent: int) -> tuple[float, float]:
    """Return (x + iy)^exponent for an exponent of 1, 2 or 3."""
    if exponent == 1:
        return x, y
    xx, yy = x * x, y * y
    if exponent == 2:
        return xx - yy, 2.0 * x * y
    return x * (xx - 3.0 * yy), y * (3.0 * xx - yy)


@kernel
def orbit(formula: Formula, px: float, py: float) -> Sample:
    """Follow the orbit that belongs to the point (px, py) of the plane."""
    if formula.fold == NEWTON:
        return _newton_orbit(formula, px, py)
    # One step into the orbit of 0, a parameter plane looks as a Julia set does at its start.
    x, y, wx, wy = px, py, 1.0, 0.0
    cx, cy = (formula.x, formula.y) if formula.julia else (px, py)
    growth = 0.0 if formula.julia else 1.0
    fold, degree, times = formula.fold, formula.degree, float(formula.degree)
    trap, stripe, before = 1e30, 0.0, 0.0
    kept_x, kept_y, keep_at = 1e30, 0.0, 8
    for n in range(formula.limit):
        xx, yy = x * x, y * y
        square = xx + yy
        if square > _BAILOUT_SQUARE:
            return _escaped(formula, n, x, y, wx, wy, trap, before, stripe)
        tx, ty = x - formula.trap_x, y - formula.trap_y
        trap = min(trap, tx * tx + ty * ty)
        before = stripe
        stripe += (1.0 - _STRIPE_MEMORY) * (2.0 * x * y / (square + 1e-300) - stripe)
        sx, sy = x - kept_x, y - kept_y
        if sx * sx + sy * sy < _STANDING_SQUARE:
            break
        if n == keep_at:
            kept_x, kept_y, keep_at = x, y, 2 * n
        if fold == SHIP:
            x, y = abs(x), abs(y)
        elif fold == TRICORN:
            y = -y
        qx, qy = raised(x, y, degree - 1)
        wx, wy = times * (qx * wx - qy * wy) + growth, times * (qx * wy + qy * wx)
        x, y = qx * x - qy * y + cx, qx * y + qy * x + cy
    return Sample(-1.0, trap, 0.0, -1.0, 0.0, 0.0, 0.0)


@kernel
def _escaped(
    formula: Formula,
    n: int,
    x: float,
    y: float,
    wx: float,
    wy: float,
    trap: float,
    before: float,
    stripe: float,
) -> Sample:
    """Describe an orbit whose point n is the first outside, w being its derivative."""
    square = x * x + y * y
    log_z = 0.5 * log(square)
    part = 1.0 - log2(log_z / _LOG_BAILOUT) / log2(float(formula.degree))  # 0 to 1
    distance, normal_x, normal_y = -1.0, 0.0, 0.0
    if (
        formula.fold == PLAIN or formula.julia
    ):  # else w is not the derivative: folds are not analytic
        size = np.sqrt(wx * wx + wy * wy)
        distance = np.sqrt(square) * log_z / size if size < 1e150 else 0.0
        if formula.fold == PLAIN and 0.0 < size < 1e150:
            normal_x, normal_y = x * wx + y * wy, y * wx - x * wy
            length = np.sqrt(normal_x * normal_x + normal_y * normal_y)
            normal_x, normal_y = normal_x / length, normal_y / length
    smooth = before + part * (stripe - before)
    return Sample(n + part, trap, smooth, distance, normal_x, normal_y, 0.0)


@kernel
def _newton_orbit(formula: Formula, px: float, py: float) -> Sample:
    """Follow Newton's method for z^degree = 1; every step counts |Δ|²/(|Δ|² + 1e-6), which is smooth."""
    x, y, degree = px, py, formula.degree
    ax, ay = formula.x / degree, formula.y / degree
    level, trap, stripe = 0.0, 1e30, 0.0
    for _ in range(formula.limit):
        tx, ty = x - formula.trap_x, y - formula.trap_y
        trap = min(trap, tx * tx + ty * ty)
        qx, qy = raised(x, y, degree - 1)
        inverse = 1.0 / (qx * qx + qy * qy + 1e-300)
        dx, dy = x - qx * inverse, y + qy * inverse
        dx, dy = ax * dx - ay * dy, ax * dy + ay * dx
        step = dx * dx + dy * dy
        moving = step / (step + _MOVING)
        level += moving
        sine = 2.0 * x * y / (x * x + y * y + 1e-300)
        stripe += (1.0 - _STRIPE_MEMORY) * moving * (sine - stripe)
        x, y = x - dx, y - dy
        if step < _CONVERGED:
            basin = np.floor(atan2(y, x) * degree / _TWO_PI + degree + 0.5) / degree
            return Sample(level, trap, stripe, -1.0, 0.0, 0.0, basin - np.floor(basin))
    return Sample(-1.0, trap, 0.0, -1.0, 0.0, 0.0, 0.0)


@kernel
def add_colour(sample: Sample, turn: float, view: View, style: Style, rgb: F64) -> None:
    """Add the colour of `sample` to `rgb`, float64 [3].

    Args:
        sample: from `orbit`.
        turn: place in the palette of its level, in turns of any size; not looked at when bounded.
        view: needed for the direction of the light, which turns with it.
        style: how to colour.
        rgb: grows by 0 to 255 in each channel.
    """
    bounded = sample.level < 0.0
    if bounded:
        turn = 2.5 * np.sqrt(sample.trap) + 0.37
    else:
        turn += style.stripes * sample.stripe + style.basins * sample.basin
        if style.traps != 0.0:
            turn += style.traps * np.sqrt(sample.trap)
    turn -= np.floor(turn)
    entry = min(int(turn * PALETTE_COLOURS), PALETTE_COLOURS - 1)
    gain, cover = (0.7 if bounded else 1.0), 0.0
    if style.relief > 0.0 and (sample.normal_x != 0.0 or sample.normal_y != 0.0):
        scale = 1.0 / np.sqrt(view.across * view.across + view.turned * view.turned)
        across = (sample.normal_x * view.across + sample.normal_y * view.turned) * scale
        up = (sample.normal_y * view.across - sample.normal_x * view.turned) * scale
        gain -= style.relief * 0.5 * (1.0 - across * style.light_x - up * style.light_y)
    if style.outline > 0.0 and 0.0 <= sample.distance < style.reach:
        root = np.sqrt(np.sqrt(sample.distance / style.reach))
        cover = style.outline * (1.0 - root * np.sqrt(root))  # 1 − (distance/reach)^(3/8)
    rgb[0] += (1.0 - cover) * gain * style.palette[entry, 0] + cover * style.ink_red
    rgb[1] += (1.0 - cover) * gain * style.palette[entry, 1] + cover * style.ink_green
    rgb[2] += (1.0 - cover) * gain * style.palette[entry, 2] + cover * style.ink_blue


@kernel
def turn_of_level(level: float, tones: F64) -> float:
    """Return the turn of a level: `tones` as `fill_tones` made it, linear in between and beyond."""
    place = (log2(1.0 + level) - tones[TONES + 1]) * tones[TONES + 2]
    last = TONES - 1
    at = min(max(int(place), 0), last - 1)
    beyond = max(place - last, 0.0) + min(place, 0.0)
    slope = tones[TONES + 3]
    inside = min(max(place - at, 0.0), 1.0)
    turn: float = tones[at] + (tones[at + 1] - tones[at]) * inside + beyond * slope
    return turn


@kernel
def paint(
    formula: Formula, view: View, style: Style, tones: F64, supersampling: int, out: U8
) -> None:
    """Draw the window: the mean colour of supersampling² orbits for every pixel.

    Args:
        formula, view, style: what, where and how.
        tones: float64 [TONES + 4], from `fill_tones`.
        supersampling: orbits per pixel and axis.
        out: uint8 [size, size, 3], written; the first row is t = −1.
    """
    size = out.shape[0]
    step = 2.0 / (size * supersampling)
    total = np.empty(3)
    for row in range(size):
        for column in range(size):
            total[:] = 0.0
            for part in range(supersampling * supersampling):
                i = row * supersampling + part // supersampling
                j = column * supersampling + part % supersampling
                s, t = (j + 0.5) * step - 1.0, (i + 0.5) * step - 1.0
                px, py = place_of(view, s, t)
                sample = orbit(formula, px, py)
                turn = turn_of_level(sample.level, tones) if sample.level >= 0.0 else 0.0
                add_colour(sample, turn, view, style, total)
            for channel in range(3):
                mean = total[channel] / (supersampling * supersampling)
                out[row, column, channel] = int(min(max(mean, 0.0), 255.0) + 0.5)
