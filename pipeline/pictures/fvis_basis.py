"""The pictures that feature visualisation can make: Fourier coefficients to colours, and noise among them.

Mordvintsev et al., "Differentiable Image Parameterizations" (Distill 2018): coefficients are weighted by
1 / frequency and belong to decorrelated colours, so that one step of a coefficient moves the picture about as
much as a step of any other. Pictures are periodic: what leaves on one side enters on the other.
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

CONTRAST = 0.55
"""Root mean square of a picture around its mean colour, before the squash."""

# Rows R, G, B of three unit vectors: light, orange-blue, magenta-green, about the principal colours of
# photographs; the latter two have a larger share here, since these pictures are to be colourful.
_COLOURS = np.array([[0.56, 0.69, 0.35], [0.59, 0.0, -0.86], [0.58, -0.72, 0.37]]) * [1, 0.45, 0.32]


class _Basis(NamedTuple):
    amplitude: torch.Tensor  # float32 [S, S // 2 + 1, 1], 1 / frequency, 0 below the coarsest
    order: npt.NDArray[np.int64]  # coefficients, coarse to fine: a larger picture starts alike


@functools.lru_cache(maxsize=8)
def _basis(canvas: int, coarsest: int) -> _Basis:
    import torch

    across = np.arange(canvas // 2 + 1)
    down = np.minimum(np.arange(canvas), canvas - np.arange(canvas))[:, None]
    frequency = np.sqrt(down * down + across * across)
    amplitude = (frequency >= coarsest) / np.maximum(frequency, 1)
    order = np.argsort(np.maximum(down, across).ravel(), kind="stable")
    return _Basis(torch.from_numpy(amplitude.astype(np.float32)[..., None]), order)


def planes_of(
    coefficients: torch.Tensor, canvas: int, *, coarsest: int = 1, contrast: float = CONTRAST
) -> torch.Tensor:
    """Return pictures before the squash and without their mean colour, float32 [n, 3, S, S].

    Args:
        coefficients: float32 [n, 3, S, S // 2 + 1, 2], of the decorrelated colours.
        canvas: S, pixels.
        coarsest: the lowest frequency, in waves per picture.
        contrast: root mean square of each picture.
    """
    import torch

    spectrum = torch.view_as_complex(coefficients * _basis(canvas, coarsest).amplitude)
    planes = torch.fft.irfft2(spectrum, s=(canvas, canvas), norm="ortho").flatten(2)
    colours = torch.from_numpy(_COLOURS.astype(np.float32)).expand(len(planes), 3, 3)
    x = torch.bmm(colours, planes).reshape(len(planes), 3, canvas, canvas)
    energy = (x * x).mean((1, 2, 3), keepdim=True)
    scaled: torch.Tensor = x * (contrast / torch.sqrt(energy + 1e-12))
    return scaled


def squash(x: torch.Tensor) -> torch.Tensor:
    """Return x / √(1 + x²), in (−1, 1)."""
    import torch

    squashed: torch.Tensor = x / torch.sqrt(1 + x * x)
    return squashed


def enlarged(planes: torch.Tensor, canvas: int) -> torch.Tensor:
    """Return pictures [n, 3, s, s] at S = `canvas` ≥ s pixels: the same waves on a finer grid."""
    import torch

    side = planes.shape[-1]
    if side == canvas:
        return planes
    kept = (side + 1) // 2  # frequencies below Nyquist, on either side of 0
    small = torch.fft.rfft2(planes)
    large = small.new_zeros((*planes.shape[:2], canvas, canvas // 2 + 1))
    large[:, :, :kept, :kept] = small[:, :, :kept, :kept]
    large[:, :, canvas - kept + 1 :, :kept] = small[:, :, side - kept + 1 :, :kept]
    finer: torch.Tensor = torch.fft.irfft2(large, s=(canvas, canvas)) * (canvas / side) ** 2
    return finer


def noise(word: int, stage: int, canvas: int) -> F32:
    """Return coefficients in [−1, 1), float32 [3, S, S // 2 + 1, 2], the coarse ones alike at every size.

    Args:
        word: 64 random bits.
        stage: which of a picture's noises.
        canvas: S, pixels.
    """
    order = _basis(canvas, 1).order
    words = np.random.Philox(key=np.array([word, stage], np.uint64)).random_raw(6 * len(order))
    out = np.empty((3, len(order), 2), np.float32)
    out[:, order] = _signed(words).reshape(-1, 3, 2).swapaxes(0, 1)
    return out.reshape(3, canvas, canvas // 2 + 1, 2)


def reference_pictures(count: int, canvas: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise of the starting spectrum and flat colours, both float32 [count, 3, S, S] in (−1, 1)."""
    import torch

    coefficients = torch.from_numpy(np.stack([noise(word, 0, canvas) for word in range(count)]))
    words = np.random.Philox(key=np.array([count, 1], np.uint64)).random_raw(count * 3)
    ground = torch.from_numpy(GROUND * _signed(words).reshape(count, 3, 1, 1))
    flat = squash(ground).expand(-1, -1, canvas, canvas)
    return squash(planes_of(coefficients, canvas) + ground), flat


def _signed(words: npt.NDArray[np.uint64]) -> F32:
    """Return the upper 24 bits of each word as a number of [−1, 1)."""
    numbers: F32 = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - 1
    return numbers
