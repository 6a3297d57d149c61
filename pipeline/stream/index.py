"""What dataset.json and the epoch manifests say of where samples are. Reads them; opens no tar."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError
from pipeline.shards.codecs import npy_header
from pipeline.shards.dataset import Json
from pipeline.shards.layout import ShardName, key_of
from pipeline.shards.reader import read_manifest, shard_names
from pipeline.shards.store import Store

I64 = npt.NDArray[np.int64]

_COLUMNS = ("label", "offset", "size", "crc32")


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

    def __len__(self) -> int:
        return len(self.labels)

    def shard_of(self, position: int) -> int:
        """Return the number, in this epoch, of the shard that holds a position."""
        return bisect.bisect_right(self.starts, position) - 1

    def key(self, position: int) -> str:
        """Return the key of a position."""
        return key_of(self.epoch, position)


def read_index(store: Store, dataset: Json, epoch: int) -> EpochIndex:
    """Read the manifest of an epoch and check it against dataset.json.

    Raises:
        DreamshardsError: the manifest is missing, altered or unreadable, or contradicts dataset.json.
    """
    merged = dataset["manifests"][epoch]
    pairs = zip(shard_names(dataset), dataset["shards"], strict=True)
    chosen = [(name, entry) for name, entry in pairs if name.epoch == epoch]
    rows = read_manifest(store, merged["file"], merged["sha256"], _COLUMNS)
    sample = dataset["sample"]
    index = EpochIndex(
        epoch,
        sample["codec"],
        tuple(sample["shape"]),
        [name for name, _ in chosen],
        np.array([entry["bytes"] for _, entry in chosen], np.int64),
        np.array([0, *(name.stop for name, _ in chosen)], np.int64),
        rows["label"].to_numpy().astype(np.int32),
        rows["offset"].to_numpy().astype(np.int64),
        rows["size"].to_numpy().astype(np.int64),
        rows["crc32"].to_numpy().astype(np.uint32),
    )
    reason = _contradiction(index, dataset["samples_per_epoch"])
    if reason:
        raise DreamshardsError(
            f"{store.address(merged['file'])}: {reason}; `dreamshards verify {store}` lists what is wrong"
        )
    return index


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
    return None
