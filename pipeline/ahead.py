"""Work done ahead of its consumer by threads, in order, a bounded number of results at a time."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R], items: Iterable[T], depth: int, num_threads: int
) -> Generator[R, None, None]:
    """Yield work(item) for each item, in order, with up to `depth` of them begun and not yet taken.

    An exception of `work` reaches the consumer in the place of its result. When the generator is closed or
    dropped, what has not begun is given up and the threads end.
    """
    pending: deque[Future[R]] = deque()
    remaining = iter(items)
    finalizing = sys.is_finalizing
    pool = ThreadPoolExecutor(num_threads, "dreamshards-ahead")
    try:
        for item in islice(remaining, depth):
            pending.append(pool.submit(work, item))
        while pending:
            result = pending.popleft().result()
            for item in islice(remaining, 1):
                pending.append(pool.submit(work, item))
            yield result
            del result  # or it would be held while the next is awaited
    finally:
        if not finalizing():  # the interpreter joined the threads before it cleared their modules
            pool.shutdown(wait=True, cancel_futures=True)
