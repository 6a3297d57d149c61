"""Random numbers inside kernels: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).

The state is uint64 [1], advanced in place; start it with a word of `pipeline.pictures.draws.Draws`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U64 = npt.NDArray[np.uint64]


@kernel
def next_word(state: U64) -> np.uint64:
    """Advance `state` and return 64 random bits."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word: np.uint64 = z ^ (z >> np.uint64(31))
    return word


@kernel
def next_unit(state: U64) -> float:
    """Advance `state` and return a uniform number of [0, 1), a multiple of 2⁻⁵³."""
    return float(next_word(state) >> np.uint64(11)) * 2.0**-53


@kernel
def next_signed(state: U64) -> float:
    """Advance `state` and return a uniform number of [−1, 1), a multiple of 2⁻⁵²."""
    return float(next_word(state) >> np.uint64(11)) * 2.0**-52 - 1.0
