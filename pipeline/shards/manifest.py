"""Manifests: one Parquet row a sample, saying where its bytes lie and how it was made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.parquet import read_parquet

_METADATA_KEY = b"dreamshards"
_COMPRESSION = "snappy"
"""Zstandard makes manifests a third smaller and takes 15 % longer; they are a hundredth of a root."""
_DISTINCT = frozenset(
    ["key", "position", "offset", "crc32", "source_index", "source_id", "noise_seed"]
)
"""Columns that hold each value once: a dictionary of them is work for nothing."""

GROUP_ROWS = 2**17
"""Least rows of a group of an epoch's manifest: a column of one takes about a megabyte."""

PLACE_FIELDS = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("epoch", pa.int32(), nullable=False),
    pa.field("position", pa.int64(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("crc32", pa.uint32(), nullable=False),
)
"""Where a sample is: `offset`, `size` and `crc32` are those of its payload in the tar, in bytes."""


def texts(characters: npt.NDArray[np.uint8]) -> pa.StringArray:
    """Return ASCII texts of one width, uint8 [n, width], as a column."""
    num, width = characters.shape
    bounds = np.arange(num + 1, dtype=np.int32) * np.int32(width)
    content = pa.py_buffer(np.ascontiguousarray(characters))
    return pa.StringArray.from_buffers(num, pa.py_buffer(bounds), content)


class Loss(NamedTuple):
    """A sample that could not be made, and is in no shard.

    Attributes:
        key: that it would have.
        source_index, source_id: what it would have been made of.
        reason: one line, the same on every machine.
    """

    key: str
    source_index: int
    source_id: str
    reason: str


@dataclass(frozen=True)
class ShardSummary:
    """What a committed manifest says of its shard as a whole; `num_samples` leaves out lost ones."""

    recipe_hash: str
    epoch: int
    shard: int
    num_samples: int
    tar_bytes: int
    tar_sha256: str
    losses: tuple[Loss, ...] = ()

    def as_json(self) -> str:
        """Return it as JSON; losses are named where there are some."""
        content = {name: value for name, value in asdict(self).items() if name != "losses"}
        if self.losses:
            content["losses"] = [loss._asdict() for loss in self.losses]
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: bytes) -> ShardSummary:
        """Return what `as_json` wrote.

        Raises:
            TypeError, ValueError: it is something else.
        """
        content: dict[str, Any] = json.loads(text)
        losses = tuple(Loss(**loss) for loss in content.pop("losses", ()))
        return cls(**content, losses=losses)


def write_manifest(
    file: BinaryIO, summary: ShardSummary, fields: Sequence[pa.Field], columns: Sequence[pa.Array]
) -> None:
    """Write one shard's manifest; the same rows give the same bytes."""
    metadata = {_METADATA_KEY: summary.as_json().encode()}
    schema = pa.schema(list(fields), metadata=metadata)
    pq.write_table(pa.Table.from_arrays(list(columns), schema=schema), file, **_format(schema))


def _format(schema: pa.Schema) -> dict[str, Any]:
    """Return how a file of this schema is written."""
    repeating = [path for field in schema for path in _repeating(field, field.name)]
    return {
        "compression": _COMPRESSION,
        "use_dictionary": repeating,
        "write_page_checksum": True,
    }


def _repeating(field: pa.Field, path: str) -> list[str]:
    """Return the Parquet paths of a field's columns whose values repeat: neither names nor measures."""
    if pa.types.is_list(field.type):
        return _repeating(field.type.value_field, f"{path}.list.element")
    if pa.types.is_struct(field.type):
        parts = (_repeating(part, f"{path}.{part.name}") for part in field.type)
        return list(chain.from_iterable(parts))
    return [] if field.name in _DISTINCT or pa.types.is_floating(field.type) else [path]


def read_summary(content: bytes) -> ShardSummary:
    """Return the summary of a shard's manifest.

    Raises:
        ValueError: the bytes are not a manifest of this format.
    """
    try:
        metadata: dict[bytes, bytes] = pq.read_metadata(io.BytesIO(content)).metadata or {}
        return ShardSummary.from_json(metadata[_METADATA_KEY])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a readable manifest: {error}") from error


def read_rows(content: bytes | Path | BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of a manifest, the checksum of every page and the form of every value checked.

    With `columns`, only these are read and checked; of a file no other bytes are held.

    Raises:
        ValueError: the bytes are not a readable manifest.
    """
    try:
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        table = read_parquet(source, columns)
        table.validate(full=True)
        _ = table.schema.names  # decodes them, which validation does not
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"not a readable manifest: {error}") from error
    return table


def write_epoch_manifest(
    file: BinaryIO, tables: Iterable[pa.Table], group_rows: int = GROUP_ROWS
) -> None:
    """Write the rows of an epoch's shards, in order, as one file, in row groups of `group_rows` or more.

    Small shards share a group, so that a reader asks for few pieces; a group ends with a shard.
    """
    pending = iter(tables)
    first = next(pending)
    schema = first.schema.remove_metadata()
    with pq.ParquetWriter(file, schema, **_format(schema)) as writer:
        group: list[pa.Table] = []
        num_rows = 0
        for table in chain([first], pending):
            group.append(table.replace_schema_metadata(None))
            num_rows += len(table)
            if num_rows >= group_rows:
                _write_group(writer, group)
                group, num_rows = [], 0
        if num_rows:
            _write_group(writer, group)


def _write_group(writer: pq.ParquetWriter, tables: list[pa.Table]) -> None:
    rows = pa.concat_tables(tables).combine_chunks()
    writer.write_table(rows, row_group_size=len(rows))
