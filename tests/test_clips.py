"""Recipes, plans and base transforms of clips; sources of real videos have tests of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.build import build
from pipeline.errors import UsageError
from pipeline.estimate import measure
from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.plan.base import draw_base, draw_starts
from pipeline.recipe import Recipe, ScaledCrop, parse_recipe
from pipeline.render.frames import cut_rgb
from pipeline.render.resize import resize_box
from pipeline.sampling import draw_plan, render_base
from pipeline.sources import ArrayClips
from pipeline.stream import LiveStream, ShardStream
from pipeline.verify import verify
from tests.conftest import tree

BASE: dict[str, Any] = {
    "name": "clips",
    "epochs": 2,
    "source": {"kind": "synthetic", "law": "blobs", "count": 12, "size": 20, "frames": 5},
    "transform": {"kind": "scaled-crop", "size": 16},
    "augmentation": {"family": "clean"},
}


def recipe(**sections: Any) -> Recipe:
    """Return the recipe above with fields of some sections changed."""
    content = {name: dict(part) if isinstance(part, dict) else part for name, part in BASE.items()}
    for name, part in sections.items():
        content[name] = content.get(name, {}) | part if isinstance(part, dict) else part
    return parse_recipe(content, "recipe")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"shards": {"codec": "jpg"}}, ["shards.codec = 'jpg'", "makes clips", "npy, mjpg, mp4"]),
        ({"shards": {"codec": "npy", "crf": 20}}, ["shards.crf does nothing", "'npy'"]),
        ({"shards": {"codec": "npy", "chroma": "420"}}, ["shards.chroma does nothing"]),
        ({"shards": {"codec": "mp4", "quality": 90}}, ["shards.quality does nothing", "'mp4'"]),
        (
            {"shards": {"codec": "mp4", "chroma": "420"}, "transform": {"size": 15}},
            ["transform.size = 15", "an even size"],
        ),
        (
            {"augmentation": {"family": "pixmix"}},
            ["'pixmix' does not work on source.kind = 'synthetic'", "clips", "vpixmix"],
        ),
        ({"augmentation": {"family": "vpixmix"}}, ["mixing_set is missing", "'vpixmix'"]),
        (
            {
                "augmentation": {"family": "vpixmix", "picture": "zoom"},
                "mixing_set": {"kind": "library"},
            },
            ["mixing_set.kind = 'library'", "picture = 'zoom'", "zoom or zoom-videos"],
        ),
        (
            {"augmentation": {"family": "vpixmix"}, "mixing_set": {"kind": "zoom"}},
            ["mixing_set.kind = 'zoom'", "'vpixmix' without zooms", "library"],
        ),
        (
            {
                "augmentation": {"family": "vpixmix", "k": 3},
                "mixing_set": {"kind": "library"},
            },
            ["k: of no effect with method = 'mix'"],
        ),
        (
            {
                "augmentation": {"family": "vpixmix", "zoom_factor": [1.01, 1.02]},
                "mixing_set": {"kind": "library"},
            },
            ["zoom_factor: of no effect unless picture = 'zoom'"],
        ),
        (
            {
                "augmentation": {"family": "vpixmix", "picture": "zoom", "zoom_factor": [1.02, 1]},
                "mixing_set": {"kind": "zoom"},
            },
            ["zoom_factor: got [1.02, 1]", "1.001 to 1.25"],
        ),
        ({"transform": {"scales": [0.5, 1.5]}}, ["scales: got [0.5, 1.5]", "0.05 to 1"]),
        ({"reuse": 2}, ["reuse = 2 does nothing for source.kind = 'synthetic'"]),
        (
            {"source": {"kind": "digit-videos", "law": None}},
            ["source.law"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(sections: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(**sections)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stride": 2, "frame_rate": 15.0}, "both say which frames"),
        ({"starts": "windows", "clips": 3}, "clips = 3 does nothing with starts = 'windows'"),
        ({"starts": "uniform", "hop": 4}, "hop = 4 does nothing with starts = 'uniform'"),
    ],
)
def test_one_rule_says_which_clips_are_taken(fields: dict[str, Any], words: str) -> None:
    content = BASE | {"source": {"kind": "video-folder", "path": "videos", **fields}}
    with pytest.raises(UsageError, match=words):
        parse_recipe(content, "recipe")


def test_pictures_keep_their_families_and_codecs() -> None:
    content = BASE | {"source": {"kind": "digits"}, "augmentation": {"family": "videomix"}}
    with pytest.raises(UsageError, match=r"'videomix' does not work .* a source of pictures"):
        parse_recipe(content, "recipe")
    content = BASE | {"source": {"kind": "digits"}, "shards": {"codec": "mp4"}}
    with pytest.raises(UsageError, match="makes pictures; allowed: auto, npy, jpg, png, webp"):
        parse_recipe(content, "recipe")


def test_choices_of_vpixmix_fill_in_what_they_need() -> None:
    pictures = {"kind": "library"}
    plain = recipe(augmentation={"family": "vpixmix"}, mixing_set=pictures).augmentation
    assert plain.model_dump() == {
        "family": "vpixmix",
        "picture": "single",
        "draws": "clip",
        "method": "mix",
        "beta": 3,
        **dict.fromkeys(("k", "severity", "ops", "strategy", "zoom_factor")),
    }
    naive = {"family": "vpixmix", "picture": "frame", "draws": "frame", "method": "pipeline"}
    filled = recipe(augmentation=naive, mixing_set=pictures).augmentation.model_dump()
    assert filled == plain.model_dump() | naive | {
        "k": 4,
        "severity": 3.0,
        "ops": "all",
        "strategy": "both",
    }
    zoom = {"family": "vpixmix", "picture": "zoom"}
    filled = recipe(augmentation=zoom, mixing_set={"kind": "zoom"}).augmentation.model_dump()
    assert filled["zoom_factor"] == [1.01, 1.03]


# ── decisions ──


@settings(deadline=None)
@given(
    heights=st.lists(st.integers(8, 400), min_size=1, max_size=40),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_scaled_crops_are_squares_within_of_one_of_the_sides(
    heights: list[int], seed: int, data: st.DataObject
) -> None:
    num = len(heights)
    widths = data.draw(st.lists(st.integers(8, 400), min_size=num, max_size=num))
    transform = ScaledCrop(kind="scaled-crop", size=16, scales=[1.0, 0.5], flip=0.5)
    h, w = np.array(heights, np.int32), np.array(widths, np.int32)
    plan = draw_base(transform, h, w, seed=seed, epoch=0, start=0, stop=num)
    short = np.minimum(h, w)
    assert (plan.crop_h == plan.crop_w).all()
    assert ((plan.crop_h == short) | (plan.crop_h == short // 2)).all()
    assert (plan.crop_y >= 0).all()
    assert (plan.crop_y + plan.crop_h <= h).all()
    assert (plan.crop_x >= 0).all()
    assert (plan.crop_x + plan.crop_w <= w).all()


def test_starts_are_drawn_from_all_there_are_and_others_kept() -> None:
    fixed, num_starts = np.full(4000, -1, np.int32), np.full(4000, 5, np.int32)
    fixed[::4] = 9
    where = {"seed": 1, "epoch": 2}
    found = draw_starts(fixed, num_starts, start=0, stop=4000, **where)
    assert (found[::4] == 9).all()
    drawn = np.delete(found, np.s_[::4])
    assert np.bincount(drawn).tolist() == pytest.approx([600] * 5, rel=0.15)
    part = draw_starts(fixed[100:300], num_starts[100:300], start=100, stop=300, **where)
    assert np.array_equal(part, found[100:300])


# ── pixels ──


@settings(deadline=None)
@given(
    top=st.integers(-20, 20), left=st.integers(-20, 20), mirrored=st.booleans(), size=st.just(12)
)
def test_a_plain_box_is_copied_with_zeros_beyond_the_frame(
    top: int, left: int, mirrored: bool, size: int
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (15, 19, 3), np.uint8)
    padded = np.zeros((15 + 64, 19 + 64, 3), np.uint8)
    padded[32 : 32 + 15, 32 : 32 + 19] = frame
    expected = padded[32 + top : 32 + top + size, 32 + left : 32 + left + size]
    out = np.full((size, size, 3), 7, np.uint8)
    cut_rgb(frame, (top, left, top + size, left + size), mirrored, out)
    assert np.array_equal(out, expected[:, ::-1] if mirrored else expected)


def test_a_box_is_the_same_in_every_frame() -> None:
    inputs = open_inputs(recipe(), InlineExecutor())
    source = inputs.source
    assert isinstance(source, ArrayClips)
    plan = draw_plan(inputs, 1, 0, 12)
    clips = render_base(inputs, plan)
    assert clips.shape == (12, 5, 16, 16, 3)
    base = plan.base
    for row in range(12):
        top, left, side = (float(base[column][row]) for column in (0, 1, 2))
        for t in range(5):
            expected = np.empty((16, 16, 3), np.uint8)
            frame = source.pixels[plan.sources[row], t]
            box = (top, left, top + side, left + side)
            if side == 16:
                cut_rgb(frame, box, bool(base.flip[row]), expected)
            else:
                resize_box(frame, box, bool(base.flip[row]), expected)
            assert np.array_equal(clips[row, t], expected)


def test_a_central_crop_of_a_resized_clip_is_resized_once() -> None:
    """The box of 16 of a shorter side of 20 resized to 18 is the middle 16 · 20/18 pixels."""
    changed = {"kind": "center-crop", "size": 16, "resize": 18}
    content = BASE | {"transform": changed}
    inputs = open_inputs(parse_recipe(content, "recipe"), InlineExecutor())
    assert isinstance(inputs.source, ArrayClips)
    plan = draw_plan(inputs, 0, 0, 3)
    clips = render_base(inputs, plan)
    low, high = (round(side * 20 / 18 * 256) / 256 for side in (1, 17))
    expected = np.empty((16, 16, 3), np.uint8)
    frame = inputs.source.pixels[plan.sources[2], 4]
    resize_box(frame, (low, low, high, high), False, expected)
    assert np.array_equal(clips[2, 4], expected)


# ── the whole path ──


def test_clips_are_built_streamed_and_made_again(tmp_path: Path) -> None:
    chosen = recipe(shards={"samples_per_shard": 5})
    root = tmp_path / "clips"
    report = build(chosen, root, InlineExecutor())
    assert report.dataset["sample"] == {
        "shape": [5, 16, 16, 3],
        "dtype": "uint8",
        "codec": "npy",
        "lossless": True,
    }
    rows = pq.read_table(root / "epoch-0000" / "manifest.parquet")
    assert set(rows["start_frame"].to_pylist()) == {0}
    assert sorted(rows["source_id"].to_pylist()) == [f"blobs-{i:06d}" for i in range(12)]
    assert verify(root, 1.0, (), InlineExecutor()).faults == []
    stored, live = ShardStream(str(root), batch_size=4), LiveStream(chosen, batch_size=4)
    assert stored.shape == live.shape == (5, 16, 16, 3)
    num = 0
    for ours, theirs in zip(stored, live, strict=True):
        assert ours.images.shape[1:] == (5, 16, 16, 3)
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)
        num += len(ours.labels)
    assert num == 12
    other = tmp_path / "again"
    build(chosen, other, InlineExecutor())
    assert tree(other) == tree(root)


def test_a_set_of_clips_that_does_not_fit_in_memory_is_refused() -> None:
    content = BASE | {"source": BASE["source"] | {"count": 10_000_000}}
    with pytest.raises(UsageError, match=r"10,000,000 clips of 5×20×20 px do not fit"):
        open_inputs(parse_recipe(content, "recipe"), InlineExecutor())


def test_an_estimate_of_clips_counts_clips() -> None:
    cost = measure(recipe(), InlineExecutor())
    assert cost.num_samples == 24
    assert cost.bytes_per_sample > 5 * 16 * 16 * 3
