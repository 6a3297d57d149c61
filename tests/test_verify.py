"""Whatever is wrong with a finished root, verify finds it and names the file and the sample concerned."""

from __future__ import annotations

import os
import random
import shutil
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DreamshardsError
from pipeline.shards.reader import read_manifest
from tests.conftest import tree
from tests.tiny import (
    MANIFEST,
    MERGED,
    NUM_SAMPLES,
    RECORD_BYTES,
    SHARD_BYTES,
    TAR,
    build_tiny,
    check,
    flipped,
    found,
    key,
    planted,
)

REGIONS = {
    "name": (0, 100),
    "header": (100, 512),
    "npy header": (512, 512 + 128),
    "pixels": (512 + 128, 512 + 128 + 192),
    "padding": (512 + 128 + 192, 1024),
    "label name": (1024, 1124),
    "label header": (1124, 1536),
    "label": (1536, 1537),
    "label padding": (1537, 2048),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("verify"))


@pytest.fixture(autouse=True)
def _left_as_it_was(root) -> Iterator[None]:
    before = tree(root)
    yield
    assert tree(root) == before


# ── nothing wrong ──


@pytest.mark.parametrize("fraction", [0, 1e-9, 0.05, 0.5, 1])
def test_a_clean_root_has_no_faults(root, fraction):
    report = check(root, fraction)
    assert (report.faults, report.num_shards, report.num_samples) == ([], 3, NUM_SAMPLES)
    if fraction in (0, 1):
        assert report.num_replayed == NUM_SAMPLES * fraction
    else:
        assert 1 <= report.num_replayed < NUM_SAMPLES


def test_two_epochs_of_digits_have_no_faults(small_root):
    report = check(small_root, 1)
    assert (report.faults, report.num_shards, report.num_samples) == ([], 6, 2874)
    assert report.num_replayed == 2874
    assert 0 < check(small_root, 0.05).num_replayed < 2874 * 0.1


@pytest.mark.parametrize("codec", ["jpg", "png", "webp"])
def test_roots_of_other_codecs_replay_and_name_flipped_samples(tmp_path, codec):
    root = build_tiny(tmp_path, f"shards.codec={codec}")
    assert check(root, 1).faults == []
    content = (root / TAR).read_bytes()
    offsets = read_manifest(root, MANIFEST)["offset"].to_pylist()
    rng = random.Random(0)
    for _ in range(20):
        position = rng.randrange(len(content) - 1024)
        row = bisect(offsets, position + 512) - 1
        assert found(root, flipped(content, position, rng.randrange(8))) == {(TAR, key(row))}


# ── flipped bits ──


def test_every_flipped_bit_of_a_tar_is_found_in_the_right_sample(root):
    content = (root / TAR).read_bytes()
    assert len(content) == SHARD_BYTES
    rng = random.Random(0)
    for _ in range(300):
        position = rng.randrange(SHARD_BYTES)
        row = position // RECORD_BYTES
        changed = flipped(content, position, rng.randrange(8))
        assert found(root, changed) == {(TAR, key(row) if row < 8 else None)}, position


@pytest.mark.parametrize("region", REGIONS)
def test_every_part_of_a_record_is_checked(root, region):
    content = (root / TAR).read_bytes()
    start, stop = REGIONS[region]
    rng = random.Random(region)
    for position in (start, stop - 1, *(rng.randrange(start, stop) for _ in range(8))):
        row = rng.randrange(8)
        place = row * RECORD_BYTES + position
        with planted(root / TAR, flipped(content, place, rng.randrange(8))):
            (fault,) = check(root).faults
        assert (fault.file, fault.key) == (TAR, key(row))
        pixels = region in ("npy header", "pixels")
        assert ("altered pixels: CRC-32 " in fault.what) == pixels
        assert pixels or fault.what == "altered header, label or padding"


def test_the_end_of_an_archive_is_checked(root):
    content = (root / TAR).read_bytes()
    for position in (8 * RECORD_BYTES, 8 * RECORD_BYTES + 700, SHARD_BYTES - 1):
        with planted(root / TAR, flipped(content, position, 0)):
            assert [str(fault) for fault in check(root).faults] == [
                f"{TAR}: altered after its last sample"
            ]


def test_flips_in_many_samples_are_all_named(root):
    content = (root / TAR).read_bytes()
    for row in (0, 3, 7):
        content = flipped(content, row * RECORD_BYTES + 700, 5)
    assert found(root, content) == {(TAR, key(row)) for row in (0, 3, 7)}


