"""A finished root opens with the tools its readers already have, and each sees the very samples."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from numpy.lib.stride_tricks import as_strided
from PIL import Image

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.shards.codecs import npy_header
from tests.tiny import build_tiny

NUM = 1437
CODEC_OVERRIDES = ("epochs=1", "source.split=test", "mixing_set.count=24")


def urls_of(root: Path, epoch: int = 0) -> list[str]:
    return sorted(map(str, root.glob(f"epoch-{epoch:04d}/shard-*.tar")))


def rows_of(root: Path, epoch: int = 0) -> list[dict]:
    return pq.read_table(root / f"epoch-{epoch:04d}" / "manifest.parquet").to_pylist()


def npy_crc(picture: np.ndarray) -> int:
    return zlib.crc32(npy_header(picture.shape) + np.ascontiguousarray(picture).tobytes())


def assert_same_samples(samples: list[tuple[str, int, np.ndarray]], rows: list[dict]) -> None:
    """Compare (key, label, picture), in order, with an epoch's manifest."""
    expected = [(row["key"], row["label"], row["crc32"]) for row in rows]
    assert [(key, label, npy_crc(picture)) for key, label, picture in samples] == expected
    assert {picture.dtype for *_, picture in samples} == {np.dtype(np.uint8)}


# ── tar ──


