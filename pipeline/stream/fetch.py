"""Fetching pieces of an epoch ahead of their reader: by threads, in order, limited in bytes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import tee
from typing import NamedTuple

from pipeline.stream.index import EpochIndex
from pipeline.stream.pieces import Piece, Span

MOST_REQUESTS = 8
"""Requests of a stream under way at once."""

Content = bytes | memoryview


class Fetched(NamedTuple):
    """A piece, and the promise of its bytes."""

    piece: Piece
    content: Future[Content]


class Asked(NamedTuple):
    """What a batch is made of: positions [start, stop), and for a remote root the pieces that hold them."""

    start: int
    stop: int
    parts: tuple[Fetched, ...] = ()


@contextmanager
def fetch_ahead(
    index: EpochIndex,
    spans: Iterable[Span],
    plan: Callable[[Iterable[Span]], Iterable[Piece]],
    fetch: Callable[[Piece], Content],
    most_bytes: int,
) -> Iterator[Iterator[Asked]]:
    """Give each of some rising spans with its pieces, without waiting for their bytes.

    The pieces of a span are begun when it is its turn, and those after it for as long as all that are held
    or under way have no more than `most_bytes`. An exception of `fetch` is raised where the bytes are taken.
    When the block ends, what has not begun is given up and the threads end.

    Args:
        index: of the epoch.
        spans: what is read, in order.
        plan: returns the pieces that hold spans, in order; it is given `spans` once, and may run ahead.
        fetch: returns the bytes of a piece; called by threads.
        most_bytes: a single span may need more.
    """
    finalizing = sys.is_finalizing
    pool = ThreadPoolExecutor(MOST_REQUESTS, "dreamshards-fetch")
    try:
        yield _asked(index, spans, plan, lambda piece: pool.submit(fetch, piece), most_bytes)
    finally:
        if not finalizing():  # the interpreter joined the threads before it cleared their modules
            pool.shutdown(wait=True, cancel_futures=True)


def _asked(
    index: EpochIndex,
    spans: Iterable[Span],
    plan: Callable[[Iterable[Span]], Iterable[Piece]],
    begin: Callable[[Piece], Future[Content]],
    most_bytes: int,
) -> Iterator[Asked]:
    ahead, spans = tee(spans)
    planned = iter(plan(ahead))
    next_piece = next(planned, None)
    held: deque[tuple[Fetched, int]] = deque()
    num_bytes = 0
    for start, stop in spans:
        while held and held[0][0].piece.last <= start:
            num_bytes -= held.popleft()[1]
        while next_piece is not None:
            size = next_piece.bounds(index)[1]
            if next_piece.first >= stop and num_bytes + size > most_bytes:
                break
            held.append((Fetched(next_piece, begin(next_piece)), size))
            num_bytes += size
            next_piece = next(planned, None)
        yield Asked(start, stop, tuple(part for part, _ in held if part.piece.first < stop))
