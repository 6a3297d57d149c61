"""Manifests: rows come back as written, equal rows give equal bytes, and no damaged value is believed."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError
from pipeline.shards.manifest import (
    PLACE_FIELDS,
    ShardSummary,
    read_rows,
    read_summary,
    write_epoch_manifest,
    write_manifest,
)
from pipeline.shards.reader import read_manifest, rows_of_sources

SUMMARY = ShardSummary("ab" * 32, 3, 14, 40, 206_848, "cd" * 32)
FIELDS = (*PLACE_FIELDS, pa.field("label", pa.int32(), nullable=False), pa.field("id", pa.string()))


def columns(num: int = 40, start: int = 0) -> list[pa.Array]:
    rng = np.random.default_rng(start)
    positions = np.arange(start, start + num)
    return [
        pa.array([f"0003-{position:010d}" for position in positions], pa.string()),
        pa.array(np.full(num, 3, np.int32)),
        pa.array(positions),
        pa.array(positions * 5120 + 512),
        pa.array(np.full(num, 3200)),
        pa.array(rng.integers(0, 2**32, num, np.uint32)),
        pa.array(rng.integers(0, 10, num).astype(np.int32)),
        pa.array([None if i % 3 else f"picture-{i}.png" for i in range(num)], pa.string()),
    ]


def write(summary: ShardSummary = SUMMARY, num: int = 40, start: int = 0) -> bytes:
    buffer = io.BytesIO()
    write_manifest(buffer, summary, FIELDS, columns(num, start))
    return buffer.getvalue()


CONTENT = write()


def test_rows_and_summary_come_back_as_written():
    rows = read_rows(CONTENT)
    assert rows.schema.equals(pa.schema(FIELDS))
    assert rows.equals(pa.Table.from_arrays(columns(), schema=pa.schema(FIELDS)))
    assert read_summary(CONTENT) == SUMMARY
    assert [field.nullable for field in rows.schema] == [False] * 7 + [True]


@settings(deadline=None, max_examples=25)
@given(
    st.builds(
        ShardSummary,
        recipe_hash=st.text("0123456789abcdef", min_size=64, max_size=64),
        epoch=st.integers(0, 9999),
        shard=st.integers(0, 10**6),
        num_samples=st.integers(0, 10**10),
        tar_bytes=st.integers(0, 2**62),
        tar_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    )
)
def test_any_summary_comes_back(summary):
    assert read_summary(write(summary, num=1)) == summary


def test_equal_rows_give_equal_bytes():
    assert write() == CONTENT
    assert write(start=40) != CONTENT


def test_no_rows_are_rows_too():
    assert len(read_rows(write(num=0))) == 0


def test_an_epoch_is_its_shards_in_order_in_row_groups_that_end_with_one():
    parts = [read_rows(write(start=start)) for start in (0, 40, 80)]
    merged = io.BytesIO()
    write_epoch_manifest(merged, parts, 41)
    again = io.BytesIO()
    write_epoch_manifest(again, iter(parts), 41)
    assert merged.getvalue() == again.getvalue()
    expected = pa.concat_tables(parts)
    assert read_rows(merged.getvalue()).equals(expected)
    metadata = pq.read_metadata(merged)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [80, 40]
    with pytest.raises(ValueError, match="not a readable manifest"):
        read_summary(merged.getvalue())  # it is no shard's: it has no summary


def test_a_manifest_cut_anywhere_is_refused():
    for size in [*range(64), *range(64, len(CONTENT), 41), len(CONTENT) - 1]:
        for read in (read_rows, read_summary):
            with pytest.raises(ValueError, match="not a readable manifest"):
                read(CONTENT[:size])


def test_a_flipped_bit_is_refused_or_changes_no_value():
    """Pages carry checksums, so that damage is met even where no digest is at hand.

    Names and types of columns are not within pages; who reads a column by name and type misses it.
    """
    rng, rows = random.Random(0), read_rows(CONTENT)
    refused = 0
    for _ in range(600):
        content = bytearray(CONTENT)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        try:
            found = read_rows(bytes(content))
        except ValueError as error:
            assert str(error).startswith("not a readable manifest: ")  # noqa: PT017
            refused += 1
        else:
            for ours, theirs in zip(found.columns, rows.columns, strict=True):
                assert ours.type != theirs.type or ours.equals(theirs)
    assert refused > 200


def test_what_is_no_manifest_is_refused():
    other = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), other)
    metadata = {b"dreamshards": b'{"epoch": 1}'}
    partial = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), partial)
    for content in (b"", b"PAR1", b"\x00" * 100, other.getvalue(), partial.getvalue()):
        with pytest.raises(ValueError, match="not a readable manifest"):
            read_summary(content)


def test_a_text_that_is_not_utf_8_is_refused():
    texts = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.int32([0, 1, 2])), pa.py_buffer(b"\xffa")
    )
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": texts}), buffer)
    with pytest.raises(ValueError, match="UTF8"):
        read_rows(buffer.getvalue())


# ── from a root ──


def test_a_missing_altered_or_broken_manifest_is_named(tmp_path: Path):
    path = tmp_path / "epoch-0000" / "shard-000000.parquet"
    advice = f"`dreamshards verify {tmp_path}` lists what is wrong"

    def message(sha256: str | None = None) -> str:
        with pytest.raises(DreamshardsError) as caught:
            read_manifest(tmp_path, "epoch-0000/shard-000000.parquet", sha256)
        return str(caught.value)

    assert message() == f"{path}: No such file or directory; {advice}"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert read_manifest(tmp_path, "epoch-0000/shard-000000.parquet").equals(read_rows(CONTENT))
    assert message("0" * 64).startswith(f"{path}: altered: SHA-256 ")
    assert message("0" * 64).endswith(f", dataset.json says {'0' * 64}; {advice}")
    path.write_bytes(CONTENT[:-9])
    assert message().startswith(f"{path}: not a readable manifest: ")
    assert message().endswith(advice)


def test_rows_of_sources_come_in_the_order_asked_for(small_root: Path):
    everything = pq.read_table(small_root / "epoch-0001" / "manifest.parquet")
    rows = rows_of_sources(small_root, "epoch-0001/manifest.parquet", [7, 1436, 0, 7])
    assert rows["source_index"].to_pylist() == [7, 1436, 0, 7]
    place = everything["source_index"].to_pylist().index(1436)
    assert rows.slice(1, 1).to_pylist() == everything.slice(place, 1).to_pylist()
    with pytest.raises(DreamshardsError, match=r"manifest\.parquet: no row has source_index 1437"):
        rows_of_sources(small_root, "epoch-0001/manifest.parquet", [3, 1437])
