"""How steadily an augmentation changes the frames of a clip, from the clean clip and the augmented one.

With values from 0 to 1, X_t are the clean frames, Y_t the augmented ones, and P_t = Y_t − X_t is the
perturbation of frame t. Means are over all values of all frames, or of all pairs of frames that follow each
other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_LUMA = np.array([0.299, 0.587, 0.114])


class Coherence(NamedTuple):
    """What the perturbation of a clip does from frame to frame; NaN stands for what is divided by nothing.

    Attributes:
        perturbation: mean |P_t|.
        changes: mean |P_{t+1} − P_t| / mean |P|, float64 [T − 1], the numerator's mean being over frame t.
        lag1_correlation: Σ_t ⟨Q_t, Q_{t+1}⟩ / √(Σ_t |Q_t|² · Σ_t |Q_{t+1}|²), where Q_t is P_t less the mean
            of each of its channels; 1 of a frozen perturbation.
        flicker: standard deviation over t of the mean luminance of Y_t (ITU-R BT.601).
        tv_inflation: mean |Y_{t+1} − Y_t| / mean |X_{t+1} − X_t|.
    """

    perturbation: float
    changes: F64
    lag1_correlation: float
    flicker: float
    tv_inflation: float

    @property
    def change_ratio(self) -> float:
        """The mean of `changes`: 0 of a frozen perturbation, about √2 where each frame's is on its own."""
        return float(self.changes.mean()) if len(self.changes) else float("nan")


def coherence(clean: U8, augmented: U8) -> Coherence:
    """Measure a clip, of which one frame is in memory as numbers at a time.

    Args:
        clean: uint8 [T, H, W, 3].
        augmented: of the same shape.

    Raises:
        UsageError: arrays of other types or shapes.
    """
    _check(clean, augmented)
    products = np.zeros(3)
    sizes: list[float] = []
    luminance: list[float] = []
    steps: tuple[list[float], ...] = [], [], []  # of X, Y and P
    before: tuple[F64, ...] | None = None
    for frames in zip(clean, augmented, strict=True):
        x, y = (frame.astype(np.float64) / 255 for frame in frames)
        p = y - x
        q = p - p.mean(axis=(0, 1))
        sizes.append(np.abs(p).mean())
        luminance.append(y.mean(axis=(0, 1)) @ _LUMA)
        if before is not None:
            for values, now, then in zip(steps, (x, y, p), before[:3], strict=True):
                values.append(float(np.abs(now - then).mean()))
            products += [(before[3] * q).sum(), (before[3] ** 2).sum(), (q**2).sum()]
        before = x, y, p, q
    size, (moving, moved, changes) = float(np.mean(sizes)), map(np.array, steps)
    return Coherence(
        size,
        changes / size if size else np.full(len(changes), np.nan),
        _ratio(products[0], np.sqrt(products[1] * products[2])),
        float(np.std(luminance)),
        _ratio(moved.sum(), moving.sum()),
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _check(clean: U8, augmented: U8) -> None:
    for name, clip in (("clean", clean), ("augmented", augmented)):
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or clip.size == 0:
            raise UsageError(
                f"{name}: got {clip.dtype} {list(clip.shape)}; allowed: a clip, uint8 [T, H, W, 3]"
            )
    if clean.shape != augmented.shape:
        raise UsageError(
            f"augmented: got shape {list(augmented.shape)}; allowed: that of clean, {list(clean.shape)}"
        )
