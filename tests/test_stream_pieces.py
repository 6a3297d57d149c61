"""Pieces: every wanted sample is in one of them, none twice, within their bounds, whatever is wanted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.layout import ShardName
from pipeline.stream import pieces as module
from pipeline.stream.index import EpochIndex
from pipeline.stream.pieces import Piece, blocks, wanted_pieces
from pipeline.stream.schedule import Schedule

HEADER = 512


def index_of(sizes: list[int], per_shard: int) -> EpochIndex:
    """Return the index of an epoch of samples of such sizes, each after a header."""
    num = len(sizes)
    edges = [*range(0, num, per_shard), num]
    offsets, ends = np.zeros(num, np.int64), []
    for start, stop in itertools.pairwise(edges):
        place = HEADER
        for position in range(start, stop):
            offsets[position] = place
            place += sizes[position] + HEADER
        ends.append(place)
    names = [ShardName(0, i, *edges[i : i + 2]) for i in range(len(edges) - 1)]
    empty = np.zeros(num, np.int32)
    return EpochIndex(
        0,
        "jpg",
        (1, 1, 3),
        names,
        np.array(ends, np.int64),
        np.array(edges, np.int64),
        empty,
        offsets,
        np.array(sizes, np.int64),
        np.zeros(num, np.uint32),
    )


@st.composite
def wishes(draw: st.DrawFn) -> tuple[EpochIndex, list[tuple[int, int]]]:
    sizes = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
    index = index_of(sizes, draw(st.integers(1, len(sizes))))
    edges = sorted(draw(st.lists(st.integers(0, len(sizes)), max_size=20)))
    return index, list(zip(edges[::2], edges[1::2], strict=False))


def covered(pieces: list[Piece]) -> list[int]:
    return [position for piece in pieces for position in range(piece.first, piece.last)]


def check_order(index: EpochIndex, pieces: list[Piece], spans: list[tuple[int, int]]) -> None:
    found = covered(pieces)
    assert found == sorted(set(found))
    assert {i for span in spans for i in range(*span)} <= set(found)
    for piece in pieces:
        assert index.starts[piece.shard] <= piece.first < piece.last
        assert piece.last <= index.starts[piece.shard + 1]
        begin, num_bytes = piece.bounds(index)
        assert begin == index.offsets[piece.first]
        assert begin + num_bytes == index.offsets[piece.last - 1] + index.sizes[piece.last - 1]


@given(wishes(), st.integers(1, 9000), st.integers(1, 9000), st.integers(0, 3000))
def test_wanted_pieces_hold_what_is_wanted_and_short_gaps_alone(wish, first, most, gap):
    index, spans = wish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GAP_BYTES", gap)
        found = list(wanted_pieces(index, spans, first_bytes=first, most_bytes=most))
    check_order(index, found, spans)
    wanted = {i for span in spans for i in range(*span)}
    for number, piece in enumerate(found):
        assert piece.first in wanted
        assert piece.last - 1 in wanted
        start = piece.bounds(index)[0]
        limit = min(most, first << number)
        inside = [i for i in range(piece.first, piece.last) if i in wanted]
        assert all(index.offsets[i] < start + limit for i in inside[1:])
        for before, after in itertools.pairwise(inside):
            assert index.offsets[after] - index.offsets[before] - index.sizes[before] <= max(
                gap, HEADER if after == before + 1 else 0
            )


@given(wishes(), st.integers(1, 9000))
def test_blocks_are_the_same_for_every_reader(wish, block_bytes):
    index, spans = wish
    every = list(blocks(index, [(0, len(index))], block_bytes))
    check_order(index, every, [(0, len(index))])
    assert covered(every) == list(range(len(index)))
    found = list(blocks(index, spans, block_bytes))
    check_order(index, found, spans)
    assert set(found) <= set(every)
    wanted = {i for span in spans for i in range(*span)}
    for piece in found:
        assert wanted & set(range(piece.first, piece.last))
        numbers = index.offsets[piece.first : piece.last] // block_bytes
        assert (numbers == numbers[0]).all()


def test_pieces_grow_to_their_full_size():
    index = index_of([3584] * 4000, 4000)  # 4 KiB each with its header
    sizes = [piece.last - piece.first for piece in wanted_pieces(index, [(0, 4000)])]
    assert sizes == [2048, 1952]
    found = wanted_pieces(index, [(0, 4000)], first_bytes=module.FIRST_BYTES)
    assert [piece.last - piece.first for piece in found] == [64, 128, 256, 512, 1024, 2016]


@pytest.mark.parametrize(("world_size", "share"), [(1, 1), (2, 1), (3, 1 / 3), (8, 1 / 8)])
def test_a_rank_asks_for_little_more_than_its_share(world_size, share):
    index = index_of([3584] * 6400, 6400)
    schedule = Schedule(6400, 40, world_size)  # shares of 160 KiB, as far apart as the others' are
    spans = [schedule.share(step, 1 % world_size) for step in range(schedule.num_steps)]
    asked = sum(piece.bounds(index)[1] for piece in wanted_pieces(index, spans))
    assert asked / (6400 * 4096) == pytest.approx(share, rel=0.03)
