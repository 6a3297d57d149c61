"""VideoMix: whom a clip is paired with, which voxels show the second clip, and the shares of the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.augmentation_sections import VideoMixConfig
from pipeline.build import build
from pipeline.captions import describe_captions, describe_steps
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.plan.base import BasePlan, draw_starts
from pipeline.plan.beta import betas
from pipeline.plan.pairs import Firsts
from pipeline.plan.rng import Purpose, uniform_rows
from pipeline.plan.videomix import FirstClips, VideoMixPlan, draw_videomix
from pipeline.recipe import PadCrop, Recipe, parse_recipe
from pipeline.render.slots import Slots
from pipeline.render.videomix import mixed_clips, render_videomix_into
from pipeline.replay import draw_rows, render_rows, replay
from pipeline.sampling import Inputs, draw_plan, render_base, render_plan
from pipeline.shards.dataset import read_dataset
from pipeline.sources.clips import ArrayClips
from pipeline.stream import LiveStream, ShardStream
from pipeline.stream.live import render_batch
from pipeline.verify import verify

NUM, FRAMES, SIZE, NUM_SOURCES = 20_000, 16, 32, 50
CUBOIDS = ("spatial", "temporal", "both")
EACH = pytest.mark.parametrize("cuboid", CUBOIDS)
TRANSFORM = PadCrop(kind="pad-crop", size=SIZE)
PLACE: dict[str, int] = {"seed": 3, "epoch": 1}


def first_clips(start: int, stop: int) -> FirstClips:
    num = stop - start
    own = np.arange(start, stop, dtype=np.int32)
    base = BasePlan(
        own % 5, own % 3, np.full_like(own, SIZE), np.full_like(own, SIZE), own % 2 == 0
    )
    side = np.full(NUM_SOURCES, SIZE + 8, np.int32)
    starts = np.where(np.arange(NUM_SOURCES) % 2, -1, 4).astype(np.int32)
    firsts = Firsts(np.arange(start, stop) % NUM_SOURCES, base, side, side)
    num_starts = np.full(NUM_SOURCES, 11, np.int32)
    return FirstClips(firsts, np.full(num, 77, np.int32), starts, num_starts)


def draw(start: int = 0, stop: int = NUM, **fields: Any) -> VideoMixPlan:
    config = VideoMixConfig.model_validate({"family": "videomix", **fields})
    place = {**PLACE, "start": start, "stop": stop}
    return draw_videomix(config, TRANSFORM, first_clips(start, stop), frames=FRAMES, **place)


def shares(alpha: float = 1.0) -> np.ndarray:
    u = uniform_rows(purpose=Purpose.PAIR, **PLACE, start=0, stop=NUM, width=5)
    return betas(u[:, 2], alpha)


# ── decisions ──


@EACH
def test_the_label_weight_is_the_share_of_the_voxels_that_stay(cuboid: str) -> None:
    plan = draw(cuboid=cuboid)
    voxels = plan.box_len.astype(np.int64) * plan.box_h * plan.box_w
    expected = 1 - voxels / (FRAMES * SIZE * SIZE)
    assert np.array_equal(plan.label_weight, expected.astype(np.float32))
    for first, length, limit in (
        (plan.box_t, plan.box_len, FRAMES),
        (plan.box_y, plan.box_h, SIZE),
        (plan.box_x, plan.box_w, SIZE),
    ):
        assert (first >= 0).all()
        assert (length >= 0).all()
        assert (first + length <= limit).all()
    empty = voxels == 0
    assert not np.stack(plan[-6:])[:, empty].any()


def test_a_box_is_the_same_in_all_frames_and_lies_about_a_pixel() -> None:
    plan, share = draw(cuboid="spatial"), shares()
    mixed = plan.box_h > 0
    assert (plan.box_t == 0).all()
    assert (plan.box_len[mixed] == FRAMES).all()
    side = (SIZE * np.sqrt(1 - share)).astype(int) // 2 * 2
    assert np.array_equal(mixed, side > 0)
    inside = mixed & (plan.box_y > 0) & (plan.box_y + plan.box_h < SIZE)
    assert np.array_equal(plan.box_h[inside], side[inside])
    assert (plan.box_h <= side).all()
    assert (plan.box_h[~inside & mixed] < side[~inside & mixed]).any()


def test_whole_frames_start_anywhere() -> None:
    plan, share = draw(cuboid="temporal"), shares()
    length = np.floor(FRAMES * (1 - share) + 0.5)
    assert np.array_equal(plan.box_len, length)
    mixed = length > 0
    assert (plan.box_h[mixed] == SIZE).all()
    assert (plan.box_w[mixed] == SIZE).all()
    assert plan.label_weight.mean() == pytest.approx(0.5, abs=0.01)
    starts = plan.box_t[length == 6]
    counts = np.bincount(starts, minlength=11)
    assert len(counts) == 11
    assert counts.min() > 0.7 * len(starts) / 11


def test_a_box_of_some_frames_has_sides_of_the_cube_root() -> None:
    plan, share = draw(cuboid="both"), shares()
    side = np.cbrt(1 - share)
    mixed = plan.box_h > 0
    assert np.array_equal(plan.box_len[mixed], np.floor(FRAMES * side + 0.5)[mixed])
    inside = mixed & (plan.box_x > 0) & (plan.box_x + plan.box_w < SIZE)
    assert np.array_equal(plan.box_w[inside], ((SIZE * side).astype(int) // 2 * 2)[inside])
    whole = inside & (plan.box_y > 0) & (plan.box_y + plan.box_h < SIZE)
    wanted = share[whole]
    assert np.abs(plan.label_weight[whole] - wanted).mean() < 0.04


def test_seconds_are_of_the_whole_source_with_starts_of_their_own() -> None:
    plan = draw(cuboid="temporal")
    mixed = plan.box_len > 0
    counts = np.bincount(plan.second_source_index[mixed], minlength=NUM_SOURCES)
    assert counts.min() > 0.7 * mixed.sum() / NUM_SOURCES
    second = plan.second_source_index
    assert (plan.second_start_frame[mixed & (second % 2 == 0)] == 4).all()
    drawn = np.bincount(plan.second_start_frame[mixed & (second % 2 == 1)], minlength=11)
    assert len(drawn) == 11
    assert drawn.min() > 0.8 * drawn.mean()
    fixed = np.full(NUM, -1, np.int32)
    own = draw_starts(fixed, np.full(NUM, 11, np.int32), **PLACE, start=0, stop=NUM)
    same = own[mixed & (second % 2 == 1)] == plan.second_start_frame[mixed & (second % 2 == 1)]
    assert same.mean() == pytest.approx(1 / 11, abs=0.02)  # independent of the first clips' starts


@EACH
def test_what_is_not_mixed_has_its_own_there(cuboid: str) -> None:
    plan = draw(cuboid=cuboid, probability=0.3)
    clips = first_clips(0, NUM)
    own = plan.label_weight == 1
    assert own.mean() == pytest.approx(0.7, abs=0.05)
    assert np.array_equal(plan.second_source_index[own], clips.firsts.sources[own])
    assert (plan.second_start_frame[own] == 77).all()
    for found, base in zip(plan[1:6], clips.firsts.base, strict=True):
        assert np.array_equal(found[own], base[own])


@EACH
def test_a_position_is_drawn_alike_whatever_is_drawn_with_it(cuboid: str) -> None:
    whole, part = draw(cuboid=cuboid, alpha=0.4), draw(1000, 1100, cuboid=cuboid, alpha=0.4)
    for ours, theirs in zip(part, whole, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs[1000:1100])


# ── pixels ──


@EACH
def test_voxels_of_the_cuboid_are_of_the_second_clip(cuboid: str) -> None:
    plan = draw(0, 30, cuboid=cuboid)
    rng = np.random.default_rng(0)
    bases = rng.integers(0, 128, (30, FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    rows = mixed_clips(plan)
    seconds = rng.integers(128, 256, (len(rows), *bases.shape[1:])).astype(np.uint8)
    out = np.empty_like(bases)
    render_videomix_into(plan, bases, seconds, Slots.of(out))
    second_of = dict(zip(rows.tolist(), seconds, strict=True))
    t, y, x = np.ogrid[:FRAMES, :SIZE, :SIZE]
    for row in range(30):
        b_t, b_y, b_x, b_len, b_h, b_w = (int(column[row]) for column in plan[-6:])
        inside = (t >= b_t) & (t < b_t + b_len) & (y >= b_y) & (y < b_y + b_h)
        inside = inside & (x >= b_x) & (x < b_x + b_w)
        other = second_of.get(row, bases[row])
        assert np.array_equal(out[row], np.where(inside[..., None], other, bases[row]))
        assert (out[row] < 128).mean() == pytest.approx(plan.label_weight[row], abs=1e-6)


def test_a_cuboid_that_leaves_the_clip_is_refused() -> None:
    plan = draw(0, 4, cuboid="both")
    bases = np.zeros((4, FRAMES, SIZE, SIZE, 3), np.uint8)
    for column, value in (("box_t", 15), ("box_h", 33), ("box_x", -1), ("box_len", 2**31 - 1)):
        changed = getattr(plan, column).copy()
        changed[:] = value
        wrong = plan._replace(**{column: changed, "box_len": np.full(4, 2, np.int32)})
        if column == "box_len":
            wrong = wrong._replace(box_len=changed, box_t=np.full(4, 1, np.int32))
        out = np.full_like(bases, 9)
        with pytest.raises(ValueError, match="leaves the clip; allowed: within 16 frames of 32×32"):
            render_videomix_into(wrong, bases, bases, Slots.of(out))
        assert (out == 9).all()


# ── the whole path ──


def recipe_of(**section: Any) -> Recipe:
    content = {
        "name": "cuboids",
        "epochs": 2,
        "source": {"kind": "synthetic", "law": "blobs", "count": 9, "size": 30, "frames": 6},
        "transform": {"kind": "scaled-crop", "size": 24},
        "augmentation": {"family": "videomix", **section},
        "shards": {"samples_per_shard": 4},
    }
    return parse_recipe(content, "recipe")


def three_classes() -> Inputs:
    """Return inputs whose clips have three classes and are flat, clip i of value 20 · i."""
    inputs = open_inputs(recipe_of(), InlineExecutor())
    values = np.arange(9, dtype=np.uint8) * 20
    pixels = np.broadcast_to(values[:, None, None, None, None], (9, 6, 30, 30, 3)).copy()
    source = ArrayClips.of(
        class_names=("a", "b", "c"),
        labels=np.arange(9, dtype=np.int32) % 3,
        ids=pa.array([f"clip-{i}" for i in range(9)]),
        fingerprint="0" * 64,
        pixels=pixels,
    )
    return inputs._replace(source=source)


@EACH
def test_shards_are_what_the_recipe_makes(cuboid: str, tmp_path: Path) -> None:
    recipe, root = recipe_of(cuboid=cuboid, probability=0.8), tmp_path / "cuboids"
    build(recipe, root, InlineExecutor())
    report = verify(root, 1.0, (), InlineExecutor())
    assert (report.faults, report.num_replayed) == ([], 18)
    assert replay(root, "0000-0000000005", None, (), InlineExecutor())[-1].startswith("identical")
    rows = pq.read_table(root / "epoch-0000" / "manifest.parquet")
    assert {"second_start_frame", "label_weight", "box_t", "box_len"} <= set(rows.column_names)
    stored, live = ShardStream(root, batch_size=4), LiveStream(recipe, batch_size=4)
    for ours, theirs in zip(stored, live, strict=True):
        assert np.array_equal(ours.images, theirs.images)
        assert ours.labels.dtype == theirs.labels.dtype
        np.testing.assert_allclose(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.labels.sum(dim=1), 1, rtol=1e-6)
    words = [word for word, _ in describe_captions(read_dataset(root))]
    assert words == ["key", "crop", "labels"]


def test_labels_are_the_shares_of_the_values_that_show() -> None:
    inputs = three_classes()
    batch = render_batch(inputs, 0, 0, 9)
    clips = batch.images.numpy()
    for clip, label in zip(clips, batch.labels.numpy(), strict=True):
        values, counts = np.unique(clip // 20, return_counts=True)
        expected = np.zeros(3)
        for value, count in zip(values, counts / clip.size, strict=True):
            expected[value % 3] += count
        np.testing.assert_allclose(label, expected, atol=1e-6)
    assert ((batch.labels.numpy() > 0).sum(axis=1) > 1).any()


def test_the_second_clip_is_shown_and_told() -> None:
    inputs = three_classes()
    rows = draw_rows(inputs, 0, 0, 9)
    rendered = render_rows(inputs, rows)
    plan = draw_plan(inputs, 0, 0, 9)
    assert np.array_equal(rendered.samples, render_plan(inputs, plan))
    assert np.array_equal(rendered.bases, render_base(inputs, plan))
    for row, second in zip(rows.to_pylist(), rendered.mixing, strict=True):
        if row["label_weight"] == 1:
            assert second is None
            assert describe_steps(row) == ["no mixing"]
            continue
        assert second is not None
        assert (second == 20 * row["second_source_index"]).all()
        lines = describe_steps(row)
        last = row["box_t"] + row["box_len"] - 1
        where = f"of frames {row['box_t']} to {last} are of {row['second_source_id']}"
        assert f"px at row {row['box_y']}, column {row['box_x']} {where}" in lines[0]
        assert lines[1].endswith(", from frame 0")
        assert lines[2].startswith(f"labels: {row['label']} by ")


def test_a_second_clip_that_does_not_exist_is_refused() -> None:
    inputs = three_classes()
    plan = draw_plan(inputs, 0, 0, 9)
    family: Any = plan.augmentation
    wrong = family._replace(second_source_index=family.second_source_index + 9)
    with pytest.raises(ValueError, match="second_source_index out of range; allowed: 0 to 8"):
        render_plan(inputs, plan._replace(augmentation=wrong))
