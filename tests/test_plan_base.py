"""Boxes and flips of the base transforms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import DreamshardsError
from pipeline.plan.base import BasePlan, _exp, draw_base
from pipeline.recipe import CenterCrop, PadCrop, RandomResizedCrop

NUM = 50_000


def draw(
    transform: PadCrop | RandomResizedCrop, height: int, width: int, num: int = NUM
) -> BasePlan:
    heights, widths = np.full(num, height, np.int32), np.full(num, width, np.int32)
    return draw_base(transform, heights, widths, seed=3, epoch=0, start=0, stop=num)


def test_a_padded_crop_is_uniform_over_all_nine_by_nine_places() -> None:
    plan = draw(PadCrop(kind="pad-crop"), 32, 32)
    places = (plan.crop_y + 4) * 9 + plan.crop_x + 4
    assert stats.chisquare(np.bincount(places, minlength=81)).pvalue > 1e-3
    assert set(plan.crop_h.tolist()) == set(plan.crop_w.tolist()) == {32}
    assert stats.binomtest(int(plan.flip.sum()), NUM, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip_probabilities_of_nought_and_one_are_certain(flip: float) -> None:
    assert draw(PadCrop(kind="pad-crop", flip=flip), 32, 32).flip.mean() == flip


def test_no_padding_and_the_same_size_keep_the_picture() -> None:
    plan = draw(PadCrop(kind="pad-crop", padding=0), 32, 32, 100)
    assert not plan.crop_y.any()
    assert not plan.crop_x.any()


def test_a_picture_too_small_for_its_crop_is_named() -> None:
    with pytest.raises(
        DreamshardsError, match=r"20×30 px .* size 32 and padding 4; allowed: sides of 24"
    ):
        draw(PadCrop(kind="pad-crop"), 20, 30, 3)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (64, 64), (500, 120)])
def test_a_resized_crop_has_torchvisions_areas_and_aspects(height: int, width: int) -> None:
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms")
    plan = draw(RandomResizedCrop(kind="random-resized-crop", flip=0.5), height, width, 20_000)
    assert ((plan.crop_y >= 0) & (plan.crop_y + plan.crop_h <= height)).all()
    assert ((plan.crop_x >= 0) & (plan.crop_x + plan.crop_w <= width)).all()
    torch.manual_seed(0)
    picture = torch.empty(3, height, width)
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3])
            for _ in range(4000)
        ]
    )
    ours = np.stack([plan.crop_y, plan.crop_x, plan.crop_h, plan.crop_w], axis=1)
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    area = stats.ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert area.pvalue > 1e-3


def test_a_picture_no_box_fits_gives_its_largest_central_one() -> None:
    transform = RandomResizedCrop(kind="random-resized-crop", min_area=0.9)
    plan = draw(transform, 1000, 10, 50)
    assert set(plan.crop_w.tolist()) == {10}
    assert set(plan.crop_h.tolist()) == {13}  # 10 · 4/3
    assert set(plan.crop_y.tolist()) == {(1000 - 13) // 2}


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("resize", [224, 255, 256])
def test_a_central_crop_is_placed_as_torchvision_places_it(size: int, resize: int) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    heights, widths = np.random.default_rng(1).integers(20, 1200, (2, 60)).astype(np.int32)
    transform = CenterCrop(kind="center-crop", size=size, resize=resize)
    plan = draw_base(transform, heights, widths, seed=0, epoch=0, start=0, stop=60)
    assert not plan.flip.any()
    assert set(plan.crop_h.tolist()) == set(plan.crop_w.tolist()) == {size}
    for i, sides in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        high, wide = functional.resize(torch.zeros((1, *sides)), [resize]).shape[1:]
        # each element says its own place
        places = torch.arange(high * wide).reshape(1, high, wide)
        first = int(functional.center_crop(places, [size, size])[0, 0, 0])
        assert (plan.crop_y[i], plan.crop_x[i]) == divmod(first, wide)


def test_own_exponential_is_exact_to_the_last_digits() -> None:
    x = np.linspace(-math.log(4), math.log(4), 10_001)
    assert np.abs(_exp(x) / np.exp(x) - 1).max() < 1e-15


def test_the_plan_is_the_same_whatever_the_slice() -> None:
    sides = np.full(3000, 40, np.int32)
    for transform in (PadCrop(kind="pad-crop"), RandomResizedCrop(kind="random-resized-crop")):
        whole = draw_base(transform, sides, sides, seed=1, epoch=1, start=0, stop=3000)
        part = draw_base(
            transform, sides[1000:2100], sides[1000:2100], seed=1, epoch=1, start=1000, stop=2100
        )
        for ours, theirs in zip(part, whole, strict=True):
            assert np.array_equal(ours, theirs[1000:2100])
