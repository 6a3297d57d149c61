"""Naming what is wrong with a shard: which sample, and which column or part of its record.

Compares what was read with what should be there. Reads no files.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.shards import tar
from pipeline.shards.layout import ShardName, keys_of


class Held(NamedTuple):
    """A shard, and the positions int64 [n] of the samples that it holds."""

    name: ShardName
    positions: npt.NDArray[np.int64]

    def keys(self) -> npt.NDArray[np.uint8]:
        """Return their keys as ASCII, uint8 [n, 15]."""
        return keys_of(self.name.epoch, self.positions)


class Fault(NamedTuple):
    """One thing wrong: the file below the root, the sample if one is concerned, and what was found."""

    file: str
    key: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}"


def in_form(rows: pa.Table, num: int, fields: Sequence[pa.Field]) -> pa.Table:
    """Return rows as a table of exactly these columns.

    Raises:
        ValueError: they are not `num` rows that have them.
    """
    if len(rows) != num:
        raise ValueError(f"has {len(rows):,} rows, expected {num:,}")
    try:
        return rows.select([field.name for field in fields]).cast(pa.schema(fields))
    except (KeyError, pa.ArrowException) as error:
        raise ValueError(f"does not have the columns of this dataset: {error}") from error


def place_faults(file: str, rows: pa.Table, held: Held, tar_bytes: int) -> Iterator[Fault]:
    """Name the rows that are not where they should be: out of order, or with a gap in the tar before them."""
    shard_keys = held.keys()
    texts = [key.tobytes().decode() for key in shard_keys]
    name = held.name
    sizes, offsets = rows["size"].to_numpy(), rows["offset"].to_numpy()
    ends = offsets + tar.record_bytes(sizes) - tar.BLOCK
    wrong = {
        "key": rows["key"].to_numpy(zero_copy_only=False) != np.array(texts, object),
        "epoch": rows["epoch"].to_numpy() != name.epoch,
        "position": rows["position"].to_numpy() != held.positions,
        "offset": offsets != np.concatenate([[0], ends[:-1]]) + tar.BLOCK,
    }
    for row in np.flatnonzero(np.any(list(wrong.values()), axis=0)).tolist():
        columns = [column for column in wrong if wrong[column][row]]
        yield Fault(file, texts[row], f"out of place: {', '.join(columns)}")
    if ends[-1] + len(tar.END_OF_ARCHIVE) != tar_bytes:
        yield Fault(
            file, texts[-1], f"its record ends at {ends[-1]:,} in a tar of {tar_bytes:,} bytes"
        )


def row_faults(file: str, rows: pa.Table, twin: pa.Table) -> Iterator[Fault]:
    """Name the samples and columns in which `rows` differ from another copy with the same columns."""
    if rows.equals(twin):
        return
    for ours, theirs in zip(rows.to_pylist(), twin.to_pylist(), strict=True):
        changed = [name for name in theirs if ours[name] != theirs[name]]
        if changed:
            yield Fault(file, theirs["key"], f"not as in the other manifest: {', '.join(changed)}")


def record_faults(held: Held, rows: pa.Table, content: bytes, suffix: str) -> Iterator[Fault]:
    """Compare every record of a tar with the bytes that its manifest row implies."""
    shard_keys = held.keys()
    name, labels = held.name, rows["label"].to_numpy()
    places = zip(
        *(rows[field].to_pylist() for field in ("key", "offset", "size", "crc32")), strict=True
    )
    for i, (key, offset, size, crc) in enumerate(places):
        payload = content[offset : offset + size]
        expected = tar.pack(shard_keys[i : i + 1], suffix, [payload], labels[i : i + 1]).content
        found = content[offset - tar.BLOCK : offset - tar.BLOCK + len(expected)]
        if len(payload) < size or len(found) < len(expected):
            yield Fault(name.tar, key, "cut off")
        elif zlib.crc32(payload) != crc:
            what = f"altered pixels: CRC-32 {zlib.crc32(payload):08x}, not {crc:08x}"
            yield Fault(name.tar, key, what)
        elif found != expected.tobytes():
            yield Fault(name.tar, key, "altered header, label or padding")
