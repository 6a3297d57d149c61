"""How steadily an augmentation changes the frames of a clip, from the clean clip and the augmented one.

X_t are the clean frames and Y_t the augmented ones, with values from 0 to 1; P_t = Y_t − X_t is the
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
_MIN_FRAMES = 2


class Coherence(NamedTuple):
    """What the perturbation of a clip does from frame to frame. NaN stands for nothing divided by nothing.

    Attributes:
        perturbation: mean |P_t|.
        change_ratio: mean |P_{t+1} − P_t| / mean |P_t|; 0 of a frozen perturbation, and about √2 where each
            frame's is drawn by itself.
        lag1_correlation: Σ_t ⟨Q_t, Q_{t+1}⟩ / √(Σ_t |Q_t|² · Σ_t |Q_{t+1}|²), where Q_t is P_t less the mean
            of each of its channels; 1 of a frozen perturbation.
        flicker: standard deviation over time of the mean luminance of Y_t (ITU-R BT.601).
        tv_inflation: mean |Y_{t+1} − Y_t| / mean |X_{t+1} − X_t|; infinite where the clean clip stands still.
    """

    perturbation: float
    change_ratio: float
    lag1_correlation: float
    flicker: float
    tv_inflation: float


def coherence(clean: U8, augmented: U8) -> Coherence:
    """Measure a clip.

    Args:
        clean: uint8 [T, H, W, 3], at least two frames.
        augmented: of the same shape.

    Raises:
        UsageError: arrays of other types or shapes, or of one frame.
    """
    _check(clean, augmented)
    changes, sums = np.zeros(3), np.zeros(3)
    sizes, luminance = [], []
    before: tuple[F64, F64, F64, F64] | None = None
    for frames in zip(clean, augmented, strict=True):
        x, y = (frame.astype(np.float64) / 255 for frame in frames)
        p = y - x
        q = p - p.mean(axis=(0, 1))
        sizes.append(np.abs(p).mean())
        luminance.append((y.mean(axis=(0, 1)) * _LUMA).sum())
        if before is not None:
            pairs = zip((p, y, x), before[:3], strict=True)
            changes += [np.abs(now - then).mean() for now, then in pairs]
            then = before[3]
            sums += [(then * q).sum(), (then * then).sum(), (q * q).sum()]
        before = p, y, x, q
    change, moved, moving = (changes / (len(clean) - 1)).tolist()
    size = float(np.mean(sizes))
    return Coherence(
        size,
        _ratio(change, size),
        _ratio(float(sums[0]), float(np.sqrt(sums[1] * sums[2]))),
        float(np.std(luminance)),
        _ratio(moved, moving),
    )


def _ratio(part: float, whole: float) -> float:
    if whole == 0:
        return float("nan") if part == 0 else float("inf")
    return part / whole


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
    if len(clean) < _MIN_FRAMES:
        raise UsageError(f"clean: got {len(clean)} frame; allowed: two or more, to compare them")
