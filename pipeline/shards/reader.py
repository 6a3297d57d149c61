"""Reading a finished root back, sample by sample, with every byte checked against its manifest."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json
from pipeline.shards.layout import DATASET_NAME, ShardName, parse_key
from pipeline.shards.lost import losses_of, lost_positions, positions_of_shard
from pipeline.shards.manifest import read_rows
from pipeline.store import LocalStore, MissingObjectError, Root, Store, StoreError, open_store

WHOLE_BYTES = 64 << 20
"""A manifest in an object store up to this size is fetched whole, whatever is wanted of it."""


def shard_names(dataset: Json) -> list[ShardName]:
    """Return the shards that dataset.json lists, in order."""
    names: list[ShardName] = []
    for entry in dataset["shards"]:
        epoch = int(entry["file"][len("epoch-") :].split("/")[0])
        continues = bool(names) and names[-1].epoch == epoch
        shard, start = (names[-1].shard + 1, names[-1].stop) if continues else (0, 0)
        names.append(
            ShardName(epoch, shard, start, start + entry["samples"] + entry.get("lost", 0))
        )
    return names


def find_shard(dataset: Json, key: str) -> tuple[ShardName, int]:
    """Return the shard that holds `key`, and its row there.

    Raises:
        DreamshardsError: no sample of the dataset has this key.
    """
    place = parse_key(key)
    if place is not None:
        epoch, position = place
        for name in shard_names(dataset):
            if name.epoch == epoch and name.start <= position < name.stop:
                for loss in losses_of(dataset):
                    if loss.key == key:
                        raise DreamshardsError(
                            f"sample {key} of {loss.source_id} was lost when the dataset was built: "
                            f"{loss.reason}"
                        )
                lost = lost_positions(dataset, epoch)
                kept = positions_of_shard(name, lost)
                return name, int(np.searchsorted(kept, position))
    last = dataset["epochs"] - 1, dataset["samples_per_epoch"] - 1
    raise DreamshardsError(
        f"no sample has the key {key!r}; allowed: 0000-0000000000 to {last[0]:04d}-{last[1]:010d}"
    )


def read_manifest(
    root: Root, file: str, sha256: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of one manifest below `root`, of some `columns` or all.

    It is compared with its SHA-256 if one is given. Memory is that of the rows returned, and of a file in an
    object store up to 64 MiB. Of larger ones there, only the columns asked for are fetched, which the
    checksums of their pages vouch for.

    Raises:
        DreamshardsError: it is missing, unreadable or altered.
    """
    store = open_store(root)
    advice = f"`dreamshards verify {store}` lists what is wrong"
    try:
        return read_rows(_checked(store, file, sha256, columns), columns)
    except ValueError as error:
        raise DreamshardsError(f"{store.address(file)}: {error}; {advice}") from error
    except StoreError as error:
        raise DreamshardsError(f"{error}; {advice}") from error


def _checked(
    store: Store, file: str, sha256: str | None, columns: Sequence[str] | None
) -> bytes | Path | BinaryIO:
    """Return what a manifest is read from, compared with its SHA-256.

    Raises:
        ValueError: it is altered.
        StoreError: it is missing or cannot be read.
    """
    num_bytes, found = store.size(file), hashlib.sha256()
    source: bytes | Path | BinaryIO
    if isinstance(store, LocalStore):
        source = store.folder / file
        for piece in store.read_pieces(file, num_bytes):
            found.update(piece)
            del piece  # before the next is read
    elif columns is None or num_bytes <= WHOLE_BYTES:
        source = store.read(file)
        found.update(source)
    else:
        return cast(BinaryIO, _Ranges(store, file, num_bytes))
    if sha256 not in (None, found.hexdigest()):
        raise ValueError(f"altered: SHA-256 {found.hexdigest()}, {DATASET_NAME} says {sha256}")
    return source


class _Ranges(io.RawIOBase):
    """An object read by ranges, each in one request or more."""

    def __init__(self, store: Store, file: str, num_bytes: int) -> None:
        self._store, self._file, self._num_bytes, self._place = store, file, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._place = (
            offset
            + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._num_bytes}[whence]
        )
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, num_bytes: int = -1, /) -> bytes:
        left = self._num_bytes - self._place
        num_bytes = left if num_bytes < 0 else min(num_bytes, left)
        content = self._store.read_range(self._file, self._place, num_bytes)
        self._place += num_bytes
        return content


def read_payload(root: Root, name: ShardName, rows: pa.Table, row: int) -> bytes:
    """Return the payload of one row of a shard's manifest, its CRC-32 checked.

    Raises:
        DreamshardsError: the tar is missing, short, or differs from its manifest.
    """
    key, offset, size, crc = (
        rows[field][row].as_py() for field in ("key", "offset", "size", "crc32")
    )
    store = open_store(root)
    address = store.address(name.tar)
    try:
        payload = store.read_range(name.tar, offset, size)
    except MissingObjectError as error:
        raise DreamshardsError(f"{error}, sample {key}") from error
    except StoreError as error:
        found = max(0, store.size(name.tar) - offset)
        if found >= size:
            raise DreamshardsError(f"{error}, sample {key}") from error
        raise DreamshardsError(
            f"{address}: sample {key} ends after {found} of {size} bytes; the tar is truncated"
        ) from error
    found = zlib.crc32(payload)
    if found != crc:
        raise DreamshardsError(
            f"{address}: sample {key} has CRC-32 {found:08x}, its manifest says {crc:08x}; the tar is altered"
        )
    return payload


def rows_of_sources(root: Root, epoch_file: str, sources: list[int]) -> pa.Table:
    """Return the rows of one epoch's manifest for some source indices, in the order asked for.

    Raises:
        DreamshardsError: the manifest is missing or unreadable, or lacks one of them.
    """
    store = open_store(root)
    rows = read_manifest(store, epoch_file)
    places = pc.index_in(pa.array(sources, pa.int64()), value_set=rows["source_index"])
    if places.null_count:
        lost = sources[places.is_null().index(True).as_py()]
        raise DreamshardsError(
            f"{store.address(epoch_file)}: no row has source_index {lost}; "
            f"`dreamshards verify {store}` lists what is wrong"
        )
    return rows.take(places)
