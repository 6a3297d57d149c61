"""Names and shard boundaries: every sample once, equal shards, and order that sorting keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError
from pipeline.shards.layout import (
    MAX_SAMPLES,
    MAX_SHARDS,
    epoch_folder,
    epoch_manifest,
    keys,
    parse_key,
    shards_of_epoch,
)

epochs = st.integers(0, 9999)
positions = st.integers(0, MAX_SAMPLES - 1)


def key(epoch: int, position: int) -> str:
    return keys(epoch, position, position + 1).tobytes().decode()


@given(epochs, st.integers(1, 10**6), st.integers(1, 10**6))
def test_shards_hold_every_position_once_and_are_equal_within_one(epoch, num, per_shard):
    assume(num / per_shard <= 2000)
    shards = shards_of_epoch(epoch, num, per_shard)
    assert shards[0].start == 0
    assert shards[-1].stop == num
    assert [shard.start for shard in shards[1:]] == [shard.stop for shard in shards[:-1]]
    sizes = [shard.stop - shard.start for shard in shards]
    assert min(sizes) >= 1
    assert max(sizes) <= per_shard
    assert max(sizes) - min(sizes) <= 1
    assert len(shards) == -(-num // per_shard)  # the fewest
    assert [shard.shard for shard in shards] == list(range(len(shards)))
    assert {shard.epoch for shard in shards} == {epoch}


def test_an_empty_epoch_has_no_shards():
    assert list(shards_of_epoch(0, 0, 10)) == []


def test_names_sort_as_positions_do():
    shards = shards_of_epoch(12, 2001, 1)
    for names in ([shard.tar for shard in shards], [shard.manifest for shard in shards]):
        assert names == sorted(names)
        assert len(set(names)) == len(names)
    assert shards[7].tar == "epoch-0012/shard-000007.tar"
    assert shards[7].manifest == "epoch-0012/shard-000007.parquet"
    assert epoch_folder(12) == "epoch-0012"
    assert epoch_manifest(12) == "epoch-0012/manifest.parquet"
    folders = [epoch_folder(epoch) for epoch in range(10_000)]
    assert folders == sorted(folders)


def test_more_shards_or_samples_than_names_can_order_are_refused():
    assert len(shards_of_epoch(0, MAX_SHARDS, 1)) == MAX_SHARDS
    with pytest.raises(DreamshardsError, match=r"1,281,167 shards .* allowed: 2 or more samples"):
        shards_of_epoch(0, 1_281_167, 1)
    with pytest.raises(
        DreamshardsError, match=r"10,000,000,001 samples .* allowed: 10,000,000,000"
    ):
        shards_of_epoch(0, MAX_SAMPLES + 1, 10**7)


@given(epochs, positions)
def test_a_key_is_read_back(epoch, position):
    text = key(epoch, position)
    assert text == f"{epoch:04d}-{position:010d}"
    assert parse_key(text) == (epoch, position)


@given(epochs, st.integers(0, MAX_SAMPLES), st.integers(0, 300))
def test_many_keys_equal_one_at_a_time(epoch, start, num):
    stop = min(start + num, MAX_SAMPLES)
    found = keys(epoch, start, stop)
    assert found.dtype == np.uint8
    assert found.shape == (stop - start, 15)
    assert [row.tobytes().decode() for row in found] == [
        f"{epoch:04d}-{position:010d}" for position in range(start, stop)
    ]


@given(epochs, positions, epochs, positions)
def test_keys_sort_as_epochs_and_positions_do(epoch, position, other_epoch, other):
    ours, theirs = key(epoch, position), key(other_epoch, other)
    assert (ours < theirs) == ((epoch, position) < (other_epoch, other))
    assert (ours == theirs) == ((epoch, position) == (other_epoch, other))


@pytest.mark.parametrize(
    ("epoch", "start", "stop"),
    [(10_000, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 5, 4), (0, MAX_SAMPLES, MAX_SAMPLES + 1)],
)
def test_a_key_that_would_not_fit_is_never_made(epoch, start, stop):
    with pytest.raises(AssertionError):
        keys(epoch, start, stop)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000-000000000",
        "0000-00000000000",
        "000-0000000000",
        "0000_0000000000",
        "0000-0000000000\n",
        " 0000-0000000000",
        "0000-0000000000.npy",
        "-001-0000000000",
        "0000-00000000_1",
        "٠٠٠٠-٠٠٠٠٠٠٠٠٠٠",  # digits, but not these
        "0000-000000000²",
    ],
)
def test_what_is_not_a_key_is_not_taken_for_one(text):
    assert parse_key(text) is None


@given(st.text(max_size=16))
def test_no_text_makes_parsing_fail(text):
    place = parse_key(text)
    assert place is None or key(*place) == text
