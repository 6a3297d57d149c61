"""Clips whose content moves, and the real ones where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

U8 = npt.NDArray[np.uint8]

REAL = Path(__file__).parents[2] / "shared" / "data"


def moving_clip(frames: int, size: int, seed: int = 0) -> U8:
    """Return smooth coloured waves that drift under a hard-edged square that moves, uint8 [T, S, S, 3]."""
    rng = np.random.default_rng(seed)
    wave, phase = rng.normal(0, 6 / size, (2, 3)), rng.uniform(0, 6, 3)
    rows, columns = np.ogrid[:size, :size]
    clip = np.empty((frames, size, size, 3), np.uint8)
    for t in range(frames):
        angle = rows[..., None] * wave[0] * 6 + columns[..., None] * wave[1] * 6 + phase + t * 0.02
        clip[t] = 128 + 100 * np.sin(angle)
        clip[t, size // 4 : size // 2, t % (size // 2) : t % (size // 2) + size // 4] = (
            250,
            40,
            10,
        )
    return clip


def real_clip(name: str, frames: int, size: int) -> U8:
    """Return the middle square of the first frames of a real video, uint8 [T, S, S, 3]; skip without it."""
    av = pytest.importorskip("av")
    path = REAL / name
    if not path.exists():
        pytest.skip(f"no {name} beside the repository")
    found: list[U8] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            side = min(frame.width, frame.height)
            picture = frame.to_image()
            left, top = (frame.width - side) // 2, (frame.height - side) // 2
            square = picture.crop((left, top, left + side, top + side)).resize((size, size))
            found.append(np.asarray(square, np.uint8))
            if len(found) == frames:
                break
    assert len(found) == frames
    return np.stack(found)
