"""Colours of escape-time fractals: palettes, tones by rank, and how busy a preview is.

Oklab (Ottosson, 2020) is the space that palettes are drawn in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos, log2, power
from pipeline.pictures.escape_kernels import (
    TONES,
    Formula,
    Sample,
    Style,
    View,
    add_colour,
    orbit,
    place_of,
    turn_of_level,
)
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

TONE_FIELDS = TONES + 4
_TWO_PI = 6.283185307179586
_BLOCK = 5
_BENT = 30.0  # mean |Laplacian| of a block; bands of the palette stay below
_FEWEST_ESCAPED = 0.3  # of a preview; less is a blot


@kernel
def fill_cosine_palette(frequencies: F64, phases: F64, palette: F64) -> None:
    """Fill `palette`, float64 [PALETTE_COLOURS, 3], with 127.5 + 119.5 cos(2π(f·t + φ)) per channel.

    `frequencies`, float64 [3], are whole numbers, so that the palette is cyclic.
    """
    for entry in range(palette.shape[0]):
        for channel in range(3):
            turn = frequencies[channel] * entry / palette.shape[0] + phases[channel]
            palette[entry, channel] = 127.5 + 119.5 * cos(_TWO_PI * (turn - np.floor(turn)))


@kernel
def oklab_to_srgb(light: float, a: float, b: float, rgb: F64) -> None:
    """Write the sRGB colour, 0 to 255 each and clipped to that, into `rgb`, float64 [3]."""
    long = light + 0.3963377774 * a + 0.2158037573 * b
    medium = light - 0.1055613458 * a - 0.0638541728 * b
    short = light - 0.0894841775 * a - 1.2914855480 * b
    long, medium, short = long * long * long, medium * medium * medium, short * short * short
    rgb[0] = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    rgb[1] = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    rgb[2] = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    for channel in range(3):
        value = min(max(rgb[channel], 0.0), 1.0)
        if value <= 0.0031308:
            value *= 12.92
        else:
            value = 1.055 * power(value, 1.0 / 2.4) - 0.055
        rgb[channel] = 255.0 * min(value, 1.0)


@kernel
def fill_knot_palette(knots: F64, palette: F64) -> None:
    """Fill `palette`, float64 [PALETTE_COLOURS, 3], with a closed Catmull-Rom curve through `knots`.

    `knots`, float64 [K, 3], holds Oklab lightness, a and b of K ≥ 3 colours, equally spaced.
    """
    number, count = knots.shape[0], palette.shape[0]
    colours = np.empty((number, 3))
    for k in range(number):
        oklab_to_srgb(knots[k, 0], knots[k, 1], knots[k, 2], colours[k])
    for entry in range(count):
        place = entry * number / count
        k = int(place)
        u = place - k
        for channel in range(3):
            before, here = colours[(k + number - 1) % number, channel], colours[k, channel]
            after, later = colours[(k + 1) % number, channel], colours[(k + 2) % number, channel]
            bend = 2.0 * before - 5.0 * here + 4.0 * after - later
            twist = -before + 3.0 * here - 3.0 * after + later
            value = here + 0.5 * u * (after - before + u * (bend + u * twist))
            palette[entry, channel] = min(max(value, 0.0), 255.0)


@kernel
def fill_tones(levels: F64, cycles: float, tones: F64) -> bool:
    """Make the map from levels to turns: 0.7 of their rank + 0.3 of their logarithm, times `cycles`.

    The scale of x = log2(1 + level) runs from its half percentile to its 99th.

    Args:
        levels: float64 [n], of a preview; negative where bounded.
        cycles: turns from one end of the scale to the other.
        tones: float64 [TONE_FIELDS], written: turns at TONES equal steps of x, then an unused
            place, the scale's start, steps per unit of x, and turns per step beyond the ends.

    Returns:
        Whether there were enough levels, not all alike.
    """
    scale = np.empty(levels.size)
    count = 0
    for level in levels:
        if level >= 0.0:
            scale[count] = log2(1.0 + level)
            count += 1
    if count < _FEWEST_ESCAPED * levels.size:
        return False
    ordered = np.sort(scale[:count])
    low, high = ordered[int(0.005 * count)], ordered[int(0.99 * (count - 1))]
    if high - low < 1e-6:
        return False
    steps = (TONES - 1) / (high - low)
    shares = np.zeros(TONES - 1)
    for value in ordered:
        shares[min(max(int((value - low) * steps), 0), TONES - 2)] += 1.0 / count
    for _ in range(4):  # few samples a step: smoothed by 1-2-1, or palettes would jerk
        last = shares[0]
        for i in range(TONES - 1):
            following = shares[i + 1] if i + 2 < TONES else shares[i]
            here = shares[i]
            shares[i] = 0.25 * last + 0.5 * here + 0.25 * following
            last = here
    turn = 0.0
    for i in range(TONES):
        tones[i] = turn
        if i + 1 < TONES:
            turn += cycles * (0.7 * shares[i] + 0.3 / (TONES - 1))
    tones[TONES] = 0.0
    tones[TONES + 1], tones[TONES + 2] = low, steps
    tones[TONES + 3] = cycles * 0.6 / (TONES - 1)
    return True


@kernel
def scan(formula: Formula, view: View, samples: F64) -> float:
    """Follow one orbit for each cell of a preview.

    Args:
        formula, view: what and where.
        samples: float64 [side², 7], written row by row: the fields of a `Sample`.

    Returns:
        The 99.5th percentile of the levels, 0 when all are bounded.
    """
    side = int(np.sqrt(float(samples.shape[0])) + 0.5)
    levels = np.empty(samples.shape[0])
    count = 0
    for row in range(side):
        for column in range(side):
            s, t = (2 * column + 1) / side - 1.0, (2 * row + 1) / side - 1.0
            px, py = place_of(view, s, t)
            found = orbit(formula, px, py)
            cell = samples[row * side + column]
            cell[0], cell[1], cell[2], cell[3] = (
                found.level,
                found.trap,
                found.stripe,
                found.distance,
            )
            cell[4], cell[5], cell[6] = found.normal_x, found.normal_y, found.basin
            if found.level >= 0.0:
                levels[count] = found.level
                count += 1
    if count == 0:
        return 0.0
    return float(np.sort(levels[:count])[int(0.995 * (count - 1))])


@kernel
def score(samples: F64, view: View, style: Style, tones: F64) -> float:
    """Colour a preview and tell how fit it is to mix with: about 5.5 is good, 0 is dull.

    min(H, 5.6) − 3·flat + 2·min(detail, ½) − 0.15 |TV − 17| − 4 |ac − 0.85| − 3·dark, where H is the
    entropy of 64 levels of luminance, flat the share of blocks of 5×5 cells whose standard
    deviation is below 4, detail that of blocks that bend more than smooth bands do, TV the mean step
    between neighbours, ac their correlation, dark the share of cells below 16 beyond a tenth. What
    would hardly pass the gate loses more.

    Args:
        samples: float64 [side², 7], from `scan`.
        view, style: as `samples` was made with, and how to colour.
        tones: float64 [TONE_FIELDS].
    """
    side = int(np.sqrt(float(samples.shape[0])) + 0.5)
    grey = np.empty((side, side))
    rgb = np.empty(3)
    counts = np.zeros(64)
    dark = 0
    for row in range(side):
        for column in range(side):
            c = samples[row * side + column]
            rgb[:] = 0.0
            turn = turn_of_level(c[0], tones) if c[0] >= 0.0 else 0.0
            found = Sample(c[0], c[1], c[2], c[3], c[4], c[5], c[6])
            add_colour(found, turn, view, style, rgb)
            grey[row, column] = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
            counts[min(max(int(0.25 * grey[row, column]), 0), 63)] += 1.0
            dark += int(grey[row, column] < 16.0)
    return _busy(grey, counts) - 3.0 * max(dark / (side * side) - 0.1, 0.0)


@kernel
def _busy(grey: F64, counts: F64) -> float:
    """Return the terms of `score` for luminance, float64 [side, side], and its histogram [64]."""
    side = grey.shape[0]
    entropy = 0.0
    for count in counts:
        if count > 0.0:
            entropy -= count * log2(count / grey.size)
    entropy /= grey.size
    mean = grey.sum() / grey.size
    spread, product, steps = 0.0, 0.0, 0.0
    for row in range(side - 1):
        for column in range(side - 1):
            here = grey[row, column]
            right, below = grey[row, column + 1], grey[row + 1, column]
            steps += abs(right - here) + abs(below - here)
            spread += 2.0 * (here - mean) * (here - mean)
            product += (here - mean) * (right + below - 2.0 * mean)
    variation = steps / (2.0 * (side - 1) * (side - 1))
    alike = product / spread if spread > 1e-9 else 1.0
    flat = detailed = 0
    blocks = (side - 2) // _BLOCK
    for block in range(blocks * blocks):
        top, left = 1 + _BLOCK * (block // blocks), 1 + _BLOCK * (block % blocks)
        total = squares = bend = 0.0
        for cell in range(_BLOCK * _BLOCK):
            row, column = top + cell // _BLOCK, left + cell % _BLOCK
            value = grey[row, column]
            total += value
            squares += value * value
            around = grey[row - 1, column] + grey[row + 1, column]
            bend += abs(around + grey[row, column - 1] + grey[row, column + 1] - 4.0 * value)
        cells = _BLOCK * _BLOCK
        flat += int(squares / cells - (total / cells) * (total / cells) < 16.0)
        detailed += int(bend / cells > _BENT)
    fit = min(entropy, 5.6) - (3.0 * flat - 2.0 * min(detailed, blocks * blocks / 2)) / blocks**2
    fit -= 0.15 * abs(variation - 17.0) + 4.0 * abs(alike - 0.85)
    fit -= 2.0 * max(4.7 - entropy, 0.0) + 10.0 * max(alike - 0.93, 0.0)  # near the gate's bounds
    return float(fit - 5.0 * max(flat / (blocks * blocks) - 0.1, 0.0))


@kernel
def score_picture(picture: U8) -> float:
    """Return what `score` measures for a picture, uint8 [side, side, 3], of about 40×40 pixels."""
    side = picture.shape[0]
    grey = np.empty((side, side))
    counts = np.zeros(64)
    for row in range(side):
        for column in range(side):
            pixel = picture[row, column]
            grey[row, column] = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
            counts[min(int(0.25 * grey[row, column]), 63)] += 1.0
    return _busy(grey, counts)
