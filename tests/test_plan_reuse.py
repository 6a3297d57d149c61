"""Orders of epochs that share decodes: exact, fresh, and sharing no more than the parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.plan.order import source_indices
from pipeline.plan.reuse import first_of_group, parts_of_epoch, reused_indices
from pipeline.shards.layout import shard_edges


def order(epoch: int, num: int, *, reuse: int, num_shards: int, seed: int = 0) -> np.ndarray:
    return reused_indices(seed, epoch, num, 0, num, reuse=reuse, num_shards=num_shards)


def shards(epoch: int, num: int, *, reuse: int, num_shards: int, seed: int = 0) -> list[np.ndarray]:
    whole = order(epoch, num, reuse=reuse, num_shards=num_shards, seed=seed)
    return np.split(whole, shard_edges(num, num_shards)[1:-1])


@given(
    st.integers(1, 3000), st.integers(1, 40), st.integers(2, 5), st.integers(0, 99), st.integers(0)
)
@settings(max_examples=150, deadline=None)
def test_every_index_occurs_exactly_once(num, num_shards, reuse, epoch, seed):
    options = {"reuse": reuse, "num_shards": min(num, num_shards), "seed": seed % 2**64}
    assert np.array_equal(np.sort(order(epoch, num, **options)), np.arange(num))


@given(st.integers(1, 2000), st.integers(1, 30), st.data())
@settings(max_examples=150, deadline=None)
def test_any_slice_is_the_same_slice_of_the_whole(num, num_shards, data):
    start = data.draw(st.integers(0, num))
    stop = data.draw(st.integers(start, num))
    options = {"reuse": 3, "num_shards": min(num, num_shards)}
    whole = reused_indices(7, 4, num, 0, num, **options)
    part = reused_indices(7, 4, num, start, stop, **options)
    assert part.dtype == np.int64
    assert np.array_equal(part, whole[start:stop])


@pytest.mark.parametrize(("num", "num_shards"), [(1000, 10), (1003, 10), (7, 7), (50, 1)])
def test_a_group_shares_its_parts_which_are_those_of_its_first_epoch(num, num_shards):
    for group in (0, 3, 6):
        first = source_indices(5, group, num, 0, num)
        edges = shard_edges(num, num_shards)
        expected = {frozenset(part.tolist()) for part in np.split(first, edges[1:-1])}
        for epoch in range(group, group + 3):
            found = shards(epoch, num, reuse=3, num_shards=num_shards, seed=5)
            assert {frozenset(part.tolist()) for part in found} == expected
            parts = parts_of_epoch(5, epoch, num, num_shards)
            for part, shard in zip(parts.tolist(), found, strict=True):
                stored = first[edges[part] : edges[part + 1]]
                assert np.array_equal(np.sort(shard), np.sort(stored))


def test_groups_do_not_share_parts():
    one, other = (shards(epoch, 1000, reuse=2, num_shards=5) for epoch in (1, 2))
    assert not {frozenset(part.tolist()) for part in one} & {
        frozenset(part.tolist()) for part in other
    }


def test_shards_keep_the_lengths_of_the_layout():
    lengths = np.diff(shard_edges(1003, 10))
    assert set(lengths.tolist()) == {100, 101}
    for epoch in range(20):
        parts = parts_of_epoch(0, epoch, 1003, 10)
        assert sorted(parts.tolist()) == list(range(10))
        assert np.array_equal(lengths[parts], lengths)


def test_orders_within_a_group_are_unrelated():
    options = {"reuse": 4, "num_shards": 8}
    orders = [order(epoch, 8000, **options) for epoch in range(4)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.005
    assert len({tuple(parts_of_epoch(0, epoch, 8000, 8).tolist()) for epoch in range(4)}) == 4
    inside = [
        [np.argsort(np.argsort(part)) for part in shards(epoch, 8000, **options)]
        for epoch in range(4)
    ]
    for epoch in range(4):
        for shard in range(8):
            other = inside[(epoch + 1) % 4][shard]
            assert abs(np.corrcoef(inside[epoch][shard], other)[0, 1]) < 0.15


def test_a_source_stands_anywhere_in_later_epochs():
    counts = np.zeros((24, 24))
    for seed in range(4000):
        counts[np.arange(24), order(1, 24, reuse=2, num_shards=4, seed=seed)] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_neighbours_are_spread_uniformly():
    found = order(3, 100_000, reuse=4, num_shards=25)
    steps = np.diff(found) % 100_000
    assert stats.kstest(steps / 100_000, "uniform").pvalue > 1e-3


def test_a_slice_of_ten_billion_costs_little():
    found = reused_indices(0, 5, 10**10, 5 * 10**9, 5 * 10**9 + 1000, reuse=2, num_shards=10**5)
    assert len(set(found.tolist())) == 1000
    assert 0 <= found.min() <= found.max() < 10**10


def test_groups():
    assert [first_of_group(epoch, 3) for epoch in range(7)] == [0, 0, 0, 3, 3, 3, 6]
    assert [first_of_group(epoch, 1) for epoch in range(3)] == [0, 1, 2]


def test_positions_outside_the_epoch_are_refused():
    with pytest.raises(ValueError, match=r"\[5, 11\) are not within \[0, 10\)"):
        reused_indices(0, 0, 10, 5, 11, reuse=2, num_shards=2)


def test_golden_orders():
    # Pins the format: these may change only with FORMAT_VERSION.
    assert order(0, 10, reuse=2, num_shards=3).tolist() == [6, 4, 2, 9, 7, 5, 1, 0, 8, 3]
    assert order(1, 10, reuse=2, num_shards=3).tolist() == [4, 2, 6, 7, 9, 5, 8, 3, 1, 0]
