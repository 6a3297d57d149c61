"""PixMix's decisions follow the reference distributions, and depend on nothing but their key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.augmentation_sections import PixMixConfig
from pipeline.plan.pixmix import PixMixPlan, draw_pixmix
from pipeline.render.ops import LEVEL_OPS, OPS, SIGNED_OPS

NUM = 100_000
NUM_PICTURES = 50
SIDES = np.full(NUM_PICTURES, 36, np.int32)


def draw(start: int = 0, stop: int = NUM, **fields: object) -> PixMixPlan:
    config = PixMixConfig.model_validate({"family": "pixmix", **fields})
    return draw_pixmix(config, SIDES, SIDES, size=32, seed=1, epoch=2, start=start, stop=stop)


@pytest.fixture(scope="module")
def plan() -> PixMixPlan:
    return draw()


def used(plan: PixMixPlan) -> np.ndarray:
    return np.arange(plan.mode.shape[1]) < plan.num_rounds[:, None]


def assert_uniform(values: np.ndarray, num: int) -> None:
    counts = np.bincount(values, minlength=num)
    assert len(counts) == num
    assert num == 1 or stats.chisquare(counts).pvalue > 1e-3


def assert_share(mask: np.ndarray, share: float) -> None:
    assert stats.binomtest(int(mask.sum()), mask.size, share).pvalue > 1e-3


def test_rounds_are_uniform_on_0_to_k(plan: PixMixPlan) -> None:
    assert_uniform(plan.num_rounds, 5)
    assert set(draw(stop=1000, k=0).num_rounds.tolist()) == {0}
    assert_uniform(draw(k=1).num_rounds, 2)


def test_half_the_samples_start_augmented_with_any_op(plan: PixMixPlan) -> None:
    assert_share(plan.start_op >= 0, 0.5)
    assert_uniform(plan.start_op[plan.start_op >= 0], 13)


def test_half_the_operands_are_augmented_copies_with_any_op(plan: PixMixPlan) -> None:
    operands = plan.operand_op[used(plan)]
    assert_share(operands >= 0, 0.5)
    assert_uniform(operands[operands >= 0], 13)


def test_standard_ops_are_the_first_nine() -> None:
    plan = draw(ops="standard")
    assert_uniform(plan.start_op[plan.start_op >= 0], 9)
    operands = plan.operand_op[used(plan)]
    assert_uniform(operands[operands >= 0], 9)


@pytest.mark.parametrize(("strategy", "share"), [("mix-input", 1.0), ("mix-aug", 0.0)])
def test_strategies_take_one_kind_of_operand(strategy: str, share: float) -> None:
    plan = draw(stop=20_000, strategy=strategy)
    assert (plan.operand_op[used(plan)] >= 0).mean() == share
    assert_share(plan.start_op >= 0, 0.5)  # the start is not a matter of strategy
    assert (plan.picture >= 0).any() == (share == 0.0)


@pytest.mark.parametrize("severity", [3.0, 1.0, 0.1, 10.0])
def test_levels_are_uniform_from_a_tenth_to_the_severity(severity: float) -> None:
    plan = draw(severity=severity)
    levels = plan.start_level[np.isin(plan.start_op, LEVEL_OPS)].astype(np.float64)
    low, high = np.float32(0.1), np.float32(severity)
    assert levels.min() >= low
    assert levels.max() <= high
    if severity > 0.1:
        assert stats.kstest((levels - 0.1) / (severity - 0.1), "uniform").pvalue > 1e-3


def test_integer_parameters_have_the_published_shares(plan: PixMixPlan) -> None:
    # Severity 3: posterize keeps 4 bits in 82.7 % and 3 in the rest; a 32 px translation is
    # 0, 1, 2, 3 px in 29, 32, 32 and 6.5 %.
    posterize = plan.start_level[plan.start_op == OPS.index("posterize")].astype(float)
    assert_share((posterize * 4 / 10).astype(int) == 0, (2.5 - 0.1) / 2.9)
    translate = plan.start_level[plan.start_op == OPS.index("translate_x")].astype(float)
    shares = np.bincount((translate * (32 / 3) / 10).astype(int), minlength=4) / len(translate)
    assert shares == pytest.approx([0.289, 0.323, 0.323, 0.065], abs=0.015)


def test_signs_are_fair_and_drawn_for_signed_ops_alone(plan: PixMixPlan) -> None:
    signed = np.isin(plan.start_op, SIGNED_OPS)
    assert_share(plan.start_negative[signed], 0.5)
    assert not plan.start_negative[~signed].any()
    operands = plan.operand_op[used(plan)]
    signs = plan.operand_negative[used(plan)]
    assert_share(signs[np.isin(operands, SIGNED_OPS)], 0.5)
    assert not signs[~np.isin(operands, SIGNED_OPS)].any()


@pytest.mark.parametrize("beta", [1, 3, 4])
def test_weights_follow_the_two_beta_branches(beta: int) -> None:
    plan = draw(beta=beta)
    a, b = (weights[used(plan)].astype(np.float64) for weights in (plan.a, plan.b))
    inner = b >= 0
    assert_share(inner, 0.5)
    assert stats.kstest(a[inner], stats.beta(beta, 1).cdf).pvalue > 1e-3
    assert stats.kstest(b[inner], stats.beta(1, beta).cdf).pvalue > 1e-3
    assert stats.kstest(a[~inner] - 1, stats.beta(1, beta).cdf).pvalue > 1e-3
    assert stats.kstest(-b[~inner], stats.beta(1, beta).cdf).pvalue > 1e-3
    assert abs(stats.spearmanr(a[inner], b[inner]).statistic) < 0.01


def test_modes_are_fair_and_independent_of_the_rest(plan: PixMixPlan) -> None:
    mode = plan.mode[used(plan)]
    assert_share(mode == 1, 0.5)
    assert_share(mode[plan.operand_op[used(plan)] >= 0] == 1, 0.5)
    assert_share(mode[plan.b[used(plan)] < 0] == 1, 0.5)


def test_pictures_and_their_crops_are_uniform(plan: PixMixPlan) -> None:
    meets = plan.picture >= 0
    assert_share(meets, 1 - 0.3875)  # mean of 2^−r over r = 0..4 meet none
    assert_uniform(plan.picture[meets], NUM_PICTURES)
    assert_uniform(plan.picture_y[meets], 5)
    assert_uniform(plan.picture_x[meets], 5)


def test_one_sample_in_ten_is_its_clean_picture(plan: PixMixPlan) -> None:
    assert_share((plan.num_rounds == 0) & (plan.start_op < 0), 0.1)


def test_what_is_not_used_is_blank(plan: PixMixPlan) -> None:
    unused = ~used(plan)
    assert (plan.operand_op[unused] == -1).all()
    for column in (plan.operand_level, plan.operand_negative, plan.mode, plan.a, plan.b):
        assert not column[unused].any()
    without = plan.picture < 0
    assert not plan.picture_y[without].any()
    assert not plan.picture_x[without].any()
    needs = (used(plan) & (plan.operand_op < 0)).any(axis=1)
    assert np.array_equal(needs, ~without)


def test_crops_respect_pictures_of_any_size() -> None:
    heights, widths = np.array([32, 40, 33], np.int32), np.array([90, 32, 35], np.int32)
    config = PixMixConfig(family="pixmix")
    plan = draw_pixmix(config, heights, widths, size=32, seed=0, epoch=0, start=0, stop=20_000)
    for index, (height, width) in enumerate(zip(heights, widths, strict=True)):
        rows = plan.picture == index
        assert_uniform(plan.picture_y[rows], height - 32 + 1)
        assert_uniform(plan.picture_x[rows], width - 32 + 1)


@given(st.integers(0, 5000), st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_a_position_decides_alone(start: int, length: int) -> None:
    whole = draw(stop=8000)
    part = draw(start=start, stop=start + length)
    for ours, theirs in zip(part, whole, strict=True):
        assert np.array_equal(ours, theirs[start : start + length])


def test_seeds_and_epochs_differ_even_when_their_sums_agree() -> None:
    config = PixMixConfig(family="pixmix")

    def first(seed: int, epoch: int) -> PixMixPlan:
        place = {"size": 32, "start": 0, "stop": 500}
        return draw_pixmix(config, SIDES, SIDES, seed=seed, epoch=epoch, **place)

    assert not np.array_equal(first(0, 1).a, first(1, 0).a)
    assert np.array_equal(first(5, 6).a, first(5, 6).a)


def test_golden_draws() -> None:
    # Pins the format: these may change only with FORMAT_VERSION.
    plan = draw(stop=3)
    found = {name: column.tolist() for name, column in zip(plan._fields, plan, strict=True)}
    assert found == GOLDEN


GOLDEN = {
    "start_op": [6, -1, 10],
    "start_level": [1.9919973611831665, 0.0, 2.418510913848877],
    "start_negative": [False, False, False],
    "num_rounds": [2, 3, 4],
    "picture": [4, 39, 32],
    "picture_y": [2, 0, 1],
    "picture_x": [2, 1, 0],
    "operand_op": [[-1, 9, -1, -1], [3, -1, 9, -1], [12, 1, -1, -1]],
    "operand_level": [
        [0.0, 0.2361222803592682, 0.0, 0.0],
        [1.8573914766311646, 0.0, 0.2479303479194641, 0.0],
        [0.8464468717575073, 0.0, 0.0, 0.0],
    ],
    "operand_negative": [
        [False, False, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ],
    "mode": [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]],
    "a": [
        [0.9639660120010376, 1.1071714162826538, 0.0, 0.0],
        [1.0235220193862915, 0.852938175201416, 1.1670653820037842, 0.0],
        [0.4277820885181427, 1.3066233396530151, 1.0963125228881836, 0.9356313347816467],
    ],
    "b": [
        [0.10967151820659637, -0.10382973402738571, 0.0, 0.0],
        [-0.030024314299225807, 0.16301174461841583, -0.03365164250135422, 0.0],
        [0.16781608760356903, -0.13136418163776398, -0.121278777718544, 0.2866099178791046],
    ],
}
