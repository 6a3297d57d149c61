"""What the tests of corruptions share: pictures, and SplitMix64 in plain Python for their slow twins."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1


class Words:
    """The random numbers of a sample, one after the other, from the published SplitMix64."""

    def __init__(self, seed: int) -> None:
        self._state = int(seed)

    def word(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def unit(self) -> float:
        return (self.word() >> 11) * 2.0**-53

    def signed(self) -> float:
        return (self.word() >> 11) * 2.0**-52 - 1.0

    def signed_array(self, *shape: int) -> npt.NDArray[np.float64]:
        return np.array([self.signed() for _ in range(math.prod(shape))]).reshape(shape)

    def normals(self, num: int) -> npt.NDArray[np.float64]:
        values: list[float] = []
        while len(values) < num:
            x, y = self.signed(), self.signed()
            square = x * x + y * y
            if 0.0 < square < 1.0:
                scale = math.sqrt(-2.0 * math.log(square) / square)
                values += [x * scale, y * scale]
        return np.array(values[:num])


def pictures(num: int, size: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return pictures with soft shapes, grain, and patches of pure black and white."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-60, 316, (num, 5, 5, 3))
    places = np.arange(size) * 4096 // max(size - 1, 1)
    first, share = np.minimum(places // 1024, 3), places % 1024
    tall = coarse[:, first] * (1024 - share)[:, None, None]
    tall = tall + coarse[:, first + 1] * share[:, None, None]
    share = np.where(first == 3, places - 3072, share)
    wide = tall[:, :, first] * (1024 - share)[:, None] + tall[:, :, first + 1] * share[:, None]
    grain = rng.integers(-12, 13, (num, size, size, 3))
    return np.clip(wide // 1024**2 + grain, 0, 255).astype(np.uint8)


def flat(value: int, size: int, num: int = 2) -> npt.NDArray[np.uint8]:
    return np.full((num, size, size, 3), value, np.uint8)


def seeds(num: int, first: int = 1) -> npt.NDArray[np.uint64]:
    return np.array([Words(first + k).word() for k in range(num)], np.uint64)


def finished(x: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def assert_close(ours: npt.NDArray[np.uint8], twin: npt.NDArray[np.uint8], share: float) -> None:
    """Assert that no byte is off by more than 1, and at most this share of them is."""
    difference = np.abs(ours.astype(np.int64) - twin)
    assert difference.max() <= 1, difference.max()
    assert np.count_nonzero(difference) <= share * difference.size, np.count_nonzero(difference)
