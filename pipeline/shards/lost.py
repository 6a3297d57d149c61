"""Positions of a root without a sample, which could not be made: dataset.json and manifests name them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json
from pipeline.shards.layout import ShardName, parse_key
from pipeline.shards.manifest import Loss

I64 = npt.NDArray[np.int64]


def losses_of(dataset: Json) -> list[Loss]:
    """Return the samples that a finished root lacks, in order of their keys."""
    return [Loss(**loss) for loss in dataset.get("losses", ())]


def lost_positions(dataset: Json, epoch: int) -> I64:
    """Return the positions of an epoch without a sample, int64 [n], ascending."""
    places = (parse_key(loss.key) for loss in losses_of(dataset))
    found = [place[1] for place in places if place is not None and place[0] == epoch]
    return np.array(sorted(found), np.int64)


def samples_of_epoch(dataset: Json, epoch: int) -> int:
    """Return how many samples an epoch holds."""
    return int(dataset["samples_per_epoch"]) - len(lost_positions(dataset, epoch))


def positions_of_rows(rows: I64, lost: I64) -> I64:
    """Return the position of each of some rows of an epoch, int64 [n], given its positions without a sample.

    Row r is the r-th position that has one.
    """
    return rows + np.searchsorted(lost - np.arange(len(lost)), rows, "right")


def positions_of_shard(name: ShardName, lost: I64) -> I64:
    """Return the positions of a shard that have a sample, int64 [n], ascending."""
    every = np.arange(name.start, name.stop)
    return every[~np.isin(every, lost)] if len(lost) else every


def check_whole(dataset: Json, where: str, what: str) -> None:
    """Refuse a root that lacks samples where all of them count.

    Raises:
        DreamshardsError: it lacks some; `what` says what cannot be done with it.
    """
    lost = losses_of(dataset)
    if lost:
        raise DreamshardsError(
            f"{where} lacks {len(lost):,} samples that could not be made, such as {lost[0].key} of "
            f"{lost[0].source_id} ({lost[0].reason}); {what}: take their files out of the source and "
            "build it again in a new root"
        )
