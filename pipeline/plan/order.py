"""The global random order of an epoch: which source sample stands at which position.

Positions are those of one epoch; `pipeline.plan.reuse` has the orders of epochs that share decodes.
The order is a keyed permutation computed index by index (a Feistel network with cycle walking; Black and
Rogaway, 2002), so a shard costs its own length whatever the size of the dataset, and needs no array of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.plan.rng import Purpose, words

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
    indices = _permute(places.astype(np.uint64), keys, num_bits)
    # Walk the cycle of an index outside until it comes back in: at most one in two is outside.
    outside = np.flatnonzero(indices >= length)
    while len(outside):
        indices[outside] = _permute(indices[outside], keys, num_bits)
        outside = outside[indices[outside] >= length]
    return indices.astype(np.int64)


def _permute(values: U64, keys: U64, num_bits: int) -> U64:
    """Permute [0, 2^num_bits) by an unbalanced Feistel network whose halves trade places each round."""
    right_bits = num_bits // 2
    left_bits = num_bits - right_bits
    left, right = values >> np.uint64(right_bits), values & _mask(right_bits)
    for key in keys:
        left, right = right, left ^ (_scramble(right, key) & _mask(left_bits))
        left_bits, right_bits = right_bits, left_bits
    return (left << np.uint64(right_bits)) | right


def _mask(num_bits: int) -> np.uint64:
    return np.uint64((1 << num_bits) - 1)


def _scramble(values: U64, key: np.uint64) -> U64:
    """Hash with the finaliser of splitmix64 (Steele et al., 2014)."""
    mixed = values + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MULTIPLIER1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MULTIPLIER2
    return mixed ^ (mixed >> np.uint64(31))
