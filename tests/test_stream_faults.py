"""Roots that are damaged, unfinished or cut while they are read: always an error that names file and key."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError
from pipeline.shards.tar import BLOCK
from pipeline.stream import ShardDataset, ShardStream
from tests.tiny import KEY, MERGED, NUM_SAMPLES, RECORD_BYTES, ROW, SHARD_BYTES, TAR

EVERY = range(NUM_SAMPLES)


@pytest.fixture
def roots(codec_roots, tmp_path) -> dict[str, Path]:
    """Return copies to do harm to."""
    return {
        codec: Path(shutil.copytree(root, tmp_path / codec)) for codec, root in codec_roots.items()
    }


def read_dataset(root: Path, **options) -> None:
    ShardDataset(root, **options).__getitems__(EVERY)


def read_stream(root: Path, **options) -> None:
    list(ShardStream(root, batch_size=5, **options))


READERS = pytest.mark.parametrize("read", [read_dataset, read_stream])


def refusal(read, *arguments, **options) -> str:
    with pytest.raises(DreamshardsError) as error:
        read(*arguments, **options)
    return str(error.value)


def refusal_of_loader(loader: DataLoader) -> str:
    batches = iter(loader)
    message = refusal(list, batches)
    if loader.num_workers:
        batches._shutdown_workers()  # left to the garbage collector, it may wait for 5 s
    return message


def cut(path: Path, num_bytes: int) -> None:
    os.truncate(path, num_bytes)


CUTS = [0, 1, 512, 3 * RECORD_BYTES + 700, SHARD_BYTES - 1024, SHARD_BYTES - 1]


@READERS
@pytest.mark.parametrize("num_bytes", CUTS)
def test_a_tar_cut_before_it_is_opened_names_file_and_key(roots, read, num_bytes):
    cut(roots["npy"] / TAR, num_bytes)
    message = refusal(read, roots["npy"])
    assert message.startswith(
        f"{roots['npy'] / TAR}: {num_bytes:,} bytes, dataset.json says 17,408;"
    )
    assert message.endswith("the tar is truncated (met at sample 0000-0000000008)")


@pytest.mark.parametrize("num_bytes", CUTS)
def test_a_tar_cut_after_it_was_mapped_is_an_error_and_no_signal(roots, num_bytes):
    dataset = ShardDataset(roots["npy"])
    dataset.__getitems__(EVERY)
    stream = iter(ShardStream(roots["npy"], batch_size=9))
    next(stream)
    cut(roots["npy"] / TAR, num_bytes)
    assert f"{roots['npy'] / TAR}: {num_bytes:,} bytes, dataset" in refusal(dataset.__getitem__, 11)
    assert dataset[7].label is not None  # another shard
    assert "truncated (met at sample 0000-0000000009)" in refusal(next, stream)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_encoded_tar_cut_after_it_was_opened_names_file_and_key(roots, num_workers):
    dataset = ShardDataset(roots["jpg"])
    dataset.__getitems__(EVERY)
    size = (roots["jpg"] / TAR).stat().st_size
    cut(roots["jpg"] / TAR, size // 2)
    message = refusal_of_loader(DataLoader(dataset, batch_size=24, num_workers=num_workers))
    assert re.search(rf"{TAR}: ends after \d+ of \d+ bytes; the tar is truncated", message)
    assert re.search(r"met at sample 0000-00000000(09|1\d)\)", message)


@READERS
def test_a_longer_tar_is_altered(roots, read):
    with (roots["npy"] / TAR).open("ab") as file:
        file.write(bytes(512))
    assert "17,920 bytes, dataset.json says 17,408; the tar is altered" in refusal(
        read, roots["npy"]
    )


@READERS
@pytest.mark.parametrize("codec", ["npy", "webp"])
def test_a_missing_tar_is_named(roots, codec, read):
    (roots[codec] / TAR).unlink()
    message = refusal(read, roots[codec])
    assert message == (
        f"{roots[codec] / TAR}: No such file or directory (met at sample 0000-0000000008)"
    )


def flip(root: Path, position: int) -> None:
    content = bytearray((root / TAR).read_bytes())
    content[position] ^= 16
    (root / TAR).write_bytes(content)


@READERS
def test_a_flipped_pixel_is_found_by_its_crc_alone(roots, read):
    flip(roots["npy"], ROW * RECORD_BYTES + BLOCK + 200)
    read(roots["npy"])
    message = refusal(read, roots["npy"], check_crc=True)
    place = re.escape(f"{roots['npy'] / TAR}: sample {KEY} has CRC-32 ")
    assert re.match(
        place + "[0-9a-f]{8}, its manifest says [0-9a-f]{8}: the tar is altered", message
    )
    assert message.endswith(f"`dreamshards verify {roots['npy']}` lists what is wrong")


@READERS
def test_a_flipped_npy_header_is_always_found(roots, read):
    for position in (0, 7, 64, 127):
        flip(roots["npy"], ROW * RECORD_BYTES + BLOCK + position)
        message = refusal(read, roots["npy"])
        assert f"{TAR}: sample {KEY} does not begin with the npy header of (8, 8, 3)" in message
        flip(roots["npy"], ROW * RECORD_BYTES + BLOCK + position)
    read(roots["npy"])


@READERS
@pytest.mark.parametrize("codec", ["jpg", "png", "webp"])
def test_a_payload_that_cannot_be_decoded_is_named(roots, codec, read):
    root = roots[codec]
    index = ShardDataset(root)._reader.index
    begin, size = int(index.offsets[11]), int(index.sizes[11])
    content = bytearray((root / TAR).read_bytes())
    content[begin : begin + size] = bytes(size)
    (root / TAR).write_bytes(content)
    message = refusal(read, root)
    assert f"{TAR}: sample {KEY} is not a readable {codec} of (8, 8, 3): " in message
    assert f"sample {KEY} has CRC-32" in refusal(read, root, check_crc=True)


@READERS
@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("codec", ["jpg", "png"])
def test_a_picture_of_another_size_is_refused(roots, codec, size, read):
    root = roots[codec]
    index = ShardDataset(root)._reader.index
    buffer = io.BytesIO()
    picture = Image.fromarray(np.zeros((size, size, 3), np.uint8))
    picture.save(buffer, {"jpg": "JPEG", "png": "PNG"}[codec], quality=1)
    begin = int(index.offsets[11])
    room = (int(index.sizes[11]) + 511) // 512 * 512
    content = bytearray((root / TAR).read_bytes())
    payload = buffer.getvalue()[:room]
    content[begin : begin + len(payload)] = payload
    (root / TAR).write_bytes(content)
    assert f"sample {KEY} is not a readable {codec} of (8, 8, 3): " in refusal(read, root)


@READERS
def test_damaged_manifests_and_unfinished_roots_are_refused(roots, read, tmp_path):
    root = roots["npy"]
    manifest = (root / MERGED).read_bytes()
    (root / MERGED).write_bytes(manifest[:-9] + b"x" + manifest[-8:])
    assert f"{root / MERGED}: altered: SHA-256 " in refusal(read, root)
    (root / MERGED).unlink()
    assert f"{root / MERGED}: No such file or directory; `dreamshards verify" in refusal(read, root)
    (root / "dataset.json").unlink()
    assert "no dataset.json; the build is not complete; run the same" in refusal(read, root)
    (root / "recipe.json").unlink()
    assert refusal(read, root) == f"{root}: no dataset.json; this is not the root of a build"
    assert refusal(read, tmp_path / "x").endswith("no such folder; give the root of a build")


def test_a_fault_in_a_worker_reaches_the_loop(roots):
    (roots["npy"] / TAR).unlink()
    stream = ShardStream(roots["npy"], batch_size=4)
    message = refusal_of_loader(DataLoader(stream, batch_size=None, num_workers=2))
    assert f"{TAR}: No such file or directory" in message


def test_few_descriptors_are_enough_for_many_shards(roots, monkeypatch):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, before[1]))  # one tar open at a time
    for codec in ("npy", "png"):
        dataset = ShardDataset(roots[codec])
        expected = [sample.label for sample in dataset]
        order = [23, 0, 9, 1, 22, 8]
        found = [dataset[i].label for i in order] + [s.label for s in dataset.__getitems__(order)]
        assert found == [expected[i] for i in order] * 2
        assert len(dataset._reader._files._open) <= 3
