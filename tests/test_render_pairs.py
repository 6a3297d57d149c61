"""Mixup and CutMix as pixels, against a slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.plan.pairs import CutMixPlan, MixupPlan
from pipeline.render.pairs import mixed_rows, render_cutmix_into, render_mixup_into
from pipeline.render.slots import Slots

NUM, SIZE = 60, 12
NOTHING = np.zeros(NUM, np.int32)


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (NUM, SIZE, SIZE, 3), np.uint8)


def second(weight: np.ndarray) -> tuple[Any, ...]:
    """Return the columns of a plan but the box."""
    crops = (NOTHING, NOTHING, NOTHING, NOTHING)
    return np.zeros(NUM, np.int64), *crops, np.zeros(NUM, bool), weight.astype(np.float32)


def mixup_plan(seed: int = 0) -> MixupPlan:
    weight = np.random.default_rng(seed).beta(1, 1, NUM)
    weight[:6] = 0, 1, 0.5, 0.25, 1e-30, 1 - 2**-24
    return MixupPlan(*second(weight))


def cutmix_plan(seed: int = 0) -> CutMixPlan:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, SIZE, (2, NUM))
    lengths = rng.integers(1, SIZE - corners + 1)
    corners[:, 0], lengths[:, 0] = 0, SIZE
    lengths[:, 1] = 0
    weight = 1 - lengths.prod(axis=0) / SIZE**2
    box = (*corners.astype(np.int32), *lengths.astype(np.int32))
    return CutMixPlan(*second(weight), *box)


def rendered(render: Any, plan: Any, bases: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    out = np.full_like(bases, 77)
    render(plan, bases, np.ascontiguousarray(seconds[mixed_rows(plan)]), Slots.of(out))
    return out


def test_mixup_blends_every_value_and_rounds_to_the_nearest() -> None:
    plan, bases, seconds = mixup_plan(), pictures(1), pictures(2)
    weight = plan.label_weight.astype(np.float64)[:, None, None, None]
    exact = weight * bases + (1 - weight) * seconds
    found = rendered(render_mixup_into, plan, bases, seconds)
    np.testing.assert_array_equal(found, np.floor(exact + 0.5))
    np.testing.assert_array_equal(found[0], seconds[0])
    np.testing.assert_array_equal(found[1], bases[1])


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_mixup_of_every_pair_of_values(weight: float) -> None:
    num = 256 * 256 // (SIZE * SIZE * 3) + 1
    values = np.resize(np.arange(256 * 256), num * SIZE * SIZE * 3)
    shape = (num, SIZE, SIZE, 3)
    x, y = (part.astype(np.uint8).reshape(shape) for part in np.divmod(values, 256))
    plan = MixupPlan(*(column.repeat(num, axis=0)[:num] for column in second(np.full(NUM, weight))))
    share = float(np.float32(weight))
    expected = np.floor(share * x.astype(float) + (1 - share) * y + 0.5)
    np.testing.assert_array_equal(rendered(render_mixup_into, plan, x, y), expected)


def test_cutmix_pastes_the_box_and_nothing_else() -> None:
    plan, bases, seconds = cutmix_plan(), pictures(1), pictures(2)
    found = rendered(render_cutmix_into, plan, bases, seconds)
    for i in range(NUM):
        expected = bases[i].copy()
        rows = slice(plan.box_y[i], plan.box_y[i] + plan.box_h[i])
        columns = slice(plan.box_x[i], plan.box_x[i] + plan.box_w[i])
        expected[rows, columns] = seconds[i, rows, columns]
        np.testing.assert_array_equal(found[i], expected)
    np.testing.assert_array_equal(found[0], seconds[0])
    np.testing.assert_array_equal(found[1], bases[1])


@pytest.mark.parametrize(
    ("render", "make"), [(render_mixup_into, mixup_plan), (render_cutmix_into, cutmix_plan)]
)
def test_slots_with_gaps_are_filled_and_the_gaps_left(render: Any, make: Any) -> None:
    plan, bases, seconds = make(), pictures(1), pictures(2)
    expected = rendered(render, plan, bases, seconds)
    each = bases[0].size
    flat = np.full(100 + NUM * (each + 50), 77, np.uint8)
    render(plan, bases, seconds[mixed_rows(plan)], Slots(flat, 100, each + 50))
    records = flat[100:].reshape(NUM, each + 50)
    np.testing.assert_array_equal(records[:, :each], expected.reshape(NUM, each))
    assert (records[:, each:] == 77).all()
    assert (flat[:100] == 77).all()


def test_no_samples_are_no_work() -> None:
    none = np.empty((0, SIZE, SIZE, 3), np.uint8)
    for render, plan in ((render_mixup_into, mixup_plan()), (render_cutmix_into, cutmix_plan())):
        empty = type(plan)(*(column[:0] for column in plan))
        assert rendered(render, empty, none, none).shape == none.shape


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan])
def test_a_share_that_is_none_is_refused(wrong: float) -> None:
    plan = mixup_plan()
    plan.label_weight[7] = wrong
    out = np.full((NUM, SIZE, SIZE, 3), 77, np.uint8)
    with pytest.raises(ValueError, match="label_weight out of range; allowed: 0 to 1"):
        render_mixup_into(plan, pictures(1), pictures(2), Slots.of(out))
    assert (out == 77).all()


@pytest.mark.parametrize("change", [{"box_y": -1}, {"box_h": SIZE + 1}, {"box_x": 5, "box_w": 10}])
def test_a_box_that_leaves_the_sample_is_refused(change: dict[str, int]) -> None:
    plan = cutmix_plan()
    for name, value in change.items():
        getattr(plan, name)[7] = value
    out = np.full((NUM, SIZE, SIZE, 3), 77, np.uint8)
    with pytest.raises(ValueError, match="a box leaves the sample; allowed: within 12×12 px"):
        render_cutmix_into(plan, pictures(1), pictures(2), Slots.of(out))
    assert (out == 77).all()
