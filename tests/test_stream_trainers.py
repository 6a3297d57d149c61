"""The readers under the trainers that people have: Lightning, timm, and torchrun, also killed and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import lightning
import numpy as np
import psutil
import pytest
import timm.data
import torch
from torch.utils.data import DataLoader

from pipeline.stream import CIFAR, IMAGENET, Normalize, ShardDataset, ShardStream
from tests.stream_helpers import truth_of

SCRIPT = Path(__file__).with_name("stream_training.py")


class Module(lightning.LightningModule):
    """A linear model that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize, self.model = Normalize(*CIFAR), torch.nn.Linear(3 * 8 * 8, 3)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch, _):
        images, labels = batch
        self.seen.append((images, labels))
        logits = self.model(self.normalize(images).flatten(1))
        return torch.nn.functional.cross_entropy(logits, labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("reader", ["dataset", "stream"])
def test_lightning_trains_on_either(codec_roots, tmp_path, reader):
    root, truth = codec_roots["npy"], truth_of(codec_roots["npy"])
    if reader == "dataset":
        loader = DataLoader(ShardDataset(root), batch_size=10)
    else:
        loader = DataLoader(ShardStream(root, batch_size=10), batch_size=None)
    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader)
    assert trainer.num_training_batches == 3
    images = torch.cat([images for images, _ in module.seen])
    assert np.array_equal(images.numpy(), truth.images)
    assert torch.cat([labels for _, labels in module.seen]).tolist() == truth.labels


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_timm_create_loader_takes_a_dataset(codec_roots, num_workers, prefetch):
    truth = truth_of(codec_roots["jpg"])
    loader = timm.data.create_loader(
        ShardDataset(codec_roots["jpg"]),
        input_size=(3, 8, 8),
        batch_size=24,
        crop_pct=1.0,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        num_workers=num_workers,
        use_prefetcher=prefetch,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    ((images, labels),) = loader
    expected = Normalize(*IMAGENET)(torch.from_numpy(truth.images))
    assert torch.allclose(images, expected, atol=1e-5)
    assert labels.tolist() == truth.labels


# ── torchrun ──


def start(root: Path, folder: Path, epochs: int, pause_s: float) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += [str(SCRIPT), str(root), str(folder), str(epochs), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines(folder: Path, rank: int) -> list[dict]:
    path = folder / f"rank-{rank}.jsonl"
    content = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in content.splitlines(True) if line.endswith("\n")]


def kill_tree(process: subprocess.Popen[str]) -> None:
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    psutil.wait_procs(family)
    process.communicate()


@pytest.mark.slow
def test_torchrun_killed_in_mid_epoch_and_resumed_reads_every_sample_once(small_root, tmp_path):
    first = start(small_root, tmp_path, epochs=2, pause_s=0.03)
    deadline = time.monotonic() + 120
    while len(lines(tmp_path, 1)) < 18 and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert first.poll() is None, first.communicate()[0]
    kill_tree(first)
    step = torch.load(tmp_path / "checkpoint.pt")["step"]
    before = [[line for line in lines(tmp_path, rank) if line["step"] <= step] for rank in (0, 1)]
    for rank in (0, 1):
        (tmp_path / f"rank-{rank}.jsonl").unlink()
    second = start(small_root, tmp_path, epochs=2, pause_s=0)
    output, _ = second.communicate(timeout=240)
    assert second.returncode == 0, output
    after = [lines(tmp_path, rank) for rank in (0, 1)]
    assert 14 <= step < 45
    for epoch in (0, 1):
        ranks = [
            [line["keys"] for line in before[r] + after[r] if line["epoch"] == epoch]
            for r in (0, 1)
        ]
        assert [len(batches) for batches in ranks] == [45, 45]
        assert all(batch for batches in ranks for batch in batches)
        found = Counter(key for batches in ranks for batch in batches for key in batch)
        assert found == Counter(f"{epoch:04d}-{position:010d}" for position in range(1437))
