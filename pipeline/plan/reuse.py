"""Orders of epochs that share decodes: with `reuse: M`, epochs g·M … g·M + M − 1 are a group.

A group cuts the dataset into parts as the order of its first epoch cuts it into shards, so that one job can
decode the sources of a part once and render them for M epochs. Within each epoch the parts stand as shards
in a fresh order, among those of equal length, and each shard's samples in a fresh order of their own.

Each epoch still holds every source once, at random, and any two of them share a shard as often as without
reuse, one time in as many as there are shards. What is given up: those that do, do so in every epoch of the
group, so the batches of these epochs are drawn afresh from the same parts, not from the whole dataset.
What is gained on photographs of 500×375 px at 224 px: 1.3 times the samples a second with M = 2, 1.5 times
with 4 (`tests/bench/jpeg.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.plan.order import check_positions, permuted
from pipeline.shards.layout import shard_edges

I64 = npt.NDArray[np.int64]

_PARTS, _WITHIN = 1, 3
"""Blocks of an epoch's order stream, of which 0 is the order without reuse: from `_PARTS` on one for each
length of shard, at most two; from `_WITHIN` on one for each shard. Part of the format."""


def first_of_group(epoch: int, reuse: int) -> int:
    """Return the first epoch of the group that `epoch` belongs to."""
    return epoch // reuse * reuse


def parts_of_epoch(seed: int, epoch: int, num_samples: int, num_shards: int) -> I64:
    """Return which part of the group's cut stands as each shard of an epoch, int64 [num_shards]."""
    lengths = np.diff(shard_edges(num_samples, num_shards))
    parts = np.empty(num_shards, np.int64)
    for number, length in enumerate(np.unique(lengths).tolist()):
        places = np.flatnonzero(lengths == length)
        order = permuted(
            np.arange(len(places)), len(places), seed=seed, epoch=epoch, block=_PARTS + number
        )
        parts[places] = places[order]
    return parts


def reused_indices(
    seed: int, epoch: int, num_samples: int, start: int, stop: int, *, reuse: int, num_shards: int
) -> I64:
    """Return the source index of each position in [start, stop) of an epoch, int64.

    Over all positions of an epoch every index of [0, num_samples) occurs once. A position's index depends
    on (seed, epoch, num_samples, position, reuse, num_shards) alone.
    """
    check_positions(num_samples, start, stop)
    if start == stop:
        return np.empty(0, np.int64)
    edges = shard_edges(num_samples, num_shards)
    parts = parts_of_epoch(seed, epoch, num_samples, num_shards)
    first, last = np.searchsorted(edges, [start, stop - 1], side="right").tolist()
    places = []
    for shard in range(first - 1, last):
        begin, end = edges[shard : shard + 2].tolist()
        within = np.arange(max(start, begin), min(stop, end)) - begin
        order = permuted(within, end - begin, seed=seed, epoch=epoch, block=_WITHIN + shard)
        places.append(edges[parts[shard]] + order)
    group = first_of_group(epoch, reuse)
    return permuted(np.concatenate(places), num_samples, seed=seed, epoch=group, block=0)
