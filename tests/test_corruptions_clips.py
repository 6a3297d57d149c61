"""Corruptions of clips: random parameters stay over a clip, noise of the sensor is new in each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.build import build
from pipeline.corruptions import C_BAR_CIFAR, CORRUPTIONS, C, corrupt
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import parse_recipe
from pipeline.sampling import Inputs, Plan, draw_plan, render_base, render_plan
from pipeline.sources.clips import ArrayClips
from pipeline.stream import LiveStream, ShardStream
from pipeline.variant_families import SENSOR_NOISE, frame_seeds
from pipeline.verify import verify

FRAMES, SIZE = 3, 32


def recipe_of(**section: Any) -> Any:
    content = {
        "name": "corrupted",
        "source": {"kind": "synthetic", "law": "blobs", "count": 4, "size": SIZE, "frames": FRAMES},
        "transform": {"kind": "center-crop", "size": SIZE, "resize": SIZE},
        "augmentation": {"family": "corruptions", "severities": [3], **section},
    }
    return parse_recipe(content, "recipe")


def still(inputs: Inputs) -> Inputs:
    """Return inputs whose clips repeat their first frame."""
    source = inputs.source
    assert isinstance(source, ArrayClips)
    pixels = np.repeat(source.pixels[:, :1], FRAMES, axis=1)
    fields = {**vars(source), "pixels": pixels}
    return inputs._replace(source=ArrayClips(**fields))


def rendered(benchmark: str) -> list[tuple[str, Plan, np.ndarray, np.ndarray]]:
    """Return each corruption's name, plan, clean clips that stand still, and the corrupted ones."""
    inputs = still(open_inputs(recipe_of(benchmark=benchmark), InlineExecutor()))
    found = []
    for epoch, name in enumerate(inputs.recipe.augmentation.names):  # type: ignore[union-attr]
        plan = draw_plan(inputs, epoch, 0, 4)
        found.append((name, plan, render_base(inputs, plan), render_plan(inputs, plan)))
    return found


@pytest.fixture(scope="module", params=["c", "c-bar"])
def corrupted(request: pytest.FixtureRequest) -> list[tuple[str, Plan, np.ndarray, np.ndarray]]:
    return rendered(request.param)


def test_every_corruption_is_tried(corrupted: Any) -> None:
    assert tuple(name for name, *_ in corrupted) in (C, C_BAR_CIFAR)
    assert set(CORRUPTIONS) >= SENSOR_NOISE


def test_a_clip_that_stands_still_stands_still_but_for_noise_of_the_sensor(corrupted: Any) -> None:
    for name, _, clean, clips in corrupted:
        assert clips.shape == clean.shape == (4, FRAMES, SIZE, SIZE, 3)
        assert (clips != clean).any(), name
        for t in range(1, FRAMES):
            assert np.array_equal(clips[:, t], clips[:, 0]) == (name not in SENSOR_NOISE), name


def test_the_first_frame_is_the_picture_of_the_same_seed(corrupted: Any) -> None:
    for name, plan, clean, clips in corrupted:
        first = np.ascontiguousarray(clean[:, 0])
        expected = corrupt(name, first, 3, plan.augmentation.noise_seed)
        assert np.array_equal(clips[:, 0], expected), name


def test_seeds_of_noise_differ_and_others_do_not() -> None:
    seeds = np.array([5, 2**64 - 1, 0], np.uint64)
    same = frame_seeds("fog", seeds, 4)
    assert np.array_equal(same, np.repeat(seeds[:, None], 4, axis=1))
    noise = frame_seeds("shot_noise", seeds, 4)
    assert noise.dtype == np.uint64
    assert np.array_equal(noise[:, 0], seeds)
    assert len(np.unique(noise)) == 12
    assert np.array_equal(frame_seeds("shot_noise", seeds, 2), noise[:, :2])
    assert noise[2].tolist()[1:] == [  # SplitMix64 from 0, as published
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_corrupted_clips_are_built_and_streamed(tmp_path: Path) -> None:
    recipe = recipe_of(names=["shot_noise", "frost"])
    root = tmp_path / "corrupted"
    build(recipe, root, InlineExecutor())
    assert verify(root, 1.0, (), InlineExecutor()).faults == []
    rows = pq.read_table(root / "epoch-0001" / "manifest.parquet")
    assert set(rows["corruption"].to_pylist()) == {"frost"}
    assert set(rows["start_frame"].to_pylist()) == {0}
    stored, live = ShardStream(root, batch_size=4), LiveStream(recipe, batch_size=4)
    for epoch in (0, 1):
        stored.set_epoch(epoch)
        live.set_epoch(epoch)
        (ours,), (theirs,) = list(stored), list(live)
        assert ours.images.shape == (4, FRAMES, SIZE, SIZE, 3)
        assert np.array_equal(ours.images, theirs.images)
