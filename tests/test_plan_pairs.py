"""Mixup's and CutMix's decisions: whom a sample is paired with, in what shares, and where the box lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.augmentation_sections import CutMixConfig, MixupConfig
from pipeline.plan.base import BasePlan, draw_base
from pipeline.plan.beta import betas
from pipeline.plan.pairs import CutMixPlan, Firsts, MixupPlan, PairPlan, draw_cutmix, draw_mixup
from pipeline.plan.rng import Purpose, uniform_rows
from pipeline.recipe import PadCrop, RandomResizedCrop, TransformConfig

NUM, NUM_SOURCES, SIZE = 40_000, 700, 32
PAD_CROP = PadCrop(kind="pad-crop", size=SIZE)


def firsts(transform: TransformConfig, start: int, stop: int, num_sources: int) -> Firsts:
    rng = np.random.default_rng(5)
    heights, widths = rng.integers(SIZE, 2 * SIZE, (2, num_sources)).astype(np.int32)
    sources = rng.integers(0, num_sources, NUM)[start:stop]
    base = draw_base(
        transform, heights[sources], widths[sources], seed=1, epoch=2, start=start, stop=stop
    )
    return Firsts(sources, base, heights, widths)


def draw(
    family: str,
    start: int = 0,
    stop: int = NUM,
    *,
    transform: TransformConfig = PAD_CROP,
    num_sources: int = NUM_SOURCES,
    **fields: float,
) -> PairPlan:
    first = firsts(transform, start, stop, num_sources)
    place = {"seed": 1, "epoch": 2, "start": start, "stop": stop}
    if family == "mixup":
        config = MixupConfig.model_validate({"family": "mixup", **fields})
        return draw_mixup(config, transform, first, **place)
    config = CutMixConfig.model_validate({"family": "cutmix", **fields})
    return draw_cutmix(config, transform, first, **place)


def seconds(plan: PairPlan) -> BasePlan:
    return BasePlan(*plan[1:6])


@pytest.fixture(scope="module")
def mixup() -> MixupPlan:
    return draw("mixup")


@pytest.fixture(scope="module")
def cutmix() -> CutMixPlan:
    return draw("cutmix", probability=1.0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.5])
def test_mixups_share_is_beta(alpha: float) -> None:
    share = draw("mixup", alpha=alpha).label_weight.astype(np.float64)
    beta, limit = stats.beta(alpha, alpha), 0.999  # above, float32 is coarse against such densities
    below = share[share < limit]
    assert stats.binomtest(len(below), NUM, beta.cdf(limit)).pvalue > 1e-3
    assert stats.kstest(below, lambda x: beta.cdf(x) / beta.cdf(limit)).pvalue > 1e-3


def test_the_second_is_any_picture_of_the_source_whatever_the_first(mixup: MixupPlan) -> None:
    counts = np.bincount(mixup.second_source_index, minlength=NUM_SOURCES)
    assert len(counts) == NUM_SOURCES
    assert stats.chisquare(counts).pvalue > 1e-3
    first = firsts(PAD_CROP, 0, NUM, NUM_SOURCES)
    for ours in (mixup.second_source_index, mixup.label_weight):
        assert abs(stats.spearmanr(ours, first.sources).statistic) < 0.02
    assert abs(stats.spearmanr(mixup.second_source_index, mixup.label_weight).statistic) < 0.02


@pytest.mark.parametrize(
    "transform", [PAD_CROP, RandomResizedCrop(kind="random-resized-crop", size=SIZE)]
)
def test_the_seconds_crop_and_flip_are_draws_of_its_own(transform: TransformConfig) -> None:
    plan = draw("mixup", transform=transform)
    first = firsts(transform, 0, NUM, NUM_SOURCES)
    second = plan.second_source_index
    height, width = first.heights[second], first.widths[second]
    padding = transform.padding if isinstance(transform, PadCrop) else 0
    crop = seconds(plan)
    assert ((crop.crop_y >= -padding) & (crop.crop_y + crop.crop_h <= height + padding)).all()
    assert ((crop.crop_x >= -padding) & (crop.crop_x + crop.crop_w <= width + padding)).all()
    assert stats.binomtest(int(crop.flip.sum()), NUM, 0.5).pvalue > 1e-3
    agree = int((crop.flip == first.base.flip).sum())
    assert stats.binomtest(agree, NUM, 0.5).pvalue > 1e-3


def test_with_one_picture_first_and_second_still_differ_in_their_crops() -> None:
    plan = draw("mixup", num_sources=1)
    assert not plan.second_source_index.any()
    first = firsts(PAD_CROP, 0, NUM, 1).base
    same = (plan.second_crop_y == first.crop_y) & (plan.second_crop_x == first.crop_x)
    assert same.mean() < 0.02


@pytest.mark.parametrize("family", ["mixup", "cutmix"])
@pytest.mark.parametrize("alpha", [4.0, 0.02])  # no share is near 1 by chance, or half of them are
@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_samples_that_are_not_mixed_are_their_own_second(
    family: str, probability: float, alpha: float
) -> None:
    plan = draw(family, probability=probability, alpha=alpha)
    first = firsts(PAD_CROP, 0, NUM, NUM_SOURCES)
    own = np.ones(NUM, bool)
    for theirs, ours in zip(plan[:6], (first.sources, *first.base), strict=True):
        own &= theirs == ours
    mixed = plan.label_weight < 1
    assert own[~mixed].all()
    assert own[mixed].mean() < 0.01 if probability else not mixed.any()
    if alpha > 1:
        assert stats.binomtest(int(mixed.sum()), NUM, probability).pvalue > 1e-3
    if isinstance(plan, CutMixPlan):
        for column in (plan.box_y, plan.box_x, plan.box_h, plan.box_w):
            assert not column[~mixed].any()


def test_defaults_are_the_published_ones() -> None:
    assert MixupConfig(family="mixup").model_dump() == {
        "family": "mixup",
        "alpha": 1.0,
        "probability": 1.0,
    }
    assert CutMixConfig(family="cutmix").probability == 0.5


def test_both_families_pair_the_same_pictures() -> None:
    one, other = draw("mixup", stop=500), draw("cutmix", stop=500, probability=1.0)
    both = (one.label_weight < 1) & (other.label_weight < 1)  # not where a box is of no pixel
    assert both.mean() > 0.98
    for ours, theirs in zip(one[:6], other[:6], strict=True):
        assert np.array_equal(ours[both], theirs[both])


# ── the box ──


def test_boxes_are_those_of_the_authors_rule(cutmix: CutMixPlan) -> None:
    u = uniform_rows(1, Purpose.PAIR, epoch=2, start=0, stop=3000, width=5)
    for i, share in enumerate(betas(u[:, 2], 1.0).tolist()):
        half = int(SIZE * math.sqrt(1 - share)) // 2
        box = []
        for centre in (int(u[i, 3] * SIZE), int(u[i, 4] * SIZE)):
            begin, end = max(centre - half, 0), min(centre + half, SIZE)
            box.append((begin if half else 0, end - begin))
        assert box == [(cutmix.box_y[i], cutmix.box_h[i]), (cutmix.box_x[i], cutmix.box_w[i])]


def test_centres_are_uniform_and_independent() -> None:
    plan, share = (draw(f, alpha=1000.0, probability=1.0) for f in ("cutmix", "mixup"))
    rows = (share.label_weight > 0.44) & (share.label_weight < 0.525)  # 11 px to either side
    assert rows.mean() > 0.9
    y = np.where(plan.box_y > 0, plan.box_y + 11, plan.box_h - 11)[rows]
    x = np.where(plan.box_x > 0, plan.box_x + 11, plan.box_w - 11)[rows]
    cells = np.bincount(y * SIZE + x, minlength=SIZE**2)
    assert len(cells) == SIZE**2
    assert stats.chisquare(cells).pvalue > 1e-3


def test_the_weight_is_the_share_of_pixels_left(cutmix: CutMixPlan) -> None:
    area = cutmix.box_h.astype(np.int64) * cutmix.box_w
    assert np.array_equal(cutmix.label_weight, (1 - area / SIZE**2).astype(np.float32))
    for corner, length in ((cutmix.box_y, cutmix.box_h), (cutmix.box_x, cutmix.box_w)):
        assert ((corner >= 0) & (length >= 0) & (corner + length <= SIZE)).all()
    assert (area == 0).any()
    assert area.max() == 30**2  # half of less than 32, cut off to a whole number, either side


# ── the key ──


@given(st.sampled_from(["mixup", "cutmix"]), st.integers(0, 5000), st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_a_position_decides_alone(family: str, start: int, length: int) -> None:
    whole, part = draw(family, stop=8000), draw(family, start, start + length)
    for ours, theirs in zip(part, whole, strict=True):
        assert np.array_equal(ours, theirs[start : start + length])


def test_golden_draws() -> None:
    # Pins the format: these may change only with FORMAT_VERSION.
    plan = draw("cutmix", stop=3, probability=1.0)
    found = {name: column.tolist() for name, column in zip(plan._fields, plan, strict=True)}
    assert found == GOLDEN
    assert draw("mixup", stop=3).label_weight.tolist() == SHARES


GOLDEN = {
    "second_source_index": [341, 269, 124],
    "second_crop_y": [15, 3, 17],
    "second_crop_x": [9, -4, 7],
    "second_crop_h": [32, 32, 32],
    "second_crop_w": [32, 32, 32],
    "second_flip": [False, False, False],
    "label_weight": [0.4462890625, 0.765625, 0.94140625],
    "box_y": [0, 12, 26],
    "box_x": [11, 0, 18],
    "box_h": [27, 20, 6],
    "box_w": [21, 12, 10],
}
SHARES = [0.10499643534421921, 0.36189886927604675, 0.8596810698509216]
