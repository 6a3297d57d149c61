"""Escape-time fractals: Mandelbrot and Julia sets of several maps, coloured in layers.

The maps are z² + c, z³ + c, z⁴ + c, the same of |x| + i|y| (burning ship) and of the conjugate
(tricorn), and relaxed Newton's method. Of each, parameter planes and Julia sets are looked at where
they are rich, see `escape_targets`; of several such views with palettes the busiest preview wins.

A picture's colours are settled by its preview, so that it looks alike at every size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import escape_colours as colours
from pipeline.pictures import escape_kernels as kernels
from pipeline.pictures import escape_targets as targets
from pipeline.pictures.arithmetic import cos, exp2, log2, sin
from pipeline.pictures.draws import Draws

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x455343  # "ESC"
_PLACES = 10
_RICH = 0.52  # a place as interesting as this needs no rival
_STYLES = 8
_PREVIEW_SIDE = 37
_PREVIEW_LIMIT = 400
_FINE_BELOW = 100  # pixels: smaller pictures take 3×3 orbits a pixel, larger ones 2×2


class Family(NamedTuple):
    """A kind of view and how often it is drawn, in percent."""

    name: str
    share: int
    fold: int
    degree: int
    julia: bool


FAMILIES = (
    Family("mandelbrot tips", 16, kernels.PLAIN, 2, False),
    Family("mandelbrot valleys", 8, kernels.PLAIN, 2, False),
    Family("mandelbrot copies", 8, kernels.PLAIN, 2, False),
    Family("julia", 24, kernels.PLAIN, 2, True),
    Family("multibrot 3", 5, kernels.PLAIN, 3, False),
    Family("multibrot 4", 4, kernels.PLAIN, 4, False),
    Family("julia 3", 6, kernels.PLAIN, 3, True),
    Family("julia 4", 4, kernels.PLAIN, 4, True),
    Family("burning ship", 5, kernels.SHIP, 2, False),
    Family("burning ship julia", 4, kernels.SHIP, 2, True),
    Family("tricorn", 3, kernels.TRICORN, 2, False),
    Family("tricorn julia", 3, kernels.TRICORN, 2, True),
    Family("newton 3", 5, kernels.NEWTON, 3, True),
    Family("newton 4", 5, kernels.NEWTON, 4, True),
)


class Place(NamedTuple):
    """What is looked at, and where."""

    formula: kernels.Formula
    view: kernels.View
    half_width: float
    interest: float


class Picture(NamedTuple):
    """All that `escape_kernels.paint` needs to draw a picture at any size, and its preview's score."""

    formula: kernels.Formula
    view: kernels.View
    style: kernels.Style
    tones: F64
    score: float