@pytest.mark.parametrize("file", [MANIFEST, MERGED])
def test_every_flipped_bit_of_a_manifest_is_found(root, file):
    content = (root / file).read_bytes()
    rng = random.Random(1)
    for _ in range(80):
        changed = flipped(content, rng.randrange(len(content)), rng.randrange(8))
        assert {name for name, _ in found(root, changed, file)} == {file}


def test_every_flipped_bit_of_the_recipe_is_found(root):
    content = (root / "recipe.json").read_bytes()
    rng = random.Random(2)
    for _ in range(40):
        changed = flipped(content, rng.randrange(len(content)), rng.randrange(8))
        assert found(root, changed, "recipe.json") == {("recipe.json", None)}


def test_every_flipped_bit_of_dataset_json_stops_with_its_name(root):
    content = (root / "dataset.json").read_bytes()
    rng = random.Random(3)
    for _ in range(80):
        changed = flipped(content, rng.randrange(len(content)), rng.randrange(8))
        with planted(root / "dataset.json", changed):
            with pytest.raises(DreamshardsError) as caught:
                check(root)
            assert str(caught.value).startswith(f"{root / 'dataset.json'}: ")


# ── cut, extended, missing ──


def test_a_tar_cut_at_any_block_or_byte_names_what_is_gone(root):
    content = (root / TAR).read_bytes()
    rng = random.Random(4)
    blocks = range(0, SHARD_BYTES, 512)
    for size in {*blocks, SHARD_BYTES - 1, *(rng.randrange(SHARD_BYTES) for _ in range(40))}:
        gone = {(TAR, key(row)) for row in range(size // RECORD_BYTES, 8)}
        assert found(root, content[:size]) == gone | {(TAR, None)}


@pytest.mark.parametrize("junk", [b"\0", bytes(512), b"junk", bytes(RECORD_BYTES)])
def test_a_longer_tar_is_found(root, junk):
    content = (root / TAR).read_bytes()
    assert found(root, content + junk) == {(TAR, None)}
    twice = content[: 8 * RECORD_BYTES] + content[7 * RECORD_BYTES :]
    assert found(root, twice) == {(TAR, None)}
    lacking = content[: 2 * RECORD_BYTES] + content[3 * RECORD_BYTES :]
    assert found(root, lacking) == {(TAR, None)} | {(TAR, key(row)) for row in range(2, 8)}


@pytest.mark.parametrize("file", [TAR, MANIFEST, MERGED, "recipe.json"])
@pytest.mark.parametrize("fraction", [0, 1])
def test_a_missing_file_is_named(root, file, fraction):
    with planted(root / file, None):
        report = check(root, fraction)
        assert [str(fault) for fault in report.faults] == [f"{file}: is missing"]
        (root / file).symlink_to(root / "nowhere")
        assert [str(fault) for fault in check(root, fraction).faults] == [f"{file}: is missing"]


@pytest.mark.parametrize("file", [TAR, MANIFEST, MERGED])
def test_a_folder_or_pipe_in_a_files_place_is_named(root, file):
    with planted(root / file, None):
        os.mkfifo(root / file)
        assert [str(fault) for fault in check(root, 1).faults] == [f"{file}: is not a file"]
        (root / file).unlink()
        (root / file / "inside").mkdir(parents=True)
        assert {str(fault) for fault in check(root, 1).faults} == {
            f"{file}: is not a file",
            f"{file}/inside: does not belong to this dataset",
        }
        shutil.rmtree(root / file)


def test_without_any_manifest_an_altered_tar_is_still_found(root):
    content = flipped((root / TAR).read_bytes(), 700, 0)
    with planted(root / MANIFEST, None), planted(root / MERGED, None):
        assert found(root, content) == {(MANIFEST, None), (MERGED, None), (TAR, None)}
        assert check(root).faults == check(root, 1).faults  # nothing to replay from: no more to say
    with planted(root / MANIFEST, None):  # its rows are in the epoch's manifest too
        assert found(root, content) == {(MANIFEST, None), (TAR, key(0))}


def test_an_incomplete_root_is_refused(root):
    unfinished = pytest.raises(DreamshardsError, match="the build is not complete; run the same")
    with planted(root / "dataset.json", None), unfinished:
        check(root)
    with pytest.raises(DreamshardsError, match="no such folder"):
        check(root / "nowhere")
