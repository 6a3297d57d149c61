"""Reading a finished root back, sample by sample, with every byte checked against its manifest."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json
from pipeline.shards.layout import DATASET_NAME, ShardName, parse_key
from pipeline.shards.manifest import read_rows
from pipeline.store import MissingObjectError, Root, StoreError, open_store


def shard_names(dataset: Json) -> list[ShardName]:
    """Return the shards that dataset.json lists, in order."""
    names: list[ShardName] = []
    for entry in dataset["shards"]:
        epoch = int(entry["file"][len("epoch-") :].split("/")[0])
        continues = bool(names) and names[-1].epoch == epoch
        shard, start = (names[-1].shard + 1, names[-1].stop) if continues else (0, 0)
        names.append(ShardName(epoch, shard, start, start + entry["samples"]))
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
                return name, position - name.start
    last = dataset["epochs"] - 1, dataset["samples_per_epoch"] - 1
    raise DreamshardsError(
        f"no sample has the key {key!r}; allowed: 0000-0000000000 to {last[0]:04d}-{last[1]:010d}"
    )


def read_manifest(
    root: Root, file: str, sha256: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of one manifest below `root`, compared with its SHA-256 if one is given.

    Raises:
        DreamshardsError: it is missing, unreadable or altered.
    """
    store = open_store(root)
    address, advice = store.address(file), f"`dreamshards verify {store}` lists what is wrong"
    try:
        content = store.read(file)
    except StoreError as error:
        raise DreamshardsError(f"{error}; {advice}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, found):
        raise DreamshardsError(
            f"{address}: altered: SHA-256 {found}, {DATASET_NAME} says {sha256}; {advice}"
        )
    try:
        return read_rows(content, columns)
    except ValueError as error:
        raise DreamshardsError(f"{address}: {error}; {advice}") from error


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
