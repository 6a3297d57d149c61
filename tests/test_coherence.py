"""How steadily modes of V-PixMix change a clip, and that it is measured by the formulas."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.augmentation_sections import VPixMixConfig
from pipeline.coherence import Coherence, coherence
from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor
from pipeline.pictures import open_pictures
from pipeline.pictures.picture_set import PictureSet
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.plan.vpixmix import draw_vpixmix
from pipeline.recipe import load_pictures
from pipeline.render.slots import Slots
from pipeline.render.vpixmix import render_vpixmix_into, render_zooming_into
from tests.moving_clips import moving_clip, real_clip

U8 = npt.NDArray[np.uint8]

SIZE, NUM_SEEDS = 64, 20

# ── the formulas ──


def test_measures_are_those_of_the_formulas() -> None:
    rng = np.random.default_rng(0)
    clean, augmented = rng.integers(0, 256, (2, 6, 9, 7, 3)).astype(np.uint8)
    found = coherence(clean, augmented)
    x, y = clean / 255.0, augmented / 255.0
    p = y - x
    q = p - p.mean(axis=(1, 2), keepdims=True)
    assert found.perturbation == pytest.approx(np.abs(p).mean())
    assert found.change_ratio == pytest.approx(np.abs(np.diff(p, axis=0)).mean() / np.abs(p).mean())
    assert found.changes.shape == (5,)
    assert found.changes[2] == pytest.approx(np.abs(p[3] - p[2]).mean() / np.abs(p).mean())
    lag = (q[1:] * q[:-1]).sum() / np.sqrt((q[1:] ** 2).sum() * (q[:-1] ** 2).sum())
    assert found.lag1_correlation == pytest.approx(lag)
    luminance = (y @ [0.299, 0.587, 0.114]).mean(axis=(1, 2))
    assert found.flicker == pytest.approx(luminance.std())
    moved = np.abs(np.diff(y, axis=0)).mean() / np.abs(np.diff(x, axis=0)).mean()
    assert found.tv_inflation == pytest.approx(moved)


def test_a_frozen_perturbation_is_coherent_and_one_of_signs_is_not() -> None:
    clean = np.full((8, 16, 16, 3), 100, np.uint8)
    clean[4:] = 120
    pattern = np.random.default_rng(1).integers(-40, 40, (16, 16, 3))
    frozen = coherence(clean, (clean + pattern).astype(np.uint8))
    assert frozen.change_ratio == pytest.approx(0, abs=1e-12)
    assert frozen.lag1_correlation == pytest.approx(1)
    assert frozen.tv_inflation == pytest.approx(1)
    signs = np.where(np.arange(8) % 2, 1, -1)[:, None, None, None]
    turned = coherence(clean, (clean + signs * pattern).astype(np.uint8))
    assert turned.change_ratio == pytest.approx(2 * 7 / 7)
    assert turned.lag1_correlation == pytest.approx(-1)


def test_draws_of_their_own_change_by_the_root_of_two() -> None:
    clean = np.full((40, 32, 32, 3), 128, np.uint8)
    normal = np.random.default_rng(2).normal(0, 20, clean.shape)
    found = coherence(clean, (clean + normal).round().astype(np.uint8))
    assert found.change_ratio == pytest.approx(np.sqrt(2), abs=0.01)
    assert found.lag1_correlation == pytest.approx(0, abs=0.01)


def test_what_is_divided_by_nothing_is_not_a_number() -> None:
    clip = moving_clip(4, 16)
    same = coherence(clip, clip)
    assert (same.perturbation, same.tv_inflation) == (0, 1)
    assert np.isnan(same.changes).tolist() == [True] * 3
    assert np.isnan([same.change_ratio, same.lag1_correlation]).all()
    one = coherence(clip[:1], clip[1:2])
    assert np.isnan([one.change_ratio, one.lag1_correlation, one.tv_inflation]).all()
    assert one.flicker == 0
    assert one.perturbation > 0


@pytest.mark.parametrize(
    ("clean", "augmented", "words"),
    [
        (
            (2, 4, 4, 3),
            (3, 4, 4, 3),
            r"augmented: got shape \[3, 4, 4, 3\]; allowed: that of clean",
        ),
        ((4, 4, 3), (4, 4, 3), r"clean: got uint8 \[4, 4, 3\]; allowed: a clip"),
        ((2, 4, 4, 3), (2, 4, 4, 1), r"augmented: got uint8 \[2, 4, 4, 1\]"),
        ((0, 4, 4, 3), (0, 4, 4, 3), r"clean: got uint8 \[0, 4, 4, 3\]"),
    ],
)
def test_other_arrays_are_refused(
    clean: tuple[int, ...], augmented: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        coherence(np.zeros(clean, np.uint8), np.zeros(augmented, np.uint8))


# ── the modes ──


@functools.cache
def mixing_set(kind: str, size: int) -> PictureSet | ZoomSet:
    section = load_pictures(kind, fields={"count": 12, "size": size})
    return open_pictures(section, InlineExecutor())


def medians(clip: U8, **mode: Any) -> Coherence:
    """Return the median of each measure over 20 seeds; of the changes their mean over time."""
    config = VPixMixConfig.model_validate({"family": "vpixmix", **mode}).resolved()
    frames, size = clip.shape[:2]
    zooms = config.picture == "zoom"
    pictures = mixing_set("zoom", size) if zooms else mixing_set("ifs", size + size // 7)
    sides = pictures.heights, pictures.widths
    if zooms:
        sides = (np.full(len(pictures), size, np.int32),) * 2
    place = {"seed": 0, "epoch": 0, "start": 0, "stop": NUM_SEEDS}
    plan = draw_vpixmix(config, *sides, frames=frames, size=size, **place)
    clips = np.repeat(clip[None], NUM_SEEDS, axis=0)
    out = np.empty_like(clips)
    if isinstance(pictures, ZoomSet):
        render_zooming_into(plan, clips, pictures, Slots.of(out))
    else:
        render_vpixmix_into(plan, clips, pictures, Slots.of(out))
    found = [coherence(clip, augmented) for augmented in out]
    rows = [one._replace(changes=one.change_ratio) for one in found]  # type: ignore[arg-type]
    perturbation, changes, *others = np.median(np.array(rows, np.float64), axis=0).tolist()
    return Coherence(perturbation, np.array([changes]), *others)


@pytest.fixture(scope="module", params=["moving", "ucf101_v_Archery.avi"])
def clip(request: pytest.FixtureRequest) -> U8:
    """Return a clip that a camera holds still on, of content that moves."""
    if request.param == "moving":
        return moving_clip(24, SIZE)
    return real_clip(request.param, 24, SIZE)


@pytest.mark.parametrize("draws", ["clip", "smooth"])
def test_one_picture_is_frozen(clip: U8, draws: str) -> None:
    found = medians(clip, draws=draws)
    assert found.perturbation > 0.03
    assert found.change_ratio < 0.1
    assert found.lag1_correlation > 0.97


@pytest.mark.parametrize("draws", ["clip", "smooth"])
def test_a_zoom_moves_steadily(clip: U8, draws: str) -> None:
    found = medians(clip, picture="zoom", draws=draws)
    assert found.perturbation > 0.03
    assert 0.05 < found.change_ratio < 0.3
    assert found.lag1_correlation > 0.9


@pytest.mark.parametrize(
    "mode",
    [
        {"picture": "frame", "draws": "frame", "method": "pipeline"},
        {"picture": "frame", "draws": "frame"},
        {"picture": "single", "draws": "frame", "beta": 4},
        {"picture": "zoom", "draws": "frame"},
    ],
    ids=lambda mode: "-".join(map(str, mode.values())),
)
def test_decisions_of_each_frame_flicker(clip: U8, mode: dict[str, Any]) -> None:
    found, steady = medians(clip, **mode), medians(clip)
    assert 1.2 < found.change_ratio < 1.7
    assert found.lag1_correlation < 0.3
    assert found.flicker > 2 * steady.flicker
    assert found.tv_inflation > 2 * steady.tv_inflation
