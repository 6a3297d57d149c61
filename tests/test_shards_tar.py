"""Tar records are what every tar reader expects: checked with Python's tarfile and GNU tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import tar
from pipeline.shards.layout import keys

EDGES = [0, 1, 511, 512, 513, 1023, 1024, 1025]
sizes = st.one_of(st.sampled_from(EDGES), st.integers(0, 3000))
labels = st.one_of(st.integers(0, 20), st.integers(-(2**31), 2**31 - 1))
batches = st.lists(st.tuples(st.binary(max_size=24), sizes, labels), max_size=12)


def payload_of(seed: bytes, size: int) -> bytes:
    return (seed * (size // max(1, len(seed)) + 1))[:size] if seed else bytes(size)


def members(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Read with the strictest checks tarfile has: a broken header raises, nothing is skipped."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:", errorlevel=2) as archive:
        return [(info, archive.extractfile(info).read()) for info in archive]


def pack_one_by_one(shard_keys, suffix, payloads, numbers) -> bytes:
    parts = [
        tar.pack(shard_keys[i : i + 1], suffix, [bytes(payloads[i])], numbers[i : i + 1]).content
        for i in range(len(shard_keys))
    ]
    return b"".join(part.tobytes() for part in parts)


@settings(deadline=None)
@given(batches, st.integers(0, 10**10 - 12), st.sampled_from(["npy", "jpg", "webp"]))
def test_tarfile_reads_back_every_name_size_payload_and_label(batch, start, suffix):
    shard_keys = keys(7, start, start + len(batch))
    payloads = [payload_of(seed, size) for seed, size, _ in batch]
    numbers = np.array([label for *_, label in batch], np.int32)
    records = tar.pack(shard_keys, suffix, payloads, numbers)

    content = records.content.tobytes()
    assert content == pack_one_by_one(shard_keys, suffix, payloads, numbers)
    found = members(content + tar.END_OF_ARCHIVE)
    names = [f"0007-{start + i:010d}" for i in range(len(batch))]
    assert [info.name for info, _ in found] == [
        f"{name}.{end}" for name in names for end in (suffix, "cls")
    ]
    assert [data for _, data in found[::2]] == payloads
    assert [data for _, data in found[1::2]] == [b"%d" % label for label in numbers.tolist()]
    assert records.sizes.tolist() == [len(payload) for payload in payloads]
    assert records.offsets.tolist() == [info.offset_data for info, _ in found[::2]]
    assert records.starts.tolist() == [info.offset for info, _ in found[::2]]
    assert tar.record_bytes(records.sizes).sum() == len(content)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 9), st.sampled_from([*EDGES, 3200]), st.integers(0, 2**32 - 1))
def test_payloads_as_one_array_give_the_same_bytes(num, size, seed):
    rng = np.random.default_rng(seed)
    payloads = rng.integers(0, 256, (num, size), np.uint8)
    numbers = rng.integers(0, 2**31, num).astype(np.int32)
    shard_keys = keys(0, 0, num)
    records = tar.pack(shard_keys, "npy", payloads, numbers)
    assert records.content.tobytes() == pack_one_by_one(shard_keys, "npy", payloads, numbers)
    assert len(set(np.diff(records.starts).tolist())) <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 9), st.integers(0, 1030), st.sampled_from([0, 1, 128, 512]))
def test_payloads_written_in_place_give_the_same_bytes(num, size, prefix_size):
    rng = np.random.default_rng((size, num))
    payloads = rng.integers(0, 256, (num, prefix_size + size), np.uint8)
    payloads[:, :prefix_size] = 7
    numbers, shard_keys = np.arange(num, dtype=np.int32), keys(0, 0, num)

    def fill(content, first, stride):
        for i, payload in enumerate(payloads[:, prefix_size:]):
            content[first + i * stride : first + i * stride + size] = payload

    records = tar.pack(
        shard_keys, "npy", tar.InPlace(num, bytes([7] * prefix_size), size, fill), numbers
    )
    assert records.content.tobytes() == pack_one_by_one(shard_keys, "npy", payloads, numbers)
    assert records.sizes.tolist() == [prefix_size + size] * num


def test_headers_are_ustar_with_nothing_of_time_place_or_user():
    records = tar.pack(keys(0, 5, 6), "png", [b"abc"], np.array([9], np.int32))
    for (info, _), start in zip(members(records.content.tobytes()), (0, 1024), strict=True):
        header = records.content[start : start + 512].tobytes()
        assert info.mtime == info.uid == info.gid == 0
        assert info.uname == info.gname == info.linkname == ""
        assert info.mode == 0o644
        assert info.type == tarfile.REGTYPE
        assert header[257:265] == b"ustar\x0000"
        assert header[148:156] == b"%06o\x00 " % (sum(header) - sum(header[148:156]) + 8 * 32)
        assert header[265:] == bytes(247)  # owner, device and name prefix: all empty


def test_every_byte_between_records_is_zero():
    payloads = [b"\xff" * 600, b"\xff"]
    records = tar.pack(keys(0, 0, 2), "jpg", payloads, np.array([1234567890, 3], np.int32))
    content = records.content
    for offset, size, label in zip(records.offsets, records.sizes, (10, 1), strict=True):
        padded = -(-size // 512) * 512
        assert not content[offset + size : offset + padded].any()
        assert not content[offset + padded + 512 + label : offset + padded + 1024].any()
    assert len(content) == (512 + 1024 + 1024) + (512 + 512 + 1024)


def test_a_32_px_npy_sample_is_4_kib_and_every_record_5_kib():
    payloads = np.zeros((3, 128 + 32 * 32 * 3), np.uint8)
    records = tar.pack(keys(0, 0, 3), "npy", payloads, np.arange(3, dtype=np.int32))
    assert records.starts.tolist() == [0, 5120, 10240]
    assert records.offsets.tolist() == [512, 5632, 10752]
    label_headers = [info.offset for info, _ in members(records.content.tobytes())][1::2]
    assert (np.array(label_headers) - records.starts).tolist() == [512 + 3200 + 384] * 3
    assert len(records.content) == 3 * 5120


def test_no_samples_give_no_bytes():
    for payloads in ([], np.empty((0, 3200), np.uint8)):
        records = tar.pack(keys(0, 0, 0), "npy", payloads, np.empty(0, np.int32))
        assert [len(part) for part in records] == [0, 0, 0, 0]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8**11 - 1), st.integers(1, 100))
def test_size_and_name_fields_hold_all_that_ustar_allows(size, width):
    names = np.full((1, width), ord("x"), np.uint8)
    (header,) = tar.headers(names, np.array([size]))
    info = tarfile.TarInfo.frombuf(header.tobytes(), "ascii", "strict")
    assert (info.name, info.size) == ("x" * width, size)


def test_what_a_header_cannot_hold_is_never_written():
    with pytest.raises(AssertionError):
        tar.headers(np.zeros((1, 101), np.uint8), np.array([1]))
    with pytest.raises(AssertionError):
        tar.headers(np.zeros((1, 10), np.uint8), np.array([8**11]))


def test_gnu_tar_lists_and_extracts_without_a_warning(tmp_path: Path):
    rng = np.random.default_rng(0)
    payloads = [rng.bytes(size) for size in [*EDGES, 70_000]]
    numbers = np.array([0, 9, 10, 999, 2**31 - 1, 1, 2, 3, 4], np.int32)
    shard_keys = keys(3, 0, len(payloads))
    path = tmp_path / "shard.tar"
    records = tar.pack(shard_keys, "webp", payloads, numbers)
    path.write_bytes(records.content.tobytes() + tar.END_OF_ARCHIVE)

    command = ["tar", "--utc", "--numeric-owner", "-tvf", str(path)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    assert listing.stderr == ""
    rows = [line.split() for line in listing.stdout.splitlines()]
    assert [row[:5] for row in rows] == [
        ["-rw-r--r--", "0/0", str(size), "1970-01-01", "00:00"]
        for payload, number in zip(payloads, numbers.tolist(), strict=True)
        for size in (len(payload), len(str(number)))
    ]

    out = tmp_path / "out"
    out.mkdir()
    command = ["tar", "--warning=all", "-xf", str(path), "-C", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert len(list(out.iterdir())) == 2 * len(payloads)
    for i, payload in enumerate(payloads):
        name = f"0003-{i:010d}"
        assert (out / f"{name}.webp").read_bytes() == payload
        assert (out / f"{name}.cls").read_text() == str(numbers[i])


def test_ten_thousand_samples_equal_one_at_a_time():
    rng = np.random.default_rng(1)
    payloads = rng.integers(0, 256, (10_000, 40), np.uint8)
    numbers = rng.integers(0, 1000, 10_000).astype(np.int32)
    shard_keys = keys(0, 123, 10_123)
    whole = tar.pack(shard_keys, "npy", payloads, numbers)
    for i in (0, 1, 4999, 9999):
        one = tar.pack(shard_keys[i : i + 1], "npy", payloads[i : i + 1], numbers[i : i + 1])
        start = whole.starts[i]
        assert whole.content[start : start + len(one.content)].tobytes() == one.content.tobytes()
    mixed = tar.pack(shard_keys, "npy", [row.tobytes() for row in payloads], numbers)
    assert np.array_equal(whole.content, mixed.content)
    assert np.array_equal(whole.offsets, mixed.offsets)
