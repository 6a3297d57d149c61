"""Batches in page-locked memory, and how batches leave DataLoader workers."""

from __future__ import annotations

import io
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import read_dataset
from pipeline.store import LocalStore
from pipeline.stream import Batch, KeyedBatch, LiveStream, ShardStream, passes, samples
from pipeline.stream.index import read_index
from pipeline.stream.local import LocalReader
from pipeline.stream.remote import RemoteReader

STREAMS = (ShardStream, LiveStream)


@pytest.fixture
def locked(monkeypatch) -> list[torch.Tensor]:
    """Make a machine with a GPU of this one; return what is allocated in its page-locked memory."""
    allocated: list[torch.Tensor] = []

    def allocate(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        allocated.append(torch.full(shape, 77, dtype=dtype))
        return allocated[-1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (samples, passes):
        monkeypatch.setattr(module, "page_locked", allocate)
    return allocated


def assert_locked(batch: Batch, locked: list[torch.Tensor]) -> None:
    addresses = {tensor.data_ptr() for tensor in locked}
    assert {batch.images.data_ptr(), batch.labels.data_ptr()} <= addresses


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_batches_lie_in_page_locked_memory(codec_roots, locked, codec, stream):
    expected = list(ShardStream(codec_roots[codec], batch_size=5))
    assert locked == []
    found = list(stream(codec_roots[codec], batch_size=5, pin_memory=True))
    for one, other in zip(found, expected, strict=True):
        assert_locked(one, locked)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert locked[0].shape == (1,)  # in this thread first, so that it is the one to choose a device
    assert len(locked) == 1 + 2 * 5


def test_remote_readers_and_pickled_local_ones_lock_pages_too(codec_roots, locked):
    store = LocalStore(codec_roots["npy"])
    index = read_index(store, read_dataset(store), 0)
    options = {"check_crc": False, "pin_memory": True}
    assert_locked(
        RemoteReader(store, index, cache=None, **options).read(torch.arange(3, 20).numpy()), locked
    )
    local = pickle.loads(pickle.dumps(LocalReader(store, index, num_threads=1, **options)))
    assert_locked(local.read(torch.arange(3, 20).numpy()), locked)


@pytest.mark.parametrize("stream", STREAMS)
def test_workers_are_told_to_leave_it_to_the_loader(codec_roots, locked, stream):
    loader = DataLoader(
        stream(codec_roots["npy"], batch_size=5, pin_memory=True), batch_size=None, num_workers=1
    )
    with pytest.raises(DreamshardsError, match="give pin_memory=True to the DataLoader, not to"):
        next(iter(loader))
    assert locked == []


@pytest.mark.parametrize("stream", STREAMS)
def test_without_cuda_it_is_refused_at_once(codec_roots, monkeypatch, stream):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DreamshardsError, match="torch finds no CUDA device here"):
        stream(codec_roots["npy"], batch_size=5, pin_memory=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_a_gpu_reads_them(codec_roots, codec, stream):
    expected = list(ShardStream(codec_roots[codec], batch_size=5))
    pinned = stream(codec_roots[codec], batch_size=5, pin_memory=True)
    for one, other in zip(pinned, expected, strict=True):
        assert one.images.is_pinned()
        assert one.labels.is_pinned()
        assert torch.equal(one.images.to("cuda", non_blocking=True).cpu(), other.images)


# ── out of a worker ──


def passed(batch: Batch | KeyedBatch) -> tuple[Batch | KeyedBatch, int]:
    """Return a batch as another process gets it, and how many bytes were sent beside shared memory."""
    buffer = io.BytesIO()
    ForkingPickler(buffer).dump(batch)
    return pickle.loads(buffer.getvalue()), len(buffer.getvalue())


def test_labels_leave_a_worker_by_value_and_pictures_by_shared_memory(codec_roots: dict[str, Path]):
    images = torch.zeros((64, 32, 32, 3), dtype=torch.uint8).share_memory_()
    keys = [str(number) for number in range(64)]
    for batch in (Batch(images, torch.arange(64)), KeyedBatch(images, torch.arange(64), keys)):
        found, num_bytes = passed(batch)
        assert type(found) is type(batch)
        assert found.labels.tolist() == list(range(64))
        assert found.labels.dtype == torch.int64
        found.labels.add_(1)  # it can be written to, and is the receiver's own
        assert batch.labels[0] == 0
        assert found[2:] == batch[2:]
        assert 64 * 8 < num_bytes < 4000
        found.images[0, 0, 0, 0] += 1
        assert batch.images[0, 0, 0, 0] == found.images[0, 0, 0, 0]


def test_labels_that_have_no_bytes_here_are_left_to_torch():
    assert samples._reduce(Batch(torch.zeros(1), torch.zeros(1, device="meta")))[0] is Batch
