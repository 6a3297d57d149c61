"""The frosty panes that the frost corruption lays over pictures: generated ones, or the published files.

The published panes are photographs. Generated ones share their sizes, colours, histograms, the slope of their
power spectrum and the look of ice ferns, not their pixels: errors under frost are comparable, not equal.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.corruptions.base import F64, U8, U64, fill_normals
from pipeline.corruptions.frost_kernels import add_standardised, grow_ferns, tilt, tint
from pipeline.errors import DreamshardsError, UsageError
from pipeline.pictures.fields import fill_phases, transform, twiddles
from pipeline.render.jit import read_only
from pipeline.sources.images import MAX_PIXELS
from pipeline.sources.source import digest_of
from pipeline.store import open_input

SMALL_SCALE = 0.2
_NUM_PANES = 5
_SUFFIXES = (".png", ".jpg", ".jpeg")
_SEED = 0x46524F5354  # "FROST"


class _Look(NamedTuple):
    """What a generated pane is made of; sizes, colours and percentiles are those of a published one."""

    height: int
    width: int
    means: tuple[float, float, float]  # of red, green, blue
    deviations: tuple[float, float, float]
    percentiles: tuple[float, float, float]  # the 1st, 50th and 99th of grey
    exponent: float  # of the noise's power over its frequency
    ferns: tuple[int, float, float]  # how many on 1024² pixels, the longest and its width in pixels
    weights: tuple[float, float, float]  # of noise, ridges and ferns


_A = _Look(
    height=600,
    width=900,
    means=(78, 149, 166),
    deviations=(27, 17, 15),
    percentiles=(97, 129, 177),
    exponent=-0.8,
    ferns=(150, 150, 1.8),
    weights=(1.0, 0.5, 0.8),
)
_B = _Look(
    height=315,
    width=560,
    means=(201, 205, 215),
    deviations=(21, 22, 23),
    percentiles=(141, 210, 245),
    exponent=-1.6,
    ferns=(270, 200, 2.4),
    weights=(1.0, 0.5, 1.6),
)
_D = _Look(
    height=350,
    width=527,
    means=(138, 153, 165),
    deviations=(29, 29, 30),
    percentiles=(82, 152, 234),
    exponent=-0.7,
    ferns=(400, 100, 1.4),
    weights=(1.0, 0.4, 0.7),
)
_E = _Look(
    height=495,
    width=660,
    means=(112, 123, 135),
    deviations=(44, 43, 42),
    percentiles=(45, 119, 238),
    exponent=-1.5,
    ferns=(180, 360, 4.0),
    weights=(1.0, 0.5, 1.6),
)


class FrostPictures:
    """Panes of frost, drawn from with equal probability.

    Attributes:
        whole: uint8 [H, W, 3] each.
        small: the same at a fifth of the size, as OpenCV's bilinear resize makes them, which takes the middle
            pixel of every five.
    """

    def __init__(self, panes: Sequence[U8]) -> None:
        """Keep `panes`, uint8 [H, W, 3] each, at least one.

        Raises:
            UsageError: one is not a picture, or there is none.
        """
        for index, pane in enumerate(panes):
            if pane.dtype != np.uint8 or pane.ndim != 3 or pane.shape[2] != 3:
                raise UsageError(
                    f"frost: pane {index} is {pane.dtype} {list(pane.shape)}; "
                    "panes are uint8 [H, W, 3]: convert it to 8-bit RGB"
                )
        if not panes:
            raise UsageError("frost: no panes given; at least one is needed")
        self.whole: tuple[U8, ...] = tuple(read_only(pane) for pane in panes)
        self.small: tuple[U8, ...] = tuple(read_only(pane[2::5, 2::5]) for pane in panes)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over the panes."""
        shapes = np.array([pane.shape for pane in self.whole], "<i8")
        return digest_of("frost", shapes, *self.whole)

    def at(self, scale: float) -> tuple[U8, ...]:
        """Return the panes at scale 1 or 0.2."""
        if scale not in (1.0, SMALL_SCALE):
            raise UsageError(f"frost: no panes at scale {scale:g}; there are 1 and {SMALL_SCALE:g}")
        return self.whole if scale == 1.0 else self.small