def test_gnu_tar_lists_every_sample_in_order(small_root):
    listed: list[str] = []
    for url in urls_of(small_root, 1):
        done = subprocess.run(["tar", "tf", url], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        listed += done.stdout.splitlines()
    keys = [f"0001-{position:010d}" for position in range(NUM)]
    assert listed == [f"{key}.{suffix}" for key in keys for suffix in ("npy", "cls")]


def test_tarfile_finds_payloads_where_the_manifest_says(small_root):
    rows = iter(rows_of(small_root))
    for url in urls_of(small_root):
        with tarfile.open(url, "r:", errorlevel=2) as archive:
            members = archive.getmembers()
            for picture, label in zip(members[::2], members[1::2], strict=True):
                row = next(rows)
                assert picture.name == row["key"] + ".npy"
                assert (picture.offset_data, picture.size) == (row["offset"], row["size"])
                assert zlib.crc32(archive.extractfile(picture).read()) == row["crc32"]
                assert label.name == row["key"] + ".cls"
                assert archive.extractfile(label).read() == str(row["label"]).encode()
    assert next(rows, None) is None


def test_a_mapped_tar_is_one_strided_array(small_root):
    for table in sorted(small_root.glob("epoch-0000/shard-*.parquet")):
        rows = pq.read_table(table)
        offsets = rows["offset"].to_numpy()
        (stride,) = set(np.diff(offsets).tolist())
        assert stride == 5120
        content = np.memmap(table.with_suffix(".tar"), np.uint8, "r")
        start = offsets[0] + len(npy_header((32, 32, 3)))
        pictures = as_strided(content[start:], (len(rows), 32, 32, 3), (stride, 96, 3, 1))
        order = np.random.default_rng(0).permutation(len(rows))
        gathered = pictures[order]
        crcs = rows["crc32"].to_numpy()[order].tolist()
        assert [npy_crc(picture) for picture in gathered] == crcs
        place = offsets[order[0]]
        payload = io.BytesIO(content[place : place + 3200].tobytes())
        assert np.array_equal(np.load(payload, allow_pickle=False), gathered[0])


# ── webdataset ──


@pytest.mark.parametrize("epoch", [0, 1])
def test_webdataset_reads_every_sample_once_in_order(small_root, epoch):
    urls = urls_of(small_root, epoch)
    samples = webdataset.WebDataset(urls, shardshuffle=False).decode()
    found = [(sample["__key__"], sample["cls"], sample["npy"]) for sample in samples]
    assert_same_samples(found, rows_of(small_root, epoch))
    assert len({key for key, *_ in found}) == NUM


def test_every_epoch_holds_every_source_once_in_an_order_of_its_own(small_root):
    orders = [[row["source_index"] for row in rows_of(small_root, epoch)] for epoch in (0, 1)]
    assert [sorted(order) for order in orders] == [list(range(NUM))] * 2
    assert orders[0] != orders[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_loader_over_webdataset_gives_batches(small_root, num_workers):
    samples = webdataset.WebDataset(urls_of(small_root), shardshuffle=False).decode()
    loader = torch.utils.data.DataLoader(
        samples.to_tuple("npy", "cls"), batch_size=100, num_workers=num_workers
    )
    batches = list(loader)
    for pictures, labels in batches:
        assert pictures.dtype == torch.uint8
        assert pictures.shape == (len(labels), 32, 32, 3)
        assert labels.dtype == torch.int64
    found = Counter(
        (npy_crc(picture.numpy()), int(label))
        for pictures, labels in batches
        for picture, label in zip(pictures, labels, strict=True)
    )
    assert found == Counter((row["crc32"], row["label"]) for row in rows_of(small_root))
    if num_workers == 0:
        assert [len(labels) for _, labels in batches] == [100] * 14 + [37]


@pytest.mark.parametrize("codec", ["jpg", "png", "webp"])
def test_webdataset_decodes_picture_codecs_as_pillow_does(tmp_path, codec):
    recipe = load_recipe("digits", [*CODEC_OVERRIDES, f"shards.codec={codec}"])
    build(recipe, tmp_path, InlineExecutor())
    npy = tmp_path / "npy"
    build(load_recipe("digits", CODEC_OVERRIDES), npy, InlineExecutor())
    rows, exact = rows_of(tmp_path), webdataset.WebDataset(urls_of(npy), shardshuffle=False)
    stored = webdataset.WebDataset(urls_of(tmp_path), shardshuffle=False)
    samples = zip(stored, stored.decode("rgb8"), exact.decode(), rows, strict=True)
    errors = []
    for raw, decoded, original, row in samples:
        assert raw["__key__"] == decoded["__key__"] == row["key"]
        assert decoded["cls"] == original["cls"] == row["label"]
        assert zlib.crc32(raw[codec]) == row["crc32"]
        assert len(raw[codec]) == row["size"]
        with Image.open(io.BytesIO(raw[codec])) as image:
            assert np.array_equal(np.asarray(image), decoded[codec])
        errors.append(np.abs(decoded[codec].astype(int) - original["npy"]).mean())
    assert len(errors) == 360
    assert np.mean(errors) < {"png": 1e-9, "jpg": 3, "webp": 8}[codec]


# ── Hugging Face datasets ──


@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_datasets_reads_every_sample(small_root, tmp_path, streaming):
    # Without streaming it first copies pixels into lists, 18 ms a sample of 32 px: a tiny root will do.
    root = small_root if streaming else build_tiny(tmp_path)
    samples = datasets.load_dataset(
        "webdataset",
        data_files=urls_of(root),
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path / "cache"),
    )
    found = [
        (sample["__key__"], sample["cls"], np.array(sample["npy"], np.uint8))
        for sample in samples.with_format("numpy")
    ]
    assert_same_samples(found, rows_of(root))


# ── Parquet ──


def test_pyarrow_sees_the_shards_manifests_as_one_table(small_root):
    files = sorted(map(str, small_root.glob("epoch-*/shard-*.parquet")))
    table = pyarrow.dataset.dataset(files).to_table()
    assert table.to_pylist() == rows_of(small_root, 0) + rows_of(small_root, 1)
    threes = pyarrow.dataset.dataset(files).count_rows(filter=pyarrow.dataset.field("label") == 3)
    assert threes == sum(row["label"] == 3 for row in table.to_pylist())


def test_duckdb_says_which_mixing_pictures_went_into_a_class(small_root):
    rows = rows_of(small_root, 0) + rows_of(small_root, 1)
    query = f"""
        SELECT mixing_id, count(*) AS samples FROM '{small_root}/epoch-*/manifest.parquet'
        WHERE label = 3 AND mixing_id IS NOT NULL GROUP BY ALL ORDER BY samples DESC LIMIT 5"""
    found = duckdb.sql(query).fetchall()
    counts = Counter(row["mixing_id"] for row in rows if row["label"] == 3 and row["mixing_id"])
    assert [number for _, number in found] == [number for _, number in counts.most_common(5)]
    assert [(name, counts[name]) for name, _ in found] == found
    assert len({name for name, _ in found}) == 5


def test_duckdb_unnests_rounds(small_root):
    rows = rows_of(small_root, 0) + rows_of(small_root, 1)
    steps = [step for row in rows for step in row["rounds"]]
    query = f"""
        SELECT step.operand, step.mode, count(*), max(step.level), avg(step.a) FROM
        (SELECT unnest(rounds) AS step FROM read_parquet('{small_root}/epoch-*/manifest.parquet'))
        GROUP BY ALL"""
    found = {(operand, mode): rest for operand, mode, *rest in duckdb.sql(query).fetchall()}
    assert set(found) == {(step["operand"], step["mode"]) for step in steps}
    for (operand, mode), (number, level, a) in found.items():
        same = [step for step in steps if (step["operand"], step["mode"]) == (operand, mode)]
        assert number == len(same)
        levels = [step["level"] for step in same if step["level"] is not None]
        assert level == max(levels, default=None)
        assert a == pytest.approx(np.mean([step["a"] for step in same], dtype=np.float64))


def test_duckdb_reads_shard_manifests_with_their_types(small_root):
    files = f"read_parquet('{small_root}/epoch-*/shard-*.parquet')"
    query = f"SELECT count(*), count(DISTINCT key), sum(crc32), sum(size) FROM {files}"
    rows = rows_of(small_root, 0) + rows_of(small_root, 1)
    sums = [sum(row[name] for row in rows) for name in ("crc32", "size")]
    assert duckdb.sql(query).fetchall() == [(2 * NUM, 2 * NUM, *sums)]
    types = dict(row[:2] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {files}").fetchall())
    assert types["crc32"] == "UINTEGER"
    assert types["rounds"].startswith("STRUCT(operand VARCHAR, ")
    assert types["rounds"].endswith(")[]")
