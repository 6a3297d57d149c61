"""Manifests: rows come back as written, equal rows give equal bytes, and no damaged value is believed."""

from __future__ import annotations

import hashlib
import io
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError
from pipeline.shards import reader
from pipeline.shards.manifest import (
    PLACE_FIELDS,
    ShardSummary,
    read_rows,
    read_summary,
    write_epoch_manifest,
    write_manifest,
)
from pipeline.shards.reader import read_manifest, rows_of_sources
from pipeline.store import RemoteStore, open_store
from tests.servers import Moto

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


NUM_ROWS = 1_000_000


def large_manifest() -> bytes:
    """Return a file of 5 columns of 8 MB, in row groups of 2¹⁷ rows, of which every value is its own."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    columns = {name: rng.integers(0, 2**63, NUM_ROWS) for name in "abcde"}
    write_epoch_manifest(
        file, [pa.table(columns).slice(at, 1000) for at in range(0, NUM_ROWS, 1000)]
    )
    return file.getvalue()


def test_columns_of_a_large_manifest_take_their_own_memory_alone(tmp_path: Path):
    content = large_manifest()
    assert pq.read_metadata(io.BytesIO(content)).num_row_groups == 8
    (tmp_path / "m.parquet").write_bytes(content)
    digest, pool = hashlib.sha256(content).hexdigest(), pa.default_memory_pool()
    expected = pq.read_table(tmp_path / "m.parquet", columns=["b"], use_threads=False)
    del content
    before = pool.bytes_allocated()
    tracemalloc.start()
    rows = read_manifest(tmp_path, "m.parquet", digest, ["b"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.equals(expected)
    assert pool.bytes_allocated() - before < 1.3 * 8 * NUM_ROWS
    assert peak < 20e6  # a piece or two, of 40 MB


def test_of_a_large_manifest_in_an_object_store_only_the_columns_asked_for_are_fetched(
    moto: Moto, prefix: str, monkeypatch: pytest.MonkeyPatch
):
    store, fetched = open_store(moto.full_uri(prefix)), []
    ranges = RemoteStore.read_range

    def counted(self, path, start, num_bytes):
        fetched.append(num_bytes)
        return ranges(self, path, start, num_bytes)

    monkeypatch.setattr(RemoteStore, "read_range", counted)
    parts = [read_rows(write(num=20_000, start=start)) for start in (0, 20_000, 40_000)]
    file = io.BytesIO()
    write_epoch_manifest(file, parts, 20_000)
    content = bytearray(file.getvalue())
    store.write("m.parquet", content)
    digest, columns = hashlib.sha256(content).hexdigest(), ["label", "crc32"]
    expected = pa.concat_tables(parts).select(columns)
    assert read_manifest(store, "m.parquet", digest, columns).equals(expected)
    assert fetched == []  # it is small: fetched whole, and held to its digest
    monkeypatch.setattr(reader, "WHOLE_BYTES", 1000)
    assert read_manifest(store, "m.parquet", digest, columns).equals(expected)
    chunks = [pq.read_metadata(file).row_group(group).column(5) for group in range(3)]
    assert sum(fetched) < len(content) / 2
    assert chunks[1].path_in_schema == "crc32"
    for place, complaint in (
        (chunks[1].data_page_offset + chunks[1].total_compressed_size // 2, "not a readable"),
        (1000, None),
    ):
        damaged = content.copy()
        damaged[place] ^= 1
        damaged_store = open_store(moto.full_uri(f"{prefix}-{place}"))
        damaged_store.write("m.parquet", damaged)
        if complaint is None:  # nobody asked for that column
            assert read_manifest(damaged_store, "m.parquet", digest, columns).equals(expected)
        else:
            with pytest.raises(DreamshardsError, match=complaint):
                read_manifest(damaged_store, "m.parquet", digest, columns)
        with pytest.raises(DreamshardsError, match="altered: SHA-256"):
            read_manifest(damaged_store, "m.parquet", digest)
    with pytest.raises(DreamshardsError, match=r"m\.parquet: no such object; `dreamshards verify"):
        read_manifest(open_store(moto.full_uri(f"{prefix}-none")), "m.parquet", digest, columns)
