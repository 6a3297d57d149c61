"""Snow, frost, fog and brightness (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import (
    F64,
    I64,
    U8,
    U64,
    Constants,
    Corruption,
    finish,
    finish_bytes,
    planes,
    rows,
)
from pipeline.corruptions.frost_pictures import FrostPictures, generated_frost
from pipeline.corruptions.plasma import fill_plasma
from pipeline.corruptions.snow import snow
from pipeline.errors import UsageError
from pipeline.pictures.splitmix import next_word
from pipeline.render.jit import inlined, kernel, read_only


@kernel
def _places(seeds: U64, heights: I64, widths: I64, size: int, places: I64) -> None:
    """Draw picture, row and column of each sample's crop into `places`, int64 [n, 3]."""
    state = np.empty(1, np.uint64)
    for i in range(len(seeds)):
        state[0] = seeds[i]
        index = np.int64(next_word(state) % np.uint64(len(heights)))
        places[i, 0] = index
        places[i, 1] = np.int64(next_word(state) % np.uint64(heights[index] - size))
        places[i, 2] = np.int64(next_word(state) % np.uint64(widths[index] - size))


@kernel
def _freeze(picture: U8, ice: U8, kept: float, added: float, out: U8) -> None:
    """Write kept · picture + added · ice, each uint8 [S, S·3]."""
    for y in range(len(picture)):
        source, layer, result = picture[y], ice[y], out[y]
        for x in range(source.size):
            result[x] = finish_bytes(kept * source[x] + added * layer[x])


def frost(
    images: U8, constants: Constants, seeds: U64, *, pictures: FrostPictures | None = None
) -> U8:
    """Add a random crop of a frosty pane; constants: (share kept, share added, scale of the pane).

    Args:
        images: uint8 [n, S, S, 3].
        constants: the scale is 1, or 0.2 for CIFAR.
        seeds: uint64 [n].
        pictures: the panes; generated ones by default.

    Raises:
        UsageError: a pane is not larger than the pictures.
    """
    kept, added, scale = constants
    panes = (pictures or generated_frost()).at(scale)
    size = images.shape[1]
    least = min(min(pane.shape[:2]) for pane in panes)
    if least <= size:
        raise UsageError(
            f"frost: a pane at scale {scale:g} has a side of {least} px, pictures have {size} px; "
            "panes must be larger: take smaller pictures or larger panes"
        )
    heights, widths = np.array([pane.shape[:2] for pane in panes], np.int64).T.copy()
    places = np.empty((len(images), 3), np.int64)
    _places(read_only(seeds), heights, widths, size, places)
    out = np.empty(images.shape, np.uint8)
    sources, results = planes(images), out.reshape(*out.shape[:2], -1)
    lines = [read_only(pane.reshape(len(pane), -1)) for pane in panes]
    for i, (index, top, left) in enumerate(places.tolist()):
        ice = lines[index][top : top + size, 3 * left : 3 * (left + size)]
        _freeze(sources[i], ice, kept, added, results[i])
    return out


@kernel
def _fog(images: U8, thickness: float, decay: float, field: F64, seeds: U64, out: U8) -> None:
    """Add plasma of height `thickness` to `images`, uint8 [n, S, S·3], and scale back to their maximum."""
    size = images.shape[1]
    state = np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        fill_plasma(state, decay, field)
        most = images[i].max() / 255.0
        for y in range(size):
            source, clouds, result = images[i, y], field[y], out[i, y]
            for x in range(size):
                cloud = thickness * clouds[x]
                for channel in range(3):
                    value = source[3 * x + channel] / 255.0 + cloud
                    result[3 * x + channel] = finish(value * most / (most + thickness))


def fog(images: U8, constants: Constants, seeds: U64) -> U8:
    """Put plasma clouds before a picture, its maximum unchanged; constants: (thickness, decay)."""
    thickness, decay = constants
    size = images.shape[1]
    field = np.empty((1 << (size - 1).bit_length(),) * 2)
    out = np.empty(images.shape, np.uint8)
    results = out.reshape(*out.shape[:2], -1)
    _fog(planes(images), thickness, decay, field, read_only(seeds), results)
    return out


@inlined
def _hue_sixths(red: float, green: float, blue: float, most: float, delta: float) -> float:
    """Return the hue in 0…6 of a colour that is not grey; among equal maxima, blue goes before green."""
    if blue == most:
        sixths = 4.0 + (red - green) / delta
    elif green == most:
        sixths = 2.0 + (blue - red) / delta
    else:
        sixths = (green - blue) / delta
    return sixths


@kernel
def _brighten(images: U8, added: float, out: U8) -> None:
    """Add to V of HSV, in float64 and in scikit-image's order: uint8 [n, N] both."""
    for i in range(len(images)):
        source, result = images[i], out[i]
        for k in range(0, source.size, 3):
            red, green, blue = source[k] / 255.0, source[k + 1] / 255.0, source[k + 2] / 255.0
            most = max(red, green, blue)
            delta = most - min(red, green, blue)
            hue = saturation = 0.0
            if delta > 0.0:
                saturation = delta / most
                hue = _hue_sixths(red, green, blue, most, delta) / 6.0
                hue -= np.floor(hue)
            value = min(max(most + added, 0.0), 1.0)
            sector = np.floor(hue * 6.0)
            fraction = hue * 6.0 - sector
            low = finish(value * (1.0 - saturation))
            falling = finish(value * (1.0 - fraction * saturation))
            rising = finish(value * (1.0 - (1.0 - fraction) * saturation))
            high, face = finish(value), int(sector) % 6
            if face == 0:
                colour = (high, rising, low)
            elif face == 1:
                colour = (falling, high, low)
            elif face == 2:
                colour = (low, high, rising)
            elif face == 3:
                colour = (low, falling, high)
            elif face == 4:
                colour = (rising, low, high)
            else:
                colour = (high, low, falling)
            result[k], result[k + 1], result[k + 2] = colour


def brightness(images: U8, constants: Constants, seeds: U64) -> U8:
    """Add to the value of HSV colours; constants: (addition,). Draws nothing."""
    out = np.empty(images.shape, np.uint8)
    _brighten(rows(images), constants[0], out.reshape(len(out), -1))
    return out


WEATHER = (
    Corruption(
        "snow",
        "weather",
        (
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
        ),
        (
            (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
        ),
        snow,
    ),
    Corruption(
        "frost",
        "weather",
        ((1.0, 0.2, 0.2), (1.0, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        ((1.0, 0.4, 1.0), (0.8, 0.6, 1.0), (0.7, 0.7, 1.0), (0.65, 0.7, 1.0), (0.6, 0.75, 1.0)),
        frost,
    ),
    Corruption(
        "fog",
        "weather",
        ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        fog,
    ),
    Corruption(
        "brightness",
        "weather",
        ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
        brightness,
    ),
)
