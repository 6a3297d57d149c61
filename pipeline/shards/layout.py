"""Names inside a root, and how an epoch is split into shards. Pure functions.

ROOT/recipe.json                       the identity of the build, written first
ROOT/dataset.json                      written last: its presence means the build is complete
ROOT/epoch-0000/shard-000000.tar       stock WebDataset
ROOT/epoch-0000/shard-000000.parquet   its manifest: its presence means the shard is committed
ROOT/epoch-0000/manifest.parquet       all rows of the epoch
ROOT/.partial/                         files being written; gone when the build is complete
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError

RECIPE_NAME = "recipe.json"
DATASET_NAME = "dataset.json"
FORMAT_VERSION = 1

KEY_WIDTH = 15
"""Bytes of a key: epoch in 4 digits, '-', position in 10."""

_KEY = re.compile(r"([0-9]{4})-([0-9]{10})")
_FILE = re.compile(r"epoch-([0-9]{4})/shard-([0-9]{6})\.(tar|parquet)")

MAX_EPOCHS = 10**4
MAX_SHARDS = 10**6
MAX_SAMPLES = 10**10
"""Of epochs in a root, of shards and of samples in an epoch: past them names lose their width and order."""

TARGET_SHARD_BYTES = 64 * 2**20
"""Shard size aimed at when the recipe names none: large reads, yet enough shards to share out."""


_OURS = re.compile(
    r"epoch-[0-9]{4}/(shard-[0-9]{6}\.(tar|parquet)|manifest\.parquet)|recipe\.json|dataset\.json"
)


def is_ours(path: str) -> bool:
    """Tell whether a path below a root is one that builds give."""
    return _OURS.fullmatch(path) is not None


class ShardName(NamedTuple):
    """One shard of a root: epoch, number and the positions [start, stop) it holds."""

    epoch: int
    shard: int
    start: int
    stop: int

    @property
    def tar(self) -> str:
        """Path of the tar below the root."""
        return f"{epoch_folder(self.epoch)}/shard-{self.shard:06d}.tar"

    @property
    def manifest(self) -> str:
        """Path of the manifest below the root."""
        return f"{epoch_folder(self.epoch)}/shard-{self.shard:06d}.parquet"


def parse_file(path: str) -> tuple[int, int, str] | None:
    """Return epoch, number and suffix, tar or parquet, of a shard's file below the root, None of another."""
    match = _FILE.fullmatch(path)
    return (int(match[1]), int(match[2]), match[3]) if match else None


def epoch_folder(epoch: int) -> str:
    """Return the folder of an epoch below the root."""
    return f"epoch-{epoch:04d}"


def epoch_manifest(epoch: int) -> str:
    """Return the path of an epoch's merged manifest below the root."""
    return f"{epoch_folder(epoch)}/manifest.parquet"


def count_shards(num_samples: int, samples_per_shard: int) -> int:
    """Return the fewest shards of at most `samples_per_shard` that hold an epoch."""
    return -(-num_samples // samples_per_shard)


@dataclass(frozen=True)
class EpochShards(Sequence[ShardName]):
    """The shards of one epoch, in order, equal within one sample; each is made when it is asked for."""

    epoch: int
    num_samples: int
    num_shards: int

    def __len__(self) -> int:
        return self.num_shards

    @overload
    def __getitem__(self, shard: int) -> ShardName: ...

    @overload
    def __getitem__(self, shard: slice) -> list[ShardName]: ...

    def __getitem__(self, shard: int | slice) -> ShardName | list[ShardName]:
        numbers = range(self.num_shards)[shard]
        return self._name(numbers) if isinstance(numbers, int) else list(map(self._name, numbers))

    def _name(self, shard: int) -> ShardName:
        start, stop = (self.num_samples * edge // self.num_shards for edge in (shard, shard + 1))
        return ShardName(self.epoch, shard, start, stop)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the samples of each shard, int64 [num_shards]."""
        return np.diff(shard_edges(self.num_samples, self.num_shards))


def shards_of_epoch(epoch: int, num_samples: int, samples_per_shard: int) -> EpochShards:
    """Split an epoch into the fewest shards of at most `samples_per_shard`, equal within one sample.

    Raises:
        DreamshardsError: more samples or shards than names are wide for.
    """
    num_shards = count_shards(num_samples, samples_per_shard)
    if num_samples > MAX_SAMPLES:
        raise DreamshardsError(
            f"an epoch of {num_samples:,} samples is too large; allowed: {MAX_SAMPLES:,}"
        )
    if num_shards > MAX_SHARDS:
        raise DreamshardsError(
            f"shards.samples_per_shard = {samples_per_shard} would make {num_shards:,} shards an epoch; "
            f"allowed: {-(-num_samples // MAX_SHARDS):,} or more samples a shard here"
        )
    return EpochShards(epoch, num_samples, num_shards)


def shard_edges(num_samples: int, num_shards: int) -> npt.NDArray[np.int64]:
    """Return the positions where the shards of an epoch begin, and its end; int64 [num_shards + 1]."""
    return num_samples * np.arange(num_shards + 1, dtype=np.int64) // max(1, num_shards)


def keys(epoch: int, start: int, stop: int) -> npt.NDArray[np.uint8]:
    """Return the keys of positions [start, stop) as ASCII, uint8 [n, 15]."""
    assert 0 <= epoch < MAX_EPOCHS
    assert 0 <= start <= stop <= MAX_SAMPLES
    return keys_of(epoch, np.arange(start, stop, dtype=np.int64))


def keys_of(epoch: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the keys of some positions as ASCII, uint8 [n, 15]."""
    out = np.empty((len(positions), KEY_WIDTH), np.uint8)
    out[:, :5] = np.frombuffer(f"{epoch:04d}-".encode(), np.uint8)
    for digit in range(10):
        out[:, 5 + digit] = positions // 10 ** (9 - digit) % 10 + ord("0")
    return out


def key_of(epoch: int, position: int) -> str:
    """Return the key of one position."""
    return f"{epoch:04d}-{position:010d}"


def parse_key(key: str) -> tuple[int, int] | None:
    """Return (epoch, position) of a key, or None if it is not one."""
    match = _KEY.fullmatch(key)
    return (int(match[1]), int(match[2])) if match else None
