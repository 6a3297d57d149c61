"""Random numbers as a function of a structured key; nothing here or above touches a global generator.

A stream is Philox 4×64 (Salmon et al., 2011) with key (seed, purpose) and counter (·, ·, block, epoch), so
two different keys can never share a word. Only the bit generator's raw words are used, which NumPy keeps
stable between versions, and only exact arithmetic turns them into decisions.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

F64 = npt.NDArray[np.float64]


_WORDS = 4
"""Words that Philox 4×64 makes of one counter."""


class Purpose(enum.IntEnum):
    """What a stream decides; a number once used is never given another meaning."""

    ORDER = 1
    BASE = 2
    PIXMIX = 3
    CHECK = 4
    PAIR = 5
    SECOND_BASE = 6
    NOISE = 7
    CLIP_START = 8
    SECOND_START = 9
    VPIXMIX = 10
    VPIXMIX_PICTURE = 11
    CUBOID = 12


def words(
    seed: int, purpose: Purpose, *, epoch: int, block: int, count: int, skip: int = 0
) -> npt.NDArray[np.uint64]:
    """Return `count` words of a stream from word `skip` on, uint64; what is skipped costs nothing."""
    places, rest = divmod(skip, _WORDS)
    generator = np.random.Philox(
        key=np.array([seed, purpose], np.uint64),
        counter=np.array([places, 0, block, epoch], np.uint64),
    )
    raw: npt.NDArray[np.uint64] = generator.random_raw(rest + count)
    return raw[rest:]


@kernel
def _fill_columns(rows: npt.NDArray[np.uint64], columns: F64) -> None:
    """Turn raw words [n, width] into numbers [width, n] uniform on the open interval (0, 1), 52 bits each."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            columns[j, i] = (float(rows[i, j] >> np.uint64(12)) + 0.5) * 2.0**-52


def integers(u: F64, count: int | npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Turn uniforms into whole numbers of [0, count); `count` ≥ 1 broadcasts against `u`."""
    return np.minimum((u * count).astype(np.int32), np.asarray(count, np.int32) - 1)


BLOCK = 1024
"""Positions per block. Part of the format: another value gives other decisions."""


def word_rows(
    seed: int, purpose: Purpose, *, epoch: int, start: int, stop: int
) -> npt.NDArray[np.uint64]:
    """Return a word for each position in [start, stop), uint64 [stop − start]: the seed of its own draws."""
    out = np.empty(stop - start, np.uint64)
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first, last = max(start, block * BLOCK), min((block + 1) * BLOCK, stop)
        place = {"epoch": epoch, "block": block, "skip": first - block * BLOCK}
        out[first - start : last - start] = words(seed, purpose, count=last - first, **place)
    return out


def uniform_rows(
    seed: int, purpose: Purpose, *, epoch: int, start: int, stop: int, width: int
) -> F64:
    """Return `width` uniforms for each position in [start, stop), float64 [stop − start, width].

    A position's row depends on (seed, purpose, epoch, position, width) alone. In memory a column lies end to
    end, for decisions are made column by column.
    """
    columns = np.empty((width, stop - start))
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first, last = block * BLOCK, min((block + 1) * BLOCK, stop)
        wanted = max(start, first)
        count, skip = (last - wanted) * width, (wanted - first) * width
        raw = words(seed, purpose, epoch=epoch, block=block, count=count, skip=skip)
        _fill_columns(raw.reshape(-1, width), columns[:, wanted - start : last - start])
    return columns.T