def render_escape(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write escape-time fractal `index` of the family `seed` into `out`.

    Args:
        seed, index: name the picture.
        attempt: 0, 1, …, another draw of it.
        out: uint8 [size, size, 3], size ≥ 1, written.
    """
    best = choose(Draws(seed, _PURPOSE, index, attempt))
    supersampling = 3 if out.shape[0] < _FINE_BELOW else 2
    kernels.paint(best.formula, best.view, best.style, best.tones, supersampling, out)


def choose(draws: Draws) -> Picture:
    """Draw a family, take the most interesting of several places and its best of several styles."""
    family = _draw_family(draws)
    place = _draw_place(family, draws)
    for _ in range(_PLACES - 1):
        if place.interest >= _RICH:
            break
        other = _draw_place(family, draws)
        if other.interest > place.interest:
            place = other
    samples = np.empty((_PREVIEW_SIDE * _PREVIEW_SIDE, 7))
    slowest = colours.scan(place.formula, place.view, samples)
    limit = min(int(1.5 * slowest) + 100, _PREVIEW_LIMIT)
    place = place._replace(formula=place.formula._replace(limit=limit))
    best = _draw_style(place, samples, draws)
    for _ in range(_STYLES - 1):
        other_style = _draw_style(place, samples, draws)
        if other_style.score > best.score:
            best = other_style
    return best


def _draw_style(place: Place, samples: F64, draws: Draws) -> Picture:
    """Draw how to colour a place whose preview is `samples`."""
    style = draw_style(place.half_width, draws)
    tones = np.zeros(colours.TONE_FIELDS)
    enough = colours.fill_tones(samples[:, 0], draws.uniform(1, 3.5), tones)
    score = colours.score(samples, place.view, style, tones) if enough else -100.0
    return Picture(place.formula, place.view, style, tones, score)


def _draw_family(draws: Draws) -> Family:
    place = draws.choice(sum(family.share for family in FAMILIES))
    for family in FAMILIES:
        place -= family.share
        if place < 0:
            return family
    raise AssertionError("shares add up")


def _draw_place(family: Family, draws: Draws) -> Place:
    formula, x, y, half_width = _draw_window(family, draws)
    cosine, sine = draws.direction()
    view = kernels.View(x, y, half_width * cosine, half_width * sine)
    return Place(formula, view, half_width, float(targets.interest(formula, view)))


def _draw_window(family: Family, draws: Draws) -> tuple[kernels.Formula, float, float, float]:
    """Draw a formula, the centre of its view and the view's half-width."""
    formula = kernels.Formula(
        fold=family.fold,
        degree=family.degree,
        julia=family.julia,
        x=0.0,
        y=0.0,
        trap_x=draws.uniform(-1, 1),
        trap_y=draws.uniform(-1, 1),
        limit=_PREVIEW_LIMIT,
    )
    state = np.array([draws.word()], np.uint64)
    if family.name == "mandelbrot copies":
        x, y, size = targets.find_nucleus(state)
        return formula, x, y, size * log_uniform(draws, 1.5, 12)
    if family.name == "mandelbrot tips" or (
        family.fold == kernels.PLAIN and not family.julia and draws.choice(2)
    ):
        point = targets.find_misiurewicz(family.degree, state)
        half_width = log_uniform(draws, 1e-4, 0.2)
        x = point.x + 0.3 * half_width * draws.normal()
        y = point.y + 0.3 * half_width * draws.normal()
        return formula, x, y, half_width
    if not family.julia:
        x, y = targets.find_boundary(formula, state)
        # Deep in, folded maps show little but stripes.
        least = 1e-4 if family.fold == kernels.PLAIN else 0.02
        return formula, x, y, log_uniform(draws, least, 0.4)
    if family.fold == kernels.NEWTON:
        formula = formula._replace(x=draws.uniform(0.7, 1.7), y=draws.uniform(-0.6, 0.6))
        x, y = targets.find_boundary(formula, state)
        return formula, x, y, log_uniform(draws, 0.05, 1)
    x, y = targets.find_boundary(formula._replace(julia=False), state)
    if family.fold == kernels.PLAIN and draws.choice(2):
        point = targets.find_misiurewicz(family.degree, state)
        x, y = point.x, point.y
    cosine, sine = draws.direction()
    away = log_uniform(draws, 1e-4, 0.016)
    formula = formula._replace(x=x + away * cosine, y=y + away * sine)
    x, y = targets.find_boundary(formula, state)
    return formula, x, y, log_uniform(draws, 0.02, 1.2)


def log_uniform(draws: Draws, low: float, high: float) -> float:
    """Return a number of [low, high) whose logarithm is uniform."""
    return low * float(exp2(draws.uniform(0, float(log2(high / low)))))


def draw_palette(draws: Draws) -> F64:
    """Return a palette, float64 [PALETTE_COLOURS, 3]: three cosines, or 4 to 8 knots in Oklab."""
    palette = np.empty((kernels.PALETTE_COLOURS, 3))
    if draws.choice(3) == 0:
        order = draws.choice(3)
        frequencies = np.array([1.0 + ((channel + order) % 3 == 0) for channel in range(3)])
        phases = np.array([draws.uniform(0, 1) for _ in range(3)])
        colours.fill_cosine_palette(frequencies, phases, palette)
        return palette
    # Neighbours alternate between dark and light: hue alone hardly shows in luminance.
    number = 4 + 2 * draws.choice(3)
    hue, range_of_hues = draws.uniform(0, 6.283), draws.uniform(0.8, 6.283)
    knots = np.empty((number, 3))
    for k in range(number):
        light = draws.uniform(0.15, 0.5) if k % 2 else draws.uniform(0.6, 0.95)
        angle = hue + draws.uniform(-0.5, 0.5) * range_of_hues
        chroma = draws.uniform(0.06, 0.24)
        knots[k] = light, chroma * float(cos(angle)), chroma * float(sin(angle))
    colours.fill_knot_palette(knots, palette)
    return palette


def draw_style(half_width: float, draws: Draws) -> kernels.Style:
    """Draw how to colour a view of that half-width."""
    palette = draw_palette(draws)
    striped, trapped, lit = draws.choice(3) > 0, draws.choice(3) == 0, draws.choice(2)
    outlined, bright = draws.choice(4) > 0, draws.choice(2)
    ink = palette.max(axis=0) if bright else 0.25 * palette.min(axis=0)
    light_x, light_y = draws.direction()
    return kernels.Style(
        palette=palette,
        stripes=draws.uniform(0.2, 0.8) if striped else 0.0,
        traps=draws.uniform(0.3, 1.2) if trapped else 0.0,
        basins=draws.uniform(0.3, 1.0),
        outline=draws.uniform(0.5, 0.9) if outlined else 0.0,
        reach=half_width * draws.uniform(0.01, 0.06),
        ink_red=float(ink[0]),
        ink_green=float(ink[1]),
        ink_blue=float(ink[2]),
        relief=draws.uniform(0.4, 0.8) if lit else 0.0,
        light_x=light_x,
        light_y=light_y,
    )
