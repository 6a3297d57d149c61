"""What corruptions have in common: their type, and the arithmetic that every one of them ends or begins with.

A sample's bytes depend on its picture, the corruption, its severity and the sample's seed alone: a kernel
starts a SplitMix64 (`pipeline.pictures.splitmix`) from the seed of each sample, so a row can be made again
without its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import log
from pipeline.pictures.splitmix import next_signed
from pipeline.render.jit import inlined, kernel, read_only

U8: TypeAlias = npt.NDArray[np.uint8]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]
Constants: TypeAlias = tuple[float, ...]

NUM_SEVERITIES = 5
CIFAR_SIDE = 64
"""Pictures up to this side take the constants published for CIFAR, larger ones those for ImageNet."""


class Corruption(NamedTuple):
    """One corruption of a benchmark.

    Attributes:
        name: as in the published files.
        group: noise, blur, weather, digital or c-bar.
        cifar: the constants of severities 1 to 5 for pictures of CIFAR's size; None where the benchmark
            has no such corruption.
        imagenet: those for larger pictures.
        apply: (images uint8 [n, S, S, 3], C-contiguous, the constants of one severity, seeds uint64 [n]) →
            uint8 [n, S, S, 3], a new array.
    """

    name: str
    group: str
    cifar: Sequence[Constants] | None
    imagenet: Sequence[Constants] | None
    apply: Callable[[U8, Constants, U64], U8]


def rows(images: U8) -> U8:
    """Return the values of each picture in one row, uint8 [n, S·S·3], read-only: a kernel's input."""
    flat: U8 = read_only(images.reshape(len(images), -1))
    return flat


def planes(images: U8) -> U8:
    """Return each picture's rows with their channels side by side, uint8 [n, S, S·3], read-only."""
    lines: U8 = read_only(images.reshape(*images.shape[:2], -1))
    return lines


@inlined
def finish(value: float) -> np.uint8:
    """Return 255 · `value`, clipped to 0…255 and truncated: how the published pictures became bytes."""
    return np.uint8(min(max(value, 0.0), 1.0) * 255.0)


@inlined
def finish_bytes(value: float) -> np.uint8:
    """Return `value`, on the scale 0…255, clipped and truncated."""
    return np.uint8(min(max(value, 0.0), 255.0))


@kernel
def mirrored(index: int, size: int) -> int:
    """Return the index in 0…size − 1 that `index` shows where the edge is repeated: … 1 0 0 1 2 …"""
    place = index % (2 * size)
    return place if place < size else 2 * size - 1 - place


@kernel
def mirrored_inside(index: int, size: int) -> int:
    """Return the index in 0…size − 1 that `index` shows where the edge is not repeated: … 2 1 0 1 2 …"""
    period = max(2 * size - 2, 1)
    place = index % period
    return place if place < size else period - place


@kernel
def fill_normals(state: U64, out: F64) -> None:
    """Fill `out`, float64 [n], with standard normal numbers (Marsaglia's polar method, both of each pair).

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        out: written.
    """
    for place in range(0, out.size, 2):
        x = y = square = 0.0
        while square == 0.0 or square >= 1.0:
            x, y = next_signed(state), next_signed(state)
            square = x * x + y * y
        scale = np.sqrt(-2.0 * log(square) / square)
        out[place] = x * scale
        if place + 1 < out.size:
            out[place + 1] = y * scale
