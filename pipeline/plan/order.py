"""The global random order of an epoch: which source sample stands at which position.

Positions are those of one epoch; `pipeline.plan.reuse` has the orders of epochs that share decodes.
The order is a keyed permutation computed index by index (a Feistel network with cycle walking; Black and
Rogaway, 2002), so a shard costs its own length whatever the size of the dataset, and needs no array of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.plan.rng import Purpose, words
from pipeline.render.jit import inlined, kernel, read_only

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_NUM_ROUNDS = 12
_MULTIPLIER1, _MULTIPLIER2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def source_indices(seed: int, epoch: int, num_samples: int, start: int, stop: int) -> I64:
    """Return the source index of each position in [start, stop), int64.

    Over all positions of an epoch every index of [0, num_samples) occurs once.
    """
    check_positions(num_samples, start, stop)
    return permuted(np.arange(start, stop), num_samples, seed=seed, epoch=epoch, block=0)


def check_positions(num_samples: int, start: int, stop: int) -> None:
    """Raise ValueError unless [start, stop) lies within an epoch of `num_samples`."""
    if not 0 <= start <= stop <= num_samples:
        raise ValueError(f"positions [{start}, {stop}) are not within [0, {num_samples})")


def permuted(places: I64, length: int, *, seed: int, epoch: int, block: int) -> I64:
    """Return what stands at some places of the permutation of [0, length) that the key names, int64."""
    keys = words(seed, Purpose.ORDER, epoch=epoch, block=block, count=_NUM_ROUNDS)
    num_bits = max(2, (length - 1).bit_length())
    indices = np.empty(len(places), np.int64)
    _permute(read_only(places), read_only(keys), num_bits, length, indices)
    return indices


@kernel
def _permute(places: I64, keys: U64, num_bits: int, length: int, indices: I64) -> None:
    """Permute [0, length), part of [0, 2^num_bits).

    The network is unbalanced, its halves trade places each round. An index outside is permuted again until it
    comes back in: at most one in two is outside.
    """
    low_bits = num_bits // 2
    low, high = np.uint64(low_bits), np.uint64(num_bits - low_bits)
    one, limit = np.uint64(1), np.uint64(length)
    for i in range(places.size):
        value = np.uint64(places[i])
        while True:
            right_bits, left_bits = low, high
            left, right = value >> low, value & ((one << low) - one)
            for key in keys:
                mixed = _scramble(right + key) & ((one << left_bits) - one)
                left, right = right, left ^ mixed
                left_bits, right_bits = right_bits, left_bits
            value = (left << low) | right
            if value < limit:
                break
        indices[i] = np.int64(value)


@inlined
def _scramble(value: np.uint64) -> np.uint64:
    """Hash with the finaliser of splitmix64 (Steele et al., 2014)."""
    value = (value ^ (value >> np.uint64(30))) * _MULTIPLIER1
    value = (value ^ (value >> np.uint64(27))) * _MULTIPLIER2
    return value ^ (value >> np.uint64(31))
