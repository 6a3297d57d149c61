"""How a clip's perturbation, what augmentation added to each frame, goes on from one frame to the next.

With pixels from 0 to 1, clean frames X_t and augmented ones Y_t, the perturbation is P_t = Y_t − X_t.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def changes(clean: U8, augmented: U8) -> F64:
    """Return mean |P_{t+1} − P_t| / mean |P| for each t, float64 [T − 1]; NaN where nothing was added.

    The numerator's mean is over a frame, the denominator's over the clip, both uint8 [T, H, W, 3]. The mean
    over t is the perturbation change ratio: 0 where all frames meet the same, about √2 where each is on its
    own.
    """
    added = _perturbation(clean, augmented)
    steps = np.abs(np.diff(added, axis=0)).mean(axis=(1, 2, 3), dtype=np.float64)
    size = float(np.abs(added).mean(dtype=np.float64))
    return np.asarray(steps / size if size else np.full(len(steps), np.nan), np.float64)


def lag_1_correlation(clean: U8, augmented: U8) -> float:
    """Return the mean over t of the correlation of P_t and P_{t+1}, each less its mean over the frame.

    NaN of a single frame, and where a frame's perturbation is the same in every pixel.
    """
    if len(clean) == 1:
        return float("nan")
    added = _perturbation(clean, augmented).reshape(len(clean), -1).astype(np.float64)
    added -= added.mean(axis=1, keepdims=True)
    norms = np.sqrt((added**2).sum(axis=1))
    products = (added[1:] * added[:-1]).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return float((products / (norms[1:] * norms[:-1])).mean())


def flicker(augmented: U8) -> float:
    """Return the standard deviation over t of the mean luminance of Y_t."""
    weights = np.array([0.299, 0.587, 0.114])
    return float((augmented.mean(axis=(1, 2)) @ weights / 255).std())


def tv_inflation(clean: U8, augmented: U8) -> float:
    """Return mean |Y_{t+1} − Y_t| / mean |X_{t+1} − X_t|; NaN of one that stands still."""
    if len(clean) == 1:
        return float("nan")
    before, after = (
        float(np.abs(np.diff(clip.astype(np.int16), axis=0)).mean()) for clip in (clean, augmented)
    )
    return after / before if before else float("nan")


def _perturbation(clean: U8, augmented: U8) -> F32:
    added: F32 = (augmented.astype(np.float32) - clean.astype(np.float32)) / np.float32(255)
    return added