def load_frost(folder: str | Path) -> FrostPictures:
    """Read the published panes below a path or URI, `frost1` to `frost5` as PNG or JPEG; no transparency.

    The archive's sixth is never drawn by the published generator; it is not read.

    Raises:
        UsageError: one is missing.
        DreamshardsError: one cannot be decoded.
    """
    store = open_input(os.fspath(folder))
    panes = []
    for number in range(1, _NUM_PANES + 1):
        names = [f"frost{number}{suffix}" for suffix in _SUFFIXES]
        found = next((name for name in names if store.exists(name)), None)
        if found is None:
            raise UsageError(
                f"{store}: no frost{number} with {', '.join(_SUFFIXES)}; frost1 to frost5 of the published "
                "generator are needed: copy them here, or use the generated panes"
            )
        try:
            with Image.open(io.BytesIO(store.read(found)), formats=("PNG", "JPEG")) as image:
                if math.prod(image.size) > MAX_PIXELS:
                    raise OSError(f"{math.prod(image.size):,} pixels; allowed: {MAX_PIXELS:,}")
                panes.append(np.asarray(image.convert("RGB")))
        except (OSError, Image.DecompressionBombError) as error:
            raise DreamshardsError(
                f"{store.address(found)}: not a picture that can be read: {error}"
            ) from error
    return FrostPictures(panes)


@lru_cache(maxsize=1)
def generated_frost() -> FrostPictures:
    """Return the generated panes, the same on every host: A, B, B, D, E."""
    a, b, d, e = (_render(look, _SEED + slot) for slot, look in enumerate((_A, _B, _D, _E)))
    return FrostPictures((a, b, b, d, e))


def _render(look: _Look, seed: int) -> U8:
    """Render one pane: noise, ridges and ferns, given the histogram and the colours of `look`."""
    side = 1 << (max(look.height, look.width) - 1).bit_length()
    state = np.array([seed], np.uint64)
    noise, ridges = _noises(look.exponent, seed, side)
    np.abs(ridges, out=ridges)
    ridges *= -1.0
    ferns, total = np.zeros((side, side)), np.zeros((side, side))
    num, longest, width = look.ferns
    grow_ferns(state, max(round(num * (side / 1024) ** 2), 1), longest, width, ferns)
    for field, weight in zip((noise, ridges, ferns), look.weights, strict=True):
        add_standardised(field, weight, total)
    grey = _matched(look, state, np.ascontiguousarray(total[: look.height, : look.width]))
    out = np.empty((look.height, look.width, 3), np.uint8)
    tint(grey, np.array(look.means, np.float64), np.array(look.deviations, np.float64), out)
    return out


def _noises(exponent: float, seed: int, side: int) -> tuple[F64, F64]:
    """Return two independent fields, float64 [side, side], of power r^exponent: one transform makes both."""
    re, im = np.empty((side, side)), np.empty((side, side))
    other_re, other_im = np.empty((side, side)), np.empty((side, side))
    fill_phases(np.uint64(seed), re, im)
    fill_phases(np.uint64(seed + 0x1000), other_re, other_im)
    re -= other_im
    im += other_re
    tilt(exponent, re, im)
    transform(re, im, twiddles(side), True)
    return re, im


def _matched(look: _Look, state: U64, field: F64) -> F64:
    """Return `field`, float64 [H, W], with `look`'s histogram by rank, brought to mean 0 and deviation 1.

    Halves of two normal distributions meet in the median.
    """
    low, middle, high = look.percentiles
    values = np.empty(field.size)
    fill_normals(state, values)
    values.sort()
    values *= np.where(values < 0, middle - low, high - middle)
    ranked = np.empty_like(field)
    ranked.reshape(-1)[np.argsort(field, axis=None, kind="stable")] = values
    matched = np.zeros_like(field)
    add_standardised(ranked, 1.0, matched)
    return matched
