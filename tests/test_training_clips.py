"""Training on clips: it learns motions, tests are of videos, R3D-18 learns as in the V-PixMix experiment."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torchvision import models

from pipeline.sources import SOURCES
from pipeline.stream import ShardStream, positions_of
from tests.clip_helpers import MOTIONS, SHORT, VIDEOS, build_clips, open_bars
from tests.training_helpers import one_thread, run_command
from training.checkpoint import load_trained
from training.config import TrainConfig, load_config
from training.loop import train
from training.setup import make_normalize

TRAIN = {"name": "clips", "epochs": 2, "source": {"split": "train", "starts": "random"}}
SMALL = ("hardware.device=cpu", "hardware.precision=fp32", "save.tensorboard=false")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a root to train on and one to test with: three clips of each video but the first three."""
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "digit-videos", open_bars)
        train_root = build_clips(folder / "train", **TRAIN)
        test_root = build_clips(folder / "test", source={"starts": "windows", "clips": 1})
    return train_root, test_root


def small_run(roots: tuple[Path, Path], *overrides: str) -> TrainConfig:
    places = [f"data.train={roots[0]}", f"data.test={roots[1]}"]
    return load_config("digit-videos", [*SMALL, *places, "batch_size=16", *overrides])


def errors(checkpoint: Path, root: Path) -> tuple[float, float]:
    """Return the error over clips and over videos, by the names of videos in the manifest."""
    trained = load_trained(checkpoint)
    normalize = make_normalize(trained.config, torch.device("cpu"))
    names = pq.read_table(root / "epoch-0000" / "manifest.parquet")["source_id"].to_pylist()
    sums: dict[str, torch.Tensor] = {}
    labels: dict[str, int] = {}
    wrong = 0
    stream = ShardStream(root, batch_size=7, return_keys=True)
    with torch.inference_mode():
        for batch in stream:
            shares = trained.net.eval()(normalize(batch.images)).softmax(1)
            wrong += int((shares.argmax(1) != batch.labels).sum())
            for key, label, share in zip(batch.keys, batch.labels.tolist(), shares, strict=True):
                name = names[int(key[5:])]
                sums[name] = sums.get(name, torch.zeros(len(MOTIONS))) + share
                labels[name] = label
    of_videos = [int(sums[name].argmax()) != label for name, label in labels.items()]
    assert len(names) == 3 * VIDEOS["test"] - 2 * SHORT
    assert len(of_videos) == VIDEOS["test"]
    return wrong / len(names), sum(of_videos) / len(of_videos)


def test_a_network_learns_motions_and_is_tested_on_videos(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    report = train(small_run(roots, "epochs=2", "optimizer.lr=0.02"), tmp_path / "run")
    rows = report.progress.history
    assert rows[1]["train_loss"] < rows[0]["train_loss"] < 2
    of_clips, of_videos = errors(tmp_path / "run" / "last.pt", roots[1])
    assert rows[1]["test_error"] == pytest.approx(of_videos, abs=1e-6)
    assert of_clips != of_videos
    with (tmp_path / "run" / "log.csv").open() as file:
        logged = float(list(csv.DictReader(file))[-1]["test_error"])
    assert logged == pytest.approx(of_videos, abs=1e-6)


def test_more_epochs_learn_the_motions(roots: tuple[Path, Path], tmp_path: Path) -> None:
    report = train(small_run(roots, "epochs=12", "test_every=12"), tmp_path / "run")
    assert report.progress.history[-1]["test_error"] <= 0.1


@pytest.mark.slow
def test_ranks_share_the_videos(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """Under torchrun clips of one video are tested by different processes; the answer is of all of them."""
    words = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29523"]
    words += ["-m", "training", "digit-videos", "--out", str(tmp_path / "run"), "--set", *SMALL]
    words += ["batch_size=16", "epochs=1", "optimizer.lr=0.02"]
    words += [f"data.train={roots[0]}", f"data.test={roots[1]}"]
    done = run_command([sys.executable, *words], env=one_thread())
    assert done.returncode == 0, done.stderr
    (row,) = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["history"]
    _, of_videos = errors(tmp_path / "run" / "last.pt", roots[1])
    assert row["test_error"] == pytest.approx(of_videos, abs=1e-6)


def test_streams_tell_the_videos_of_clips(roots: tuple[Path, Path]) -> None:
    numbers = ShardStream(roots[1], batch_size=1).videos()
    assert numbers.dtype == np.int64
    firsts = [numbers.tolist().index(number) for number in range(VIDEOS["test"])]
    assert firsts == sorted(firsts)
    assert sorted(np.bincount(numbers).tolist()) == [1] * SHORT + [3] * (VIDEOS["test"] - SHORT)
    names = pq.read_table(roots[1] / "epoch-0000" / "manifest.parquet")["source_id"].to_pylist()
    assert len(set(zip(names, numbers.tolist(), strict=True))) == VIDEOS["test"]


def test_keys_tell_positions() -> None:
    assert positions_of(["0000-0000000000", "0003-0000012345"]).tolist() == [0, 12345]
    assert positions_of([]).tolist() == []
    with pytest.raises(ValueError, match=r"'12' is no key; allowed: such as '0000-0000000007'"):
        positions_of(["0000-0000000001", "12"])


@pytest.mark.slow
def test_r3d_18_learns_as_in_the_experiment(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """From trained weights the head alone learns, norms keep their statistics, and the rate ends at 0.195."""
    torch.manual_seed(0)
    begun = models.get_model("r3d_18", weights=None, num_classes=7).state_dict()
    torch.save(begun, tmp_path / "kinetics.pth")
    places = [f"data.train={roots[0]}", f"data.test={roots[1]}", "epochs=1", "batch_size=24"]
    config = load_config("ucf101", [*SMALL, *places, f"model.weights={tmp_path / 'kinetics.pth'}"])
    report = train(config, tmp_path / "run")
    assert report.fresh == ["fc.weight", "fc.bias"]
    assert report.num_steps == 6
    (row,) = report.progress.history
    assert row["lr"] == pytest.approx(0.03 * math.cos(7 * math.pi / 16 * 5 / 6))
    found = load_trained(tmp_path / "run" / "last.pt").net.state_dict()
    assert found["fc.weight"].shape == (4, 512)
    for name, value in begun.items():
        same = torch.equal(value, found[name]) if not name.startswith("fc") else None
        if "running" in name:
            assert same is False, name
        elif same is not None and "num_batches" not in name:
            assert same, name


@pytest.mark.slow
def test_r3d_18_learns_whole(roots: tuple[Path, Path], tmp_path: Path) -> None:
    fields = ["model.weights=null", "model.feature_extract=false", "epochs=1", "batch_size=18"]
    places = [f"data.train={roots[1]}", "data.test=null"]
    report = train(load_config("ucf101", [*SMALL, *places, *fields]), tmp_path / "run")
    assert report.num_steps == 3
    net = load_trained(tmp_path / "run" / "last.pt").net
    torch.manual_seed(0)
    fresh = models.get_model("r3d_18", weights=None, num_classes=4)
    moved = [
        name
        for name, value in fresh.named_parameters()
        if not torch.equal(value, dict(net.named_parameters())[name])
    ]
    assert len(moved) == len(list(fresh.parameters()))
