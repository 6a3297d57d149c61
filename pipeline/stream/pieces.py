"""Which bytes of an epoch's tars to ask an object store for. Arithmetic on the index; reads nothing.

A piece is the bytes of consecutive samples of one shard. Pieces come in the order of what is wanted and do
not overlap, so that no byte is asked for twice. Both ways of making them never cut a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.stream.index import EpochIndex

PIECE_BYTES = 8 * 2**20
"""Most bytes of a request of a stream, but for a sample that is larger: past it a request is no faster."""
FIRST_BYTES = 256 * 2**10
"""Of the first piece of a pass; each next one may be twice as long. The first batch comes soon."""
GAP_BYTES = 256 * 2**10
"""Up to so many bytes that nobody wants are read over: a request of its own would cost more."""


class Span(NamedTuple):
    """Positions [start, stop) of an epoch."""

    start: int
    stop: int


class Piece(NamedTuple):
    """The samples at positions [first, last) of one shard."""

    shard: int
    first: int
    last: int

    def bounds(self, index: EpochIndex) -> tuple[int, int]:
        """Return where its bytes begin in the tar, and how many there are."""
        begin = int(index.offsets[self.first])
        return begin, _end(index, self.last - 1) - begin


def wanted_pieces(
    index: EpochIndex,
    spans: Iterable[tuple[int, int]],
    *,
    first_bytes: int = PIECE_BYTES,
    most_bytes: int = PIECE_BYTES,
) -> Iterator[Piece]:
    """Yield pieces that hold some rising spans of positions, and little else.

    Neighbours are joined, over gaps of up to `GAP_BYTES`, up to `most_bytes`; the first pieces are shorter.
    """
    begun: Piece | None = None
    limit = min(first_bytes, most_bytes)
    for shard, first, last in _by_shard(index, spans):
        while first < last:
            offset = int(index.offsets[first])
            if begun is not None:
                stop = _end(index, begun.last - 1)
                origin = int(index.offsets[begun.first])
                near = begun.shard == shard and offset - stop <= GAP_BYTES
                if not near or offset >= origin + limit:
                    yield begun
                    begun, limit = None, min(2 * limit, most_bytes)
            if begun is None:
                begun, origin = Piece(shard, first, first), offset
            within = np.searchsorted(index.offsets[first:last], origin + limit)
            first += max(1, int(within))
            begun = begun._replace(last=first)
    if begun is not None:
        yield begun


def blocks(
    index: EpochIndex, spans: Iterable[tuple[int, int]], block_bytes: int
) -> Iterator[Piece]:
    """Yield the blocks that hold some rising spans of positions, whole.

    A block is the samples that begin within the same `block_bytes` of a tar: it depends on the root alone,
    so that what was kept for one reader serves any other.
    """
    held = -1
    for shard, first, last in _by_shard(index, spans):
        begin, stop = int(index.starts[shard]), int(index.starts[shard + 1])
        offsets = index.offsets[begin:stop]
        first = max(first, held)
        while first < last:
            number = int(index.offsets[first]) // block_bytes
            edges = np.searchsorted(offsets, [number * block_bytes, (number + 1) * block_bytes])
            held = first = begin + int(edges[1])
            yield Piece(shard, begin + int(edges[0]), held)


def _end(index: EpochIndex, position: int) -> int:
    return int(index.offsets[position] + index.sizes[position])


def _by_shard(
    index: EpochIndex, spans: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, int]]:
    """Yield (shard, first position, position after the last) for each shard of each span."""
    for start, stop in spans:
        while start < stop:
            shard = index.shard_of(start)
            last = min(stop, int(index.starts[shard + 1]))
            yield shard, start, last
            start = last
