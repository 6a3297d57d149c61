"""A sample that kills the process that renders it costs that sample, by name, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline.build
import pipeline.cli
from evaluation.sets import open_root
from pipeline.build import build
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import Recipe, load_recipe
from pipeline.replay import replay
from pipeline.shards.dataset import read_dataset
from pipeline.shards.lost import lost_positions, positions_of_rows
from pipeline.sources.images import Scaled
from pipeline.stream import ShardDataset, ShardStream, positions_of
from pipeline.verify import verify
from tests.conftest import tree

pytestmark = pytest.mark.slow  # many processes die in them

SMALL = ("source.count=23", "epochs=2", "mixing_set.count=8", "shards.samples_per_shard=8")
# Each death of a worker costs seconds, so there are few: 3 of the shard, then 3 of the sample alone.
DEADLY = 5
"""The source picture that kills whoever reads it."""


@dataclass(frozen=True, eq=False)
class DeadlySource:
    """A source one of whose pictures kills the process that reads it."""

    whole: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("whole", "pixels"):
            raise AttributeError(name)
        return getattr(self.whole, name)

    def read(self, index: int) -> np.ndarray:
        if index == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.whole.read(index)

    def read_scaled(self, index: int, scale: int) -> Scaled:
        return Scaled(self.read(index), 8)


def open_deadly(recipe: Recipe, executor: Any) -> Any:
    inputs = open_inputs(recipe, executor)
    return inputs._replace(source=DeadlySource(inputs.source))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> tuple[Path, Path]:
    """Return a root that lacks a sample in each of two epochs, and one of the same recipe that lacks none."""
    folder = tmp_path_factory.mktemp("losses")
    recipe = load_recipe("digits", SMALL)
    build(recipe, folder / "whole", InlineExecutor())
    with pytest.MonkeyPatch.context() as patch, RayExecutor(ray_address, 2) as executor:
        patch.setattr(pipeline.build, "open_inputs", open_deadly)
        build(recipe, folder / "lossy", executor)
    return folder / "lossy", folder / "whole"


def samples_of(root: Path, epoch: int) -> dict[str, tuple[bytes, int]]:
    stream = ShardStream(root, batch_size=5, epoch=epoch, return_keys=True)
    return {
        key: (image.numpy().tobytes(), int(label))
        for images, labels, keys in stream
        for image, label, key in zip(images, labels, keys, strict=True)
    }


def test_only_the_deadly_sample_is_missing_and_it_is_named(roots) -> None:
    lossy, whole = roots
    dataset, other = read_dataset(lossy), read_dataset(whole)
    names = [entry["source_id"] for entry in dataset["losses"]]
    assert len(dataset["losses"]) == 2
    assert [entry["source_index"] for entry in dataset["losses"]] == [DEADLY, DEADLY]
    assert len({*names}) == 1
    assert {entry["reason"] for entry in dataset["losses"]} == {
        "it kills the process that renders it, each time"
    }
    assert dataset["samples"] == 44
    assert other["samples"] == 46
    assert "losses" not in other
    assert sum(entry["samples"] for entry in dataset["shards"]) == 44
    assert sorted(entry.get("lost", 0) for entry in dataset["shards"]) == [0, 0, 0, 0, 1, 1]
    for epoch in (0, 1):
        found, expected = samples_of(lossy, epoch), samples_of(whole, epoch)
        lost = dataset["losses"][epoch]["key"]
        del expected[lost]
        assert found == expected


def test_shards_without_it_are_those_of_an_undisturbed_build(roots) -> None:
    lossy, whole = roots
    dataset = read_dataset(lossy)
    same = [entry for entry in dataset["shards"] if "lost" not in entry]
    found, expected = tree(lossy), tree(whole)
    assert len(same) == 4
    for entry in same:
        for file in (entry["file"], entry["manifest"]):
            assert found[file] == expected[file]
    assert found.keys() == expected.keys()


def test_readers_know_positions_and_lengths(roots) -> None:
    lossy, _ = roots
    dataset = read_dataset(lossy)
    (lost,) = lost_positions(dataset, 1).tolist()
    stream = ShardStream(lossy, batch_size=4, epoch=1, return_keys=True)
    assert len(stream) == stream.fewest_steps == 6  # 22 samples
    positions = torch.cat([positions_of(batch.keys) for batch in stream]).tolist()
    assert positions == [position for position in range(23) if position != lost]
    samples = ShardDataset(lossy, epoch=1, return_keys=True)
    assert len(samples) == 22
    assert [samples[i].key for i in range(22)] == [f"0001-{place:010d}" for place in positions]
    state = ShardStream(lossy, batch_size=4, epoch=1)
    taken = iter(state)
    next(taken)
    resumed = ShardStream(lossy, batch_size=3, return_keys=True)
    resumed.load_state_dict(state.state_dict())
    assert [key for batch in resumed for key in batch.keys] == [
        f"0001-{place:010d}" for place in positions[4:]
    ]


def test_positions_of_rows_skip_what_is_lost() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        num = int(chance.integers(1, 40))
        lost = np.flatnonzero(chance.random(num) < 0.3)
        kept = np.setdiff1d(np.arange(num), lost)
        assert positions_of_rows(np.arange(len(kept)), lost).tolist() == kept.tolist()


def test_every_byte_is_verified_and_a_lost_sample_cannot_be_replayed(roots) -> None:
    lossy, _ = roots
    report = verify(lossy, 1.0, [], InlineExecutor())
    assert report.faults == []
    assert (report.num_samples, report.num_replayed) == (44, 44)
    key = read_dataset(lossy)["losses"][0]["key"]
    with pytest.raises(DreamshardsError, match=f"sample {key} of .* was lost when the dataset"):
        replay(lossy, key, None, [], InlineExecutor())
    kept = next(iter(samples_of(lossy, 1)))
    assert replay(lossy, kept, None, [], InlineExecutor())[-1].startswith("identical: ")


def test_a_flipped_byte_after_the_lost_sample_is_named_by_its_key(roots, tmp_path: Path) -> None:
    lossy, _ = roots
    root = tmp_path / "r"
    shutil.copytree(lossy, root)
    entry = next(entry for entry in read_dataset(root)["shards"] if "lost" in entry)
    path = root / entry["file"]
    content = bytearray(path.read_bytes())
    content[-1024 - 1024 - 100] ^= 1  # in the last sample's pixels
    path.write_bytes(content)
    faults = verify(root, 0.0, [], InlineExecutor()).faults
    keys = [key for epoch in (0, 1) for key in samples_of(lossy, epoch)]
    assert [fault.file for fault in faults] == [entry["file"]]
    assert faults[0].key in keys


def test_an_evaluation_refuses_a_set_that_is_not_whole(roots) -> None:
    lossy, _ = roots
    with pytest.raises(DreamshardsError, match="lacks 2 samples that could not be made") as caught:
        open_root(str(lossy), batch_size=4)
    assert "an evaluation counts every sample of a test set" in str(caught.value)


def test_the_command_exits_with_three_and_says_what_was_lost(
    roots, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lossy, _ = roots
    monkeypatch.setattr(pipeline.build, "open_inputs", open_deadly)
    arguments = ["build", "digits", "--inline", "--set", *SMALL, "--out", str(lossy)]
    assert pipeline.cli.main(arguments) == 3
    said = capsys.readouterr().out
    assert "lost 2 samples that kill the process that renders them, such as 0000-" in said
    assert "nothing was left to do" in said
