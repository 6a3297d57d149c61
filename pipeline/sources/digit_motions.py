"""How digits move in the embedded videos: where one stands in every frame, for each kind of motion.

A place is (x, y, c, s): the centre in pixels, rightwards and downwards, and half the digit's side times
cosine and sine of its angle, clockwise as it is seen. Places follow from + − × ÷ and square roots alone, the
same on every host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.draws import Draws

F64 = npt.NDArray[np.float64]

SIZE = 48
"""Pixels a side of a frame."""

NUM_FRAMES = 32


class _Rest(NamedTuple):
    """Where a digit would stand if it did not move."""

    x: float
    y: float
    c: float
    s: float


def draw_places(motion: str, draws: Draws) -> F64:
    """Return a digit's place in each frame, float64 [NUM_FRAMES, 4]; `motion` is one of `MOTIONS`, `UNKNOWN`.

    Angle, side, speed and the middle of the path are drawn alike for all motions, so that no still frame
    tells two directions of one motion apart.
    """
    half = draws.uniform(9, 12)
    c, s = draws.direction()
    x, y = draws.uniform(20, 28), draws.uniform(20, 28)
    paths = {**MOTIONS, **UNKNOWN}
    return np.array(list(paths[motion](_Rest(x, y, half * c, half * s), draws)))


def _times() -> Iterator[float]:
    """Yield each frame's distance in time from the middle of the video, in frames."""
    for number in range(NUM_FRAMES):
        yield number - (NUM_FRAMES - 1) / 2


Path = Iterator[tuple[float, float, float, float]]


def _straight(right: int, down: int) -> Callable[[_Rest, Draws], Path]:
    def path(rest: _Rest, draws: Draws) -> Path:
        speed = draws.uniform(0.5, 0.9)
        for time in _times():
            yield rest.x + right * speed * time, rest.y + down * speed * time, rest.c, rest.s

    return path


def _scale(sign: int) -> Callable[[_Rest, Draws], Path]:
    def path(rest: _Rest, draws: Draws) -> Path:
        rate = draws.uniform(0.016, 0.03)
        for time in _times():
            step = rate * time / 2
            factor = (1 + sign * step) / (1 - sign * step)  # nearly e^(±rate·time)
            yield rest.x, rest.y, rest.c * factor, rest.s * factor

    return path


def _spin(sign: int) -> Callable[[_Rest, Draws], Path]:
    def path(rest: _Rest, draws: Draws) -> Path:
        for c, s in _angles(draws.uniform(0.035, 0.07)):
            yield rest.x, rest.y, rest.c * c - sign * rest.s * s, rest.s * c + sign * rest.c * s

    return path


def _orbit(sign: int) -> Callable[[_Rest, Draws], Path]:
    def path(rest: _Rest, draws: Draws) -> Path:
        radius, (x, y) = draws.uniform(7, 10), draws.direction()
        for c, s in _angles(draws.uniform(0.045, 0.08)):
            right, down = x * c - sign * y * s, y * c + sign * x * s
            yield rest.x + radius * right, rest.y + radius * down, rest.c, rest.s

    return path


def _shake(rest: _Rest, draws: Draws) -> Path:
    reach, (right, down) = draws.uniform(3, 5), draws.direction()
    for c, _ in _angles(draws.uniform(0.6, 1.2)):
        yield rest.x + reach * c * right, rest.y + reach * c * down, rest.c, rest.s


def _zigzag(rest: _Rest, draws: Draws) -> Path:
    speed, reach, (right, down) = draws.uniform(0.4, 0.8), draws.uniform(3, 5), draws.direction()
    waves = _angles(draws.uniform(0.3, 0.45))
    for time, (c, _) in zip(_times(), waves, strict=True):
        along, across = speed * time, reach * c
        x, y = along * right - across * down, along * down + across * right
        yield rest.x + x, rest.y + y, rest.c, rest.s


def _pulse(rest: _Rest, draws: Draws) -> Path:
    reach = draws.uniform(0.2, 0.35)
    for c, _ in _angles(draws.uniform(0.25, 0.4)):
        yield rest.x, rest.y, rest.c * (1 + reach * c), rest.s * (1 + reach * c)


def _swing(rest: _Rest, draws: Draws) -> Path:
    reach = draws.uniform(0.25, 0.4)
    for wave, _ in _angles(draws.uniform(0.2, 0.3)):
        c, s = _rotation(reach * wave)
        yield rest.x, rest.y, rest.c * c - rest.s * s, rest.s * c + rest.c * s


def _angles(tangent: float) -> Iterator[tuple[float, float]]:
    """Yield cosine and sine of 0, θ, 2θ, … for each frame, where `tangent` = tan(θ/2)."""
    c, s = 1.0, 0.0
    step_c, step_s = _rotation(tangent)
    for _ in range(NUM_FRAMES):
        yield c, s
        c, s = c * step_c - s * step_s, s * step_c + c * step_s


def _rotation(tangent: float) -> tuple[float, float]:
    """Return cosine and sine of the angle whose half has this tangent."""
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)


MOTIONS: dict[str, Callable[[_Rest, Draws], Path]] = {
    "clockwise": _spin(1),
    "counter-clockwise": _spin(-1),
    "down": _straight(0, 1),
    "grow": _scale(1),
    "left": _straight(-1, 0),
    "orbit-clockwise": _orbit(1),
    "orbit-counter-clockwise": _orbit(-1),
    "right": _straight(1, 0),
    "shrink": _scale(-1),
    "up": _straight(0, -1),
}
"""The classes, in order."""

UNKNOWN: dict[str, Callable[[_Rest, Draws], Path]] = {
    "pulse": _pulse,
    "shake": _shake,
    "swing": _swing,
    "zigzag": _zigzag,
}
"""Motions that are none of the classes, in order."""
