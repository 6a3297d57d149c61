"""Roots of mixup and CutMix give the shares of the classes as labels, by every way of reading them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import read_dataset
from pipeline.store import LocalStore, open_store
from pipeline.stream import Batch, KeyedBatch, Sample, ShardDataset, ShardStream
from pipeline.stream.index import read_index
from pipeline.stream.remote import RemoteReader
from tests.stream_helpers import truth_of
from tests.tiny import KEY, MERGED, NUM_SAMPLES, build_tiny, edit, seal

NUM_CLASSES = 3
SETTINGS = {
    "mixup-npy": ("augmentation.family=mixup", "shards.codec=npy"),
    "mixup-jpg": ("augmentation.family=mixup", "shards.codec=jpg"),
    "cutmix-npy": ("augmentation.family=cutmix", "shards.codec=npy"),
    "cutmix-png": ("augmentation.family=cutmix", "shards.codec=png"),
}
EACH = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("soft")
    return {name: build_tiny(folder, *fields, "epochs=2") for name, fields in SETTINGS.items()}


def shares_of(root: Path, epoch: int = 0) -> np.ndarray:
    """Return what the manifest says of each sample, float64 [n, 3], row by row."""
    rows = pq.read_table(root / f"epoch-{epoch:04d}/manifest.parquet").to_pylist()
    shares = np.zeros((len(rows), NUM_CLASSES))
    for share, row in zip(shares, rows, strict=True):
        share[row["label"]] += row["label_weight"]
        share[row["second_label"]] += 1 - row["label_weight"]
    return shares


def assert_labels(labels: torch.Tensor, expected: np.ndarray) -> None:
    assert labels.dtype == torch.float32
    assert labels.shape == expected.shape
    np.testing.assert_allclose(labels.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(labels.sum(dim=1).numpy(), 1, atol=1e-6)


@EACH
def test_some_are_shared_by_two_classes_and_some_are_not(roots: dict[str, Path], name: str) -> None:
    several = (shares_of(roots[name]) > 0).sum(axis=1)
    assert set(several.tolist()) == {1, 2}


@EACH
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_gives_shares_that_a_loss_takes(
    roots: dict[str, Path], name: str, num_workers: int
) -> None:
    root = roots[name]
    stream = ShardStream(root, batch_size=5, return_keys=True, check_crc=True)
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        batches = list(DataLoader(stream, batch_size=None, num_workers=num_workers))
        truth, expected = truth_of(root, epoch), shares_of(root, epoch)
        labels = torch.cat([batch.labels for batch in batches])
        assert_labels(labels, expected)
        assert np.array_equal(torch.cat([batch.images for batch in batches]).numpy(), truth.images)
        assert [key for batch in batches for key in batch.keys] == truth.keys
        logits = torch.randn(NUM_SAMPLES, NUM_CLASSES, generator=torch.Generator().manual_seed(0))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        by_hand = -(expected * torch.log_softmax(logits, 1).numpy()).sum(axis=1).mean()
        assert float(loss) == pytest.approx(by_hand, rel=1e-5)


@EACH
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stock_data_loader_gives_shares(
    roots: dict[str, Path], name: str, num_workers: int
) -> None:
    dataset = ShardDataset(roots[name], 1)
    batches = list(DataLoader(dataset, batch_size=7, num_workers=num_workers, pin_memory=True))
    assert {type(batch) for batch in batches} == {Batch}
    assert [len(batch.labels) for batch in batches] == [7, 7, 7, 3]
    assert_labels(torch.cat([batch.labels for batch in batches]), shares_of(roots[name], 1))


def identity(samples: object) -> object:
    return samples


def test_single_samples_transforms_and_other_collations(roots: dict[str, Path]) -> None:
    root = roots["mixup-npy"]
    expected = shares_of(root)
    dataset = ShardDataset(root, return_keys=True)
    sample = dataset[9]
    assert sample.key == "0000-0000000009"
    assert_labels(sample.label[None], expected[9:10])
    order = [3, 3, 0, 23]
    samples = dataset.__getitems__(order)
    assert_labels(torch.stack([label for _, label, _ in samples]), expected[order])
    assert_labels(torch.stack([samples[i].label for i in range(4)]), expected[order])
    changed = ShardDataset(root, transform=lambda image: torch.tensor(image.size))
    (batch,) = DataLoader(changed, batch_size=24)
    assert torch.equal(batch.images, torch.full((24, 2), 8))
    assert_labels(batch.labels, expected)
    (listed,) = DataLoader(ShardDataset(root), batch_size=24, collate_fn=identity)
    assert all(isinstance(one, Sample) for one in listed)
    assert_labels(torch.stack([one.label for one in listed]), expected)


def test_shuffled_batches_keep_label_and_key_together(roots: dict[str, Path]) -> None:
    root = roots["cutmix-npy"]
    expected = dict(zip(truth_of(root).keys, shares_of(root), strict=True))
    dataset = ShardDataset(root, return_keys=True)
    for batch in DataLoader(dataset, batch_size=5, shuffle=True, num_workers=1):
        assert isinstance(batch, KeyedBatch)
        assert_labels(batch.labels, np.stack([expected[key] for key in batch.keys]))


@EACH
def test_a_remote_root_gives_the_same_batches(roots: dict[str, Path], name: str) -> None:
    store = open_store(roots[name])
    assert isinstance(store, LocalStore)
    index = read_index(store, read_dataset(store), 1)
    reader = RemoteReader(store, index, check_crc=True, cache=None)
    truth, expected = truth_of(roots[name], 1), shares_of(roots[name], 1)
    for start, stop in ((0, 24), (5, 9), (6, 19), (3, 3)):  # within shards of 8 and across them
        batch = reader.read(np.arange(start, stop))
        assert np.array_equal(batch.images.numpy(), truth.images[start:stop])
        assert_labels(batch.labels, expected[start:stop])


def test_a_plain_webdataset_reader_gets_the_first_label(roots: dict[str, Path]) -> None:
    root = roots["cutmix-npy"]
    tars = sorted(map(str, root.glob("epoch-0000/*.tar")))
    samples = webdataset.WebDataset(tars, shardshuffle=False).decode().to_tuple("npy", "cls")
    rows = pq.read_table(root / "epoch-0000/manifest.parquet")
    assert [label for _, label in samples] == rows["label"].to_pylist()


def test_other_roots_have_whole_labels(codec_roots: dict[str, Path]) -> None:
    root = codec_roots["npy"]
    assert read_index(open_store(root), read_dataset(root), 0).soft is None
    (batch,) = ShardStream(root, batch_size=24)
    assert batch.labels.dtype == torch.int64
    assert batch.labels.shape == (24,)


@pytest.mark.parametrize("read", [ShardDataset, ShardStream])
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("second_label", 3, "second_label is not within 0 to 2"),
        ("second_label", -1, "second_label is not within 0 to 2"),
        ("label", 7, "label is not within 0 to 2"),
        ("label_weight", 1.5, "label_weight is not within 0 to 1"),
        ("label_weight", -0.25, "label_weight is not within 0 to 1"),
        ("label_weight", float("nan"), "label_weight is not within 0 to 1"),
    ],
)
def test_labels_that_cannot_be_are_named_with_file_and_key(
    roots: dict[str, Path], tmp_path: Path, read: type, column: str, value: float, words: str
) -> None:
    root = Path(shutil.copytree(roots["mixup-npy"], tmp_path / "root"))
    edit(root, lambda row: row.update({column: value}), MERGED)
    options = {"batch_size": 4} if read is ShardStream else {}

    def message() -> str:
        with pytest.raises(DreamshardsError) as error:
            list(read(root, **options))
        return str(error.value)

    assert re.search(rf"{MERGED}: altered: SHA-256 ", message())
    seal(root)
    expected = (
        f"{root / MERGED}: sample {KEY} is altered: {words}; `dreamshards verify {root}` lists"
    )
    assert message().startswith(expected)
