"""Rendering V-PixMix: every frame is what PixMix makes of it, but for statistics of the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance, ImageOps

from pipeline.pictures.picture_set import PictureSet
from pipeline.plan.pixmix import PixMixPlan
from pipeline.plan.vpixmix import VPixMixPlan, draw_vpixmix
from pipeline.render.ops import POOLED_OPS
from pipeline.render.pixmix import render_pixmix
from pipeline.render.slots import Slots
from pipeline.render.vpixmix import render_vpixmix_into, render_zooming_into, weights
from tests.moving_clips import moving_clip
from tests.reference import OPS
from tests.test_render_pixmix import picture_set, random_images, random_pictures
from tests.test_vpixmix_plan import EACH, MODES, config_of

FRAMES, SIZE, NUM = 4, 24, 60

U8 = npt.NDArray[np.uint8]


class Stripes:
    """Three zooms whose frames tell which they are."""

    def __len__(self) -> int:
        return 3

    def fill(self, index: int, phase: float, factor: float, direction: int, out: U8) -> None:
        for t, frame in enumerate(out):
            frame[..., 0] = 80 * index
            frame[..., 1] = np.arange(SIZE) * 10
            frame[..., 2] = int(255 * phase) // 4 + 20 * t * (factor > 1.02) + 90 * (direction > 0)


ZOOMS = Stripes()


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    return random_pictures(np.random.default_rng(3), SIZE)


def clips_of(num: int, frames: int) -> U8:
    return np.stack([moving_clip(frames, SIZE, seed) for seed in range(num)])


def draw(pictures: PictureSet, num: int = NUM, frames: int = FRAMES, **mode: Any) -> VPixMixPlan:
    config = config_of(**mode)
    sides = pictures.heights, pictures.widths
    if config.picture == "zoom":
        sides = (np.full(len(ZOOMS), SIZE, np.int32),) * 2
    place = {"seed": 5, "epoch": 0, "start": 0, "stop": num}
    return draw_vpixmix(config, *sides, frames=frames, size=SIZE, **place)


def render(plan: VPixMixPlan, clips: U8, pictures: PictureSet) -> U8:
    out = np.zeros_like(clips)
    if plan.zoom_direction.any():
        render_zooming_into(plan, clips, ZOOMS, Slots.of(out))
    else:
        render_vpixmix_into(plan, clips, pictures, Slots.of(out))
    return out


def decided(plan: VPixMixPlan, clip: int, frame: int, num_frames: int) -> list[Any]:
    """Return the PixMix decisions of one frame, in words of a `PixMixPlan` of one row."""
    drift = plan.a.shape[1] == 2 and plan.mode.shape[1] == 1

    def of(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return column[clip : clip + 1, frame if column.shape[1] > 1 else 0]

    def drifting(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        first, last = column[clip].astype(np.float64)
        share = frame / max(1, num_frames - 1)
        return (first + (last - first) * share).astype(np.float32)[None]

    weight = drifting if drift else of
    return [*map(of, plan[:11]), *map(weight, plan[11:13])]


def by_pictures(plan: VPixMixPlan, clips: U8, pictures: PictureSet) -> U8:
    """Render every frame alone as a picture: the slow twin, without statistics of clips."""
    out, num_frames = np.zeros_like(clips), clips.shape[1]
    for clip, frames in enumerate(clips):
        mixing = pictures
        if plan.zoom_direction[clip]:
            zoom = np.empty_like(frames)
            columns = plan.picture[:, 0], plan.zoom_phase, plan.zoom_factor, plan.zoom_direction
            ZOOMS.fill(*(column[clip] for column in columns), zoom)
            mixing = picture_set(list(zoom))
        for t, frame in enumerate(frames):
            row = decided(plan, clip, t, num_frames)
            if plan.zoom_direction[clip]:
                row[4] = np.array([t], np.int32)
            out[clip, t] = render_pixmix(PixMixPlan(*row), frame[None], mixing)[0]
    return out


def without_pooling(plan: VPixMixPlan) -> VPixMixPlan:
    """Return a plan whose ops that pool are others: color for contrast, solarize and posterize."""
    swap = {0: 4, 1: 2, 10: 9}

    def swapped(op: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.vectorize(lambda one: swap.get(one, one))(op).astype(np.int8)

    return plan._replace(start_op=swapped(plan.start_op), operand_op=swapped(plan.operand_op))


@EACH
def test_each_frame_is_what_pixmix_makes_of_it(mode: dict[str, str], pictures: PictureSet) -> None:
    plan, clips = draw(pictures, **mode), clips_of(NUM, FRAMES)
    if mode["draws"] != "frame":
        plan = without_pooling(plan)
    assert np.array_equal(render(plan, clips, pictures), by_pictures(plan, clips, pictures))


@EACH
def test_a_clip_of_one_frame_is_a_picture(mode: dict[str, str], pictures: PictureSet) -> None:
    plan, clips = draw(pictures, frames=1, **mode), clips_of(NUM, 1)
    assert np.array_equal(render(plan, clips, pictures), by_pictures(plan, clips, pictures))


def test_order_and_batches_do_not_matter(pictures: PictureSet) -> None:
    for mode in MODES:
        plan, clips = draw(pictures, num=12, **mode), clips_of(12, FRAMES)
        whole = render(plan, clips, pictures)
        order = np.random.default_rng(1).permutation(12)
        shuffled = VPixMixPlan(*(column[order] for column in plan))
        assert np.array_equal(render(shuffled, clips[order], pictures), whole[order])
        one = VPixMixPlan(*(column[4:5] for column in plan))
        assert np.array_equal(render(one, clips[4:5], pictures), whole[4:5])


# ── statistics of the whole clip ──


def pillow(op: str, tall: Image.Image, level: float) -> Image.Image:
    if op == "contrast":
        return ImageEnhance.Contrast(tall).enhance(float(level) * 1.8 / 10 + 0.1)
    return {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[op](tall)


@pytest.mark.parametrize("op", ["autocontrast", "equalize", "contrast"])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_an_op_takes_its_statistics_from_the_clip_as_one_tall_picture(op: str, frames: int) -> None:
    rng = np.random.default_rng(2)
    clips = clips_of(12, frames)
    clips[3] = rng.integers(0, 256, clips[3].shape)
    clips[4], clips[5] = 17, rng.integers(90, 95, clips[5].shape)
    level = rng.uniform(0.1, 9, 12).astype(np.float32)
    plan = draw(picture_set(random_images(rng, [(SIZE, SIZE)])), num=12, method="pipeline")
    nothing = np.zeros_like(plan.num_rounds)
    plan = plan._replace(
        start_op=np.full_like(plan.start_op, OPS.index(op)),
        start_level=level[:, None],
        num_rounds=nothing,
    )
    out = np.empty_like(clips)
    render_vpixmix_into(plan, clips, picture_set(random_images(rng, [(SIZE, SIZE)])), Slots.of(out))
    for clip, result, one in zip(clips, out, level, strict=True):
        tall = Image.fromarray(clip.reshape(frames * SIZE, SIZE, 3))
        expected = np.asarray(pillow(op, tall, one)).reshape(clip.shape)
        assert np.array_equal(result, expected)


def test_an_augmented_copy_in_a_round_is_of_the_clips_table_too(pictures: PictureSet) -> None:
    """Frame t mixed with frame t of the tall picture, as if that were a mixing picture."""
    clips = clips_of(9, FRAMES)
    plan = draw(pictures, num=9, method="pipeline", k=1)
    ops = np.resize(np.array(POOLED_OPS, np.int8), 9)
    fields = {
        "start_op": np.full_like(plan.start_op, -1),
        "num_rounds": np.ones_like(plan.num_rounds),
        "operand_op": ops[:, None, None],
        "operand_level": np.full_like(plan.operand_level, 4.5),
        "a": np.full_like(plan.a, 0.8),
        "b": np.full_like(plan.b, 0.4),
    }
    plan = plan._replace(**fields)
    found = render(plan, clips, pictures)
    for row, clip in enumerate(clips):
        tall = Image.fromarray(clip.reshape(FRAMES * SIZE, SIZE, 3))
        copies = np.asarray(pillow(OPS[ops[row]], tall, 4.5)).reshape(clip.shape)
        for t in range(FRAMES):
            one = decided(plan, row, t, FRAMES)
            one[4:8] = [
                np.array([t], np.int32),
                *np.zeros((2, 1), np.int32),
                np.array([[-1]], np.int8),
            ]
            expected = render_pixmix(PixMixPlan(*one), clip[t][None], picture_set(list(copies)))
            assert np.array_equal(found[row, t], expected[0])


def test_decisions_of_single_frames_take_statistics_of_single_frames(pictures: PictureSet) -> None:
    """Those of `by_pictures`, which differ from those of the clip."""
    plan, clips = draw(pictures, draws="frame", method="pipeline"), clips_of(NUM, FRAMES)
    assert np.isin(plan.start_op, POOLED_OPS).sum() > 10
    assert np.array_equal(render(plan, clips, pictures), by_pictures(plan, clips, pictures))
    once = draw(pictures, method="pipeline")
    apart = (render(once, clips, pictures) != by_pictures(once, clips, pictures)).any(
        axis=(1, 2, 3, 4)
    )
    pooled = np.isin(once.start_op, POOLED_OPS).any(axis=1) | np.isin(
        once.operand_op, POOLED_OPS
    ).any(axis=(1, 2))
    assert apart.any()
    assert not (apart & ~pooled).any()


# ── weights that drift, slots, faults ──


def test_weights_run_straight_from_the_first_to_the_last() -> None:
    drawn = np.array([[[0.25, 1.5], [0.75, 1.1]]], np.float32)
    found = weights(drawn, 5)
    assert found.dtype == np.float32
    expected = [[0.25, 1.5], [0.375, 1.4], [0.5, 1.3], [0.625, 1.2], [0.75, 1.1]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert np.array_equal(found[0, [0, 4]], drawn[0])
    assert np.array_equal(weights(drawn, 2), drawn)
    assert np.array_equal(weights(drawn, 1), drawn[:, :1])
    assert weights(drawn[:, :1], 5).shape == (1, 1, 2)


def test_clips_go_where_slots_say(pictures: PictureSet) -> None:
    plan, clips = draw(pictures, num=5), clips_of(5, FRAMES)
    each = clips[0].size
    flat = np.full(100 + 5 * (each + 33), 9, np.uint8)
    render_vpixmix_into(plan, clips, pictures, Slots(flat, 100, each + 33))
    rows = flat[100:].reshape(5, each + 33)
    assert np.array_equal(rows[:, :each].reshape(clips.shape), render(plan, clips, pictures))
    assert (rows[:, each:] == 9).all()
    assert (flat[:100] == 9).all()


def test_no_clips_are_no_work(pictures: PictureSet) -> None:
    for picture in ("single", "zoom"):
        plan = draw(pictures, num=0, picture=picture)
        assert render(plan, clips_of(1, FRAMES)[:0], pictures).shape == (0, FRAMES, SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("mode", "column", "value", "words"),
    [
        ({}, "picture", 12, "mixing picture out of range; allowed: 0 to 11"),
        ({}, "picture", -1, "mixing picture out of range"),
        ({}, "picture_y", 400, "a crop leaves its mixing picture"),
        ({"picture": "frame"}, "picture_x", -3, "a crop leaves its mixing picture"),
        ({"method": "pipeline"}, "start_op", 13, "op out of range; allowed: 0 to 12"),
        ({"method": "pipeline"}, "num_rounds", 5, "rounds out of range; allowed: 0 to 4"),
        ({"picture": "zoom"}, "picture", 3, "mixing picture out of range; allowed: 0 to 2"),
        ({"picture": "zoom"}, "zoom_phase", 1.0, "zoom_phase out of range"),
        ({"picture": "zoom"}, "zoom_factor", np.nan, "zoom_factor out of range"),
        ({"picture": "zoom"}, "zoom_factor", 0.9, "zoom_factor out of range"),
        ({"picture": "zoom"}, "zoom_direction", 2, "zoom_direction unknown; allowed: in, out"),
    ],
)
def test_altered_decisions_are_refused_and_nothing_is_written(
    pictures: PictureSet, mode: dict[str, str], column: str, value: float, words: str
) -> None:
    plan, clips = draw(pictures, num=6, **mode), clips_of(6, FRAMES)
    changed = getattr(plan, column).copy()
    changed[5] = value
    out = np.full_like(clips, 7)
    into = render_zooming_into if mode.get("picture") == "zoom" else render_vpixmix_into
    with pytest.raises(ValueError, match=words):
        into(
            plan._replace(**{column: changed}),
            clips,
            ZOOMS if mode.get("picture") == "zoom" else pictures,  # type: ignore[arg-type]
            Slots.of(out),
        )
    assert (out == 7).all()
