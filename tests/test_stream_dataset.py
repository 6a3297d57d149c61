"""`ShardDataset` gives the very samples, one by one, by batches, through loaders, workers and trainers."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler, Subset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchvision.transforms import v2

from pipeline.errors import DreamshardsError
from pipeline.store import RemoteStore
from pipeline.stream import Batch, KeyedBatch, Sample, ShardDataset, pieces
from tests.servers import BUCKET
from tests.stream_helpers import CODECS, truth_of
from tests.tiny import KEY, ROW, TAR


def assert_batches(batches, truth, positions, size):
    """Compare batches with the truth at some positions, in order."""
    found = list(batches)
    assert [len(batch.labels) for batch in found[:-1]] == [size] * (len(found) - 1)
    images = torch.cat([batch.images for batch in found])
    labels = torch.cat([batch.labels for batch in found])
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert np.array_equal(images.numpy(), truth.images[positions])
    assert labels.tolist() == [truth.labels[i] for i in positions]
    if len(found[0]) == 3:
        assert [key for batch in found for key in batch.keys] == [truth.keys[i] for i in positions]


@pytest.mark.parametrize("num_threads", [None, 1, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_every_sample_is_what_tarfile_and_the_decoder_give(codec_roots, places, codec, num_threads):
    root = codec_roots[codec]
    for epoch in (0, 1):
        truth = truth_of(root, epoch)
        dataset = ShardDataset(
            places[codec], epoch, return_keys=True, check_crc=True, num_threads=num_threads
        )
        assert len(dataset) == len(truth.keys) == 24
        for i, sample in enumerate(dataset):
            assert (sample.label, sample.key) == (truth.labels[i], truth.keys[i])
            assert np.array_equal(sample.image.numpy(), truth.images[i])
        order = random.Random(0).choices(range(24), k=50)  # any order, repeats
        samples = dataset.__getitems__(order)
        assert [sample.key for sample in samples] == [truth.keys[i] for i in order]
        assert np.array_equal(torch.stack([s.image for s in samples]).numpy(), truth.images[order])


def test_a_root_of_three_shards_reads_in_any_order(small_root):
    truth, dataset = truth_of(small_root, 1), ShardDataset(small_root, 1)
    order = random.Random(1).sample(range(1437), 1437)
    batches = (dataset.__getitems__(order[i : i + 100]).batch for i in range(0, 1437, 100))
    assert_batches(batches, truth, order, 100)
    assert dataset.classes == [str(digit) for digit in range(10)]


def test_positions_count_from_the_end_too_and_end(places):
    dataset = ShardDataset(places["npy"], return_keys=True)
    assert dataset[-1].key == dataset[23].key == "0000-0000000023"
    assert dataset[np.int64(5)].key == "0000-0000000005"
    for position in (24, -25):
        with pytest.raises(IndexError, match=f"position {position} of 24 samples"):
            dataset[position]


@pytest.mark.parametrize("codec", ["npy", "png"])
def test_a_batch_with_a_position_outside_is_refused(places, codec):
    dataset = ShardDataset(places[codec])
    for wrong in (24, -1):
        with pytest.raises(IndexError, match=f"position {wrong} is not in epoch 0 of .* 0 to 23"):
            dataset.__getitems__([3, wrong])


# ── loaders ──


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_a_stock_data_loader_gives_whole_batches(codec_roots, places, codec, num_workers):
    loader = DataLoader(
        ShardDataset(places[codec]), batch_size=5, num_workers=num_workers, pin_memory=True
    )
    batches = list(loader)
    assert {type(batch) for batch in batches} == {Batch}
    assert_batches(batches, truth_of(codec_roots[codec]), list(range(24)), 5)


def test_shuffled_batches_hold_every_sample_once(codec_roots, places):
    truth = truth_of(codec_roots["npy"])
    dataset = ShardDataset(places["npy"], return_keys=True)
    loader = DataLoader(dataset, 5, shuffle=True, generator=torch.Generator().manual_seed(3))
    found = [key for batch in loader for key in batch.keys]
    assert sorted(found) == truth.keys
    assert found != truth.keys


def identity(samples):
    return samples


@pytest.mark.parametrize("num_workers", [0, 1])
def test_another_collate_fn_sees_a_sequence_of_samples(codec_roots, num_workers):
    truth = truth_of(codec_roots["npy"])
    dataset = ShardDataset(codec_roots["npy"])
    loader = DataLoader(dataset, batch_size=24, collate_fn=identity, num_workers=num_workers)
    (samples,) = loader
    assert len(samples) == 24
    assert isinstance(samples[3], Sample)
    assert isinstance(samples[3], tuple)
    pairs = [(image.numpy(), label) for image, label in samples]
    assert [label for _, label in pairs] == [sample.label for sample in samples] == truth.labels
    assert np.array_equal(np.stack([image for image, _ in pairs]), truth.images)
    assert [sample.label for sample in samples[2:9:3]] == truth.labels[2:9:3]
    assert samples[-1].label == truth.labels[-1]


def test_spawned_workers_open_the_files_themselves(codec_roots):
    root = codec_roots["jpg"]
    dataset = ShardDataset(root, return_keys=True)
    assert dataset[0].key == "0000-0000000000"  # files are open when it is pickled
    loader = DataLoader(dataset, batch_size=5, num_workers=1, multiprocessing_context="spawn")
    assert_batches(loader, truth_of(root), list(range(24)), 5)


@pytest.mark.parametrize("codec", ["npy", "jpg"])
def test_a_pickled_dataset_reads_the_same(places, codec):
    dataset = ShardDataset(places[codec], 1, return_keys=True, num_threads=2)
    dataset.__getitems__(range(24))
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[7].key == dataset[7].key
    assert torch.equal(copy[7].image, dataset[7].image)


def test_subsets_and_distributed_samplers_share_out_the_epoch(codec_roots, places):
    truth = truth_of(codec_roots["npy"])
    dataset = ShardDataset(places["npy"], return_keys=True)
    chosen = [20, 3, 5, 11]
    assert_batches(DataLoader(Subset(dataset, chosen), batch_size=3), truth, chosen, 3)
    found = []
    for rank in range(3):
        sampler = DistributedSampler(dataset, num_replicas=3, rank=rank)
        found += [key for batch in DataLoader(dataset, 4, sampler=sampler) for key in batch.keys]
    assert sorted(found) == truth.keys


# ── transforms ──


class Spy:
    """A picklable transform that says what it was given."""

    def __call__(self, image: Image.Image) -> tuple[str, str, int]:
        return type(image).__name__, image.mode, int(np.asarray(image).sum())


def test_a_transform_gets_each_image_as_pillow(codec_roots, places):
    truth = truth_of(codec_roots["png"])
    dataset = ShardDataset(places["png"], transform=Spy())
    assert [sample.image for sample in dataset.__getitems__([4, 2])] == [
        ("Image", "RGB", int(truth.images[i].sum())) for i in (4, 2)
    ]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_torchvision_transforms_collate_to_batches(codec_roots, num_workers):
    truth = truth_of(codec_roots["npy"])
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    dataset = ShardDataset(codec_roots["npy"], transform=transform, return_keys=True)
    batch, *_ = DataLoader(dataset, batch_size=24, num_workers=num_workers)
    assert isinstance(batch, KeyedBatch)
    expected = truth.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.allclose(batch.images.numpy(), expected)
    assert batch.labels.tolist() == truth.labels
    assert list(batch.keys) == truth.keys


# ── epochs and states ──


def test_set_epoch_goes_round_past_the_last_and_the_constructor_refuses(codec_roots, places):
    root = codec_roots["npy"]
    dataset = ShardDataset(places["npy"], return_keys=True)
    for epoch, number in ((1, 1), (2, 0), (7, 1)):
        dataset.set_epoch(epoch)
        assert dataset.epoch == epoch
        assert dataset[3].key == f"{number:04d}-0000000003"
        assert np.array_equal(dataset[3].image.numpy(), truth_of(root, number).images[3])
    with pytest.raises(
        DreamshardsError, match=r"no epoch 2; allowed: 0 to 1. set_epoch goes round"
    ):
        ShardDataset(places["npy"], 2)
    for wrong in (-1, 0.5, "0", None):
        with pytest.raises(DreamshardsError, match=r"epoch = .*; allowed: whole numbers from 0"):
            ShardDataset(places["npy"], wrong)


def test_set_epoch_reaches_persistent_workers(places):
    dataset = ShardDataset(places["npy"], return_keys=True)
    loader = DataLoader(dataset, batch_size=24, num_workers=1, persistent_workers=True)
    for epoch in (0, 1, 2, 1):
        dataset.set_epoch(epoch)
        (batch,) = loader
        assert batch.keys[0] == f"{epoch % 2:04d}-0000000000"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stateful_loader_resumes_in_mid_epoch(places, num_workers):
    def loader(epoch: int = 0) -> StatefulDataLoader:
        dataset = ShardDataset(places["npy"], epoch, return_keys=True)
        torch.manual_seed(5)
        return StatefulDataLoader(dataset, batch_size=5, shuffle=True, num_workers=num_workers)

    whole = [batch.keys for batch in loader(1)]
    begun = loader(1)
    batches = iter(begun)
    taken = [next(batches).keys for _ in range(2)]
    state = pickle.loads(pickle.dumps(begun.state_dict()))
    del batches
    torch.manual_seed(99)
    resumed = loader()
    resumed.load_state_dict(state)
    assert taken + [batch.keys for batch in resumed] == whole


def test_a_state_of_another_root_is_refused(codec_roots):
    state = ShardDataset(codec_roots["npy"]).state_dict()
    with pytest.raises(
        DreamshardsError, match=r"the state is of another root: digest [0-9a-f]{64}, dataset"
    ):
        ShardDataset(codec_roots["png"]).load_state_dict(state)
    with pytest.raises(DreamshardsError, match=r"the state is of another root: digest None"):
        ShardDataset(codec_roots["png"]).load_state_dict({})


def test_a_file_uri_is_a_local_root_and_an_unknown_one_is_refused(codec_roots):
    root = codec_roots["npy"]
    assert len(ShardDataset(root.as_uri())) == len(ShardDataset(str(root))) == 24
    with pytest.raises(DreamshardsError, match=r"ftp://…: no such kind of store; allowed: a path"):
        ShardDataset("ftp://host/x")
    with pytest.raises(DreamshardsError, match="a local root needs none"):
        ShardDataset(root, cache_dir="x", cache_bytes=5)
    assert isinstance(root, Path)


# ── from an object store ──


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int, int]]:
    """Record each range that a store is asked for."""
    found: list[tuple[str, int, int]] = []
    original = RemoteStore.read_range

    def read_range(self, path, start, num_bytes):
        found.append((path.partition("/shard-")[2][:6], start, num_bytes))
        return original(self, path, start, num_bytes)

    monkeypatch.setattr(RemoteStore, "read_range", read_range)
    return found


STRIDE, PAYLOAD = 2048, 128 + 192


def test_each_sample_is_one_range_and_neighbours_share_one(codec_uris, asked, monkeypatch):
    monkeypatch.setattr(pieces, "GAP_BYTES", STRIDE - PAYLOAD)
    dataset = ShardDataset(codec_uris["npy"])
    dataset[9]
    assert asked == [("000001", 512 + STRIDE, PAYLOAD)]
    asked.clear()
    dataset.__getitems__([23, 2, 1, 2, 0, 7, 8, 5])
    assert sorted(asked) == [
        ("000000", 512, 2 * STRIDE + PAYLOAD),
        ("000000", 512 + 5 * STRIDE, PAYLOAD),
        ("000000", 512 + 7 * STRIDE, PAYLOAD),
        ("000001", 512, PAYLOAD),
        ("000002", 512 + 7 * STRIDE, PAYLOAD),
    ]


def test_a_cache_serves_the_neighbours_of_what_was_read(codec_roots, codec_uris, asked, tmp_path):
    options = {"cache_dir": tmp_path, "cache_bytes": 10**6, "return_keys": True}
    truth = truth_of(codec_roots["jpg"])
    order = random.Random(2).choices(range(24), k=60)
    for batch_size, workers in ((1, 0), (7, 0), (24, 2)):
        dataset = ShardDataset(codec_uris["jpg"], **options)
        loader = DataLoader(dataset, batch_size, sampler=order, num_workers=workers)
        assert_batches(loader, truth, order, batch_size)
        assert [shard for shard, *_ in sorted(asked)] == ["000000", "000001", "000002"]


def test_altered_samples_of_a_store_are_found_unless_not_asked_for(codec_roots, moto, prefix):
    for path in codec_roots["npy"].rglob("*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            if path == codec_roots["npy"] / TAR:
                content[ROW * STRIDE + 512 + 200] ^= 1
            key = f"{prefix}/{path.relative_to(codec_roots['npy']).as_posix()}"
            moto.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    root = moto.full_uri(prefix)
    with pytest.raises(DreamshardsError, match=f"{TAR}: sample {KEY} has CRC-32"):
        ShardDataset(root).__getitems__(range(24))
    ShardDataset(root, check_crc=False).__getitems__(range(24))
