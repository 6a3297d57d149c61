"""The order of an epoch is a permutation that nothing but its key decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.plan.order import source_indices


@given(st.integers(1, 5000), st.integers(0, 2**64 - 1), st.integers(0, 9999))
@settings(max_examples=150, deadline=None)
def test_every_index_occurs_exactly_once(num: int, seed: int, epoch: int) -> None:
    order = source_indices(seed, epoch, num, 0, num)
    assert np.array_equal(np.sort(order), np.arange(num))


@given(st.integers(1, 3000), st.data())
@settings(max_examples=100, deadline=None)
def test_any_slice_is_the_same_slice_of_the_whole(num: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, num))
    stop = data.draw(st.integers(start, num))
    whole = source_indices(7, 1, num, 0, num)
    assert np.array_equal(source_indices(7, 1, num, start, stop), whole[start:stop])


def test_a_slice_of_ten_billion_costs_only_itself() -> None:
    order = source_indices(0, 0, 10**10, 5 * 10**9, 5 * 10**9 + 1000)
    assert len(set(order.tolist())) == 1000
    assert order.min() >= 0
    assert order.max() < 10**10


def test_epochs_and_seeds_give_other_orders() -> None:
    orders = [source_indices(seed, epoch, 1000, 0, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.01  # a fixed point in 1,000 is chance


def test_adding_seed_and_epoch_does_not_collide() -> None:
    assert not np.array_equal(source_indices(0, 1, 100, 0, 100), source_indices(1, 0, 100, 0, 100))


@pytest.mark.parametrize("num", [2, 3, 5, 24])
def test_small_permutations_put_every_index_everywhere(num: int) -> None:
    counts = np.zeros((num, num))
    for seed in range(4000):
        order = source_indices(seed, 0, num, 0, num)
        counts[np.arange(num), order] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_neighbours_are_spread_uniformly() -> None:
    order = source_indices(3, 0, 100_000, 0, 100_000)
    steps = np.diff(order) % 100_000
    assert stats.kstest(steps / 100_000, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(np.arange(100_000), order)[0, 1]) < 0.01


def test_positions_outside_the_epoch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[5, 11\) are not within \[0, 10\)"):
        source_indices(0, 0, 10, 5, 11)


def test_golden_order() -> None:
    # Pins the format: these may change only with FORMAT_VERSION.
    assert source_indices(0, 0, 10, 0, 10).tolist() == [4, 2, 6, 7, 5, 9, 3, 8, 1, 0]
    assert source_indices(1, 2, 50_000, 49_995, 50_000).tolist() == [
        46234,
        42075,
        31708,
        36303,
        29209,
    ]
