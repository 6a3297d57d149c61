"""The pictures that feature visualisation can make: Fourier coefficients to colours, and noise among them.

Mordvintsev et al., "Differentiable Image Parameterizations" (Distill 2018): coefficients are weighted by
1 / frequency and belong to decorrelated colours, so that one step of a coefficient moves the picture about as
much as a step of any other.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

F32 = npt.NDArray[np.float32]

GROUND = 0.6
"""A picture's mean colour is within ± this in each channel, before the squash."""

_CONTRAST = 0.55  # root mean square around the mean colour, before the squash

# Rows R, G, B of three unit vectors: light, orange-blue, magenta-green, about the principal colours of
# photographs; the latter two have a larger share here, since these pictures are to be colourful.
_COLOURS = np.array([[0.56, 0.69, 0.35], [0.59, 0.0, -0.86], [0.58, -0.72, 0.37]]) * [1, 0.45, 0.32]


class _Basis(NamedTuple):
    amplitude: F32  # [S, S // 2 + 1], 1 / frequency, 0 for the mean
    order: npt.NDArray[np.int64]  # coefficients, coarse to fine: a larger picture starts alike


@functools.lru_cache(maxsize=4)
def _basis(canvas: int) -> _Basis:
    across = np.arange(canvas // 2 + 1)
    down = np.minimum(np.arange(canvas), canvas - np.arange(canvas))[:, None]
    frequency = np.sqrt(down * down + across * across)
    amplitude = (frequency > 0) / np.maximum(frequency, 1)
    order = np.argsort(np.maximum(down, across).ravel(), kind="stable")
    return _Basis(amplitude.astype(np.float32), order)


def pictures_of(coefficients: torch.Tensor, ground: torch.Tensor, canvas: int) -> torch.Tensor:
    """Return pictures in (−1, 1), float32 [n, 3, S, S].

    Args:
        coefficients: float32 [n, 3, S, S // 2 + 1, 2], of the decorrelated colours.
        ground: float32 [n, 3], the mean colours before the squash.
        canvas: S, pixels.
    """
    import torch

    spectrum = torch.view_as_complex(
        coefficients * torch.from_numpy(_basis(canvas).amplitude)[..., None]
    )
    planes = torch.fft.irfft2(spectrum, s=(canvas, canvas), norm="ortho").flatten(2)
    colours = torch.from_numpy(_COLOURS.astype(np.float32)).expand(len(planes), 3, 3)
    x = torch.bmm(colours, planes).reshape(len(planes), 3, canvas, canvas)
    energy = (x * x).mean((1, 2, 3), keepdim=True)
    x = x * (_CONTRAST / torch.sqrt(energy + 1e-12)) + ground[:, :, None, None]
    squashed: torch.Tensor = x / torch.sqrt(1 + x * x)
    return squashed


def noise(word: int, canvas: int) -> F32:
    """Return coefficients in [−1, 1), float32 [3, S, S // 2 + 1, 2], the coarse ones alike at every size.

    Args:
        word: 64 random bits.
        canvas: S, pixels.
    """
    order = _basis(canvas).order
    words = np.random.Philox(key=np.array([word, 0], np.uint64)).random_raw(6 * len(order))
    signed = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    out = np.empty((3, len(order), 2), np.float32)
    out[:, order] = signed.reshape(-1, 3, 2).swapaxes(0, 1)
    return out.reshape(3, canvas, canvas // 2 + 1, 2)


def reference_pictures(count: int, canvas: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise of the starting spectrum and flat colours, both float32 [count, 3, S, S] in (−1, 1)."""
    import torch

    coefficients = torch.from_numpy(np.stack([noise(word, canvas) for word in range(count)]))
    words = np.random.Philox(key=np.array([0, 1], np.uint64)).random_raw(count * 3)
    ground = GROUND * ((words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - 1)
    colours = torch.from_numpy(ground.reshape(count, 3))
    flat = (colours / torch.sqrt(1 + colours * colours))[:, :, None, None]
    return pictures_of(coefficients, colours, canvas), flat.expand(-1, -1, canvas, canvas)
