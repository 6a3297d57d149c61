"""What dataset.json and the epoch manifests say of where samples are. Reads them; opens no tar."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError
from pipeline.shards.codecs import npy_header
from pipeline.shards.dataset import Json, sample_shape_of
from pipeline.shards.layout import ShardName, epoch_folder, key_of
from pipeline.shards.lost import lost_positions, positions_of_rows, samples_of_epoch
from pipeline.shards.reader import read_manifest
from pipeline.store import Store

I64 = npt.NDArray[np.int64]

_COLUMNS = ("label", "offset", "size", "crc32")
_SOFT_COLUMNS = ("second_label", "label_weight")
"""Columns of roots whose samples were mixed from two pictures of the source."""


@dataclass(frozen=True)
class SoftLabels:
    """What makes the labels of an epoch shares of its classes.

    Attributes:
        num_classes: of the root.
        second: int32 [n], the class of each sample's second picture.
        weight: float32 [n], the share of its first, 0 to 1; the rest is the second's.
    """

    num_classes: int
    second: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True)
class EpochIndex:
    """Where the samples of one epoch are.

    Attributes:
        epoch: its number in the root.
        codec: the codec's name.
        shape: of one decoded sample, uint8.
        shards: its shards, in order.
        shard_bytes: int64 [num_shards], the size of each tar.
        starts: int64 [num_shards + 1], the first position of each shard, then the number of samples.
        labels: int32 [n].
        offsets: int64 [n], where each payload begins in its tar.
        sizes: int64 [n], bytes of each payload.
        crcs: uint32 [n], CRC-32 of each payload.
        soft: for roots whose samples have two labels.
        lost: int64 [k], ascending, positions that hold no sample, as dataset.json tells. What is called a
            position elsewhere in this package is the number of a sample among those that are there.
    """

    epoch: int
    codec: str
    shape: tuple[int, ...]
    shards: list[ShardName]
    shard_bytes: I64
    starts: I64
    labels: npt.NDArray[np.int32]
    offsets: I64
    sizes: I64
    crcs: npt.NDArray[np.uint32]
    soft: SoftLabels | None = None
    lost: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def shard_of(self, position: int) -> int:
        """Return the number, in this epoch, of the shard that holds a position."""
        return bisect.bisect_right(self.starts, position) - 1

    def key(self, position: int) -> str:
        """Return the key of a position."""
        return self.keys([position])[0]

    def keys(self, positions: Sequence[int] | I64) -> list[str]:
        """Return the keys of some positions."""
        places = positions_of_rows(np.asarray(positions, np.int64), self.lost)
        return [key_of(self.epoch, place) for place in places.tolist()]

    def shares(self, positions: I64) -> npt.NDArray[np.float32]:
        """Return the share of each class in some samples of a root with `soft`, float32 [n, num_classes]."""
        soft = self.soft
        assert soft is not None
        pairs = self.labels[positions], soft.second[positions], soft.weight[positions]
        return class_shares(*pairs, soft.num_classes)


def class_shares(
    first: npt.NDArray[np.int32],
    second: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    num_classes: int,
) -> npt.NDArray[np.float32]:
    """Return the share of each class, float32 [n, num_classes], for n pairs of classes.

    `weight` is the share of the first, float32 [n] in [0, 1]; each row adds up to 1.
    """
    rows = np.arange(len(first))
    shares = np.zeros((len(first), num_classes), np.float32)
    shares[rows, second] = 1 - weight
    shares[rows, first] += weight  # of the same class perhaps
    return shares


def read_index(store: Store, dataset: Json, epoch: int) -> EpochIndex:
    """Read the manifest of an epoch and check it against dataset.json.

    Raises:
        DreamshardsError: the manifest is missing, altered or unreadable, or contradicts dataset.json.
    """
    merged = dataset["manifests"][epoch]
    folder = (
        f"{epoch_folder(epoch)}/"  # of up to 10^6 shards in all, those of this epoch are made alone
    )
    chosen = [entry for entry in dataset["shards"] if entry["file"].startswith(folder)]
    starts = np.array([0, *accumulate(entry["samples"] for entry in chosen)], np.int64)
    edges = starts.tolist()
    columns = (*_COLUMNS, *_SOFT_COLUMNS)  # those that a root does not have are not read
    rows = read_manifest(store, merged["file"], merged["sha256"], columns)
    index = EpochIndex(
        epoch,
        dataset["sample"]["codec"],
        sample_shape_of(dataset, epoch),
        [ShardName(epoch, shard, *edges[shard : shard + 2]) for shard in range(len(chosen))],
        np.array([entry["bytes"] for entry in chosen], np.int64),
        starts,
        rows["label"].to_numpy().astype(np.int32),
        rows["offset"].to_numpy().astype(np.int64),
        rows["size"].to_numpy().astype(np.int64),
        rows["crc32"].to_numpy().astype(np.uint32),
        _soft_labels(rows, len(dataset["classes"])),
        lost_positions(dataset, epoch),
    )
    reason = _contradiction(index, samples_of_epoch(dataset, epoch))
    if reason:
        raise DreamshardsError(
            f"{store.address(merged['file'])}: {reason}; `dreamshards verify {store}` lists what is wrong"
        )
    return index


def read_videos(store: Store, dataset: Json, epoch: int) -> I64:
    """Return the number of each position's video, int64 [n], from 0 in the order in which they first come.

    Where a position holds no sample it is -1.

    Raises:
        DreamshardsError: as `read_index`.
    """
    merged = dataset["manifests"][epoch]
    rows = read_manifest(store, merged["file"], merged["sha256"], ("source_id",))
    encoded = rows["source_id"].combine_chunks().dictionary_encode()
    lost = lost_positions(dataset, epoch)
    numbers: I64 = np.full(len(encoded) + len(lost), -1, np.int64)
    numbers[positions_of_rows(np.arange(len(encoded)), lost)] = encoded.indices.to_numpy()
    return numbers


def _soft_labels(rows: pa.Table, num_classes: int) -> SoftLabels | None:
    if not set(_SOFT_COLUMNS) <= set(rows.column_names):
        return None
    second, weight = (rows[name].to_numpy() for name in _SOFT_COLUMNS)
    return SoftLabels(num_classes, second.astype(np.int32), weight.astype(np.float32))


def _soft_contradiction(index: EpochIndex, soft: SoftLabels) -> str | None:
    limit = soft.num_classes
    columns = {
        "label": (index.labels >= 0) & (index.labels < limit),
        "second_label": (soft.second >= 0) & (soft.second < limit),
        "label_weight": (soft.weight >= 0) & (soft.weight <= 1),
    }
    for name, allowed in columns.items():
        if not allowed.all():
            most = 1 if name == "label_weight" else limit - 1
            return f"sample {index.key(int(allowed.argmin()))} is altered: {name} is not within 0 to {most}"
    return None


def _contradiction(index: EpochIndex, num_samples: int) -> str | None:
    """Return in what an index breaks the contract that reads rely on, or None."""
    if not len(index) == num_samples == index.starts[-1]:
        return f"{len(index):,} rows for {num_samples:,} samples in {index.starts[-1]:,} of shards"
    limits = np.repeat(index.shard_bytes, np.diff(index.starts))
    inside = (index.offsets >= 0) & (index.sizes > 0) & (index.offsets + index.sizes <= limits)
    if not inside.all():
        return f"sample {index.key(int(inside.argmin()))} lies outside its tar"
    if index.codec == "npy":
        expected = len(npy_header(index.shape)) + int(np.prod(index.shape))
        same = index.sizes == expected
        if not same.all():
            return f"sample {index.key(int(same.argmin()))} is not of {expected:,} bytes, as {index.shape} is"
    return None if index.soft is None else _soft_contradiction(index, index.soft)
