"""Which shards of a build are still to be made, from listings, without a list of their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from pipeline.sampling import Inputs, samples_per_shard
from pipeline.shards.layout import EpochShards, ShardName, parse_file, shards_of_epoch
from pipeline.store import Store

I64 = npt.NDArray[np.int64]


def plan_epochs(inputs: Inputs) -> list[EpochShards]:
    """Return the shards of each epoch of a build.

    Raises:
        DreamshardsError: more samples or shards than names are wide for.
    """
    recipe, num_samples = inputs.recipe, len(inputs.source.labels)
    return [
        shards_of_epoch(epoch, num_samples, samples_per_shard(recipe, epoch))
        for epoch in range(recipe.epochs)
    ]


def plan_shards(inputs: Inputs) -> Iterator[ShardName]:
    """Yield every shard of a build, in order."""
    return chain.from_iterable(plan_epochs(inputs))


class Pending:
    """The shards that are not committed, in order. It takes a byte for each shard of the build."""

    def __init__(self, store: Store, epochs: Sequence[EpochShards]) -> None:
        """List the root: a shard is committed whose tar and manifest are there.

        Raises:
            StoreError: it cannot be listed.
        """
        self._epochs = epochs
        found = {
            suffix: [np.zeros(len(each), bool) for each in epochs] for suffix in ("tar", "parquet")
        }
        for entry in store.entries():
            place = parse_file(entry.path)
            if place is not None:
                epoch, shard, suffix = place
                if epoch < len(epochs) and shard < len(epochs[epoch]):
                    found[suffix][epoch][shard] = True
        both = zip(found["tar"], found["parquet"], strict=True)
        self._missing = [~(tars & manifests) for tars, manifests in both]

    def __len__(self) -> int:
        return sum(map(np.count_nonzero, self._missing))

    def __iter__(self) -> Iterator[ShardName]:
        for shards, missing in zip(self._epochs, self._missing, strict=True):
            for shard in np.flatnonzero(missing):
                yield shards[int(shard)]

    def num_samples(self) -> I64:
        """Return how many samples are missing of each epoch, int64 [epochs]."""
        parts = zip(self._epochs, self._missing, strict=True)
        return np.array([shards.lengths()[missing].sum() for shards, missing in parts], np.int64)
