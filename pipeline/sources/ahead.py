"""Reading files before they are asked for, where each read is a request that takes its time to be answered.

A local folder is read as it comes: the system reads ahead there.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from pipeline.ahead import ahead
from pipeline.store import LocalStore, Store, StoreError

Name = TypeVar("Name")
Content = TypeVar("Content")

NUM_THREADS = 16
"""Requests under way in one process."""
MOST_BYTES = 64 << 20
"""Of files that are held before or after they are asked for, in one process; one may be larger."""
_USUAL_BYTES = 4 << 20
"""Of a picture whose size nobody knows."""


def read_each(
    read: Callable[[Name], Content],
    store: Store,
    names: Sequence[Name],
    sizes: Sequence[int] | None = None,
) -> Iterator[Content]:
    """Yield read(name) of each file, in order; those of an object store are read ahead.

    Args:
        read: of one file; what it raises is raised here in its turn.
        store: that holds the files.
        names: what `read` takes, of each file.
        sizes: of the files: no more are held at once than `MOST_BYTES`, by the largest of them.
    """
    if isinstance(store, LocalStore) or len(names) < 2:
        yield from map(read, names)
        return
    depth = max(1, min(2 * NUM_THREADS, MOST_BYTES // max(1, *(sizes or [_USUAL_BYTES]))))
    yield from ahead(read, names, depth, min(NUM_THREADS, depth))


class Reader:
    """Reads a store's files in the order of need, some before they are needed. Any number of threads may ask.

    It may be pickled and forked, and is then idle.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._rest()

    def _rest(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._begun: OrderedDict[str, tuple[Future[bytes], int]] = OrderedDict()
        self._num_bytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.store,)

    def expect(self, names: Sequence[str], sizes: Sequence[int]) -> int:
        """Begin to read files that are needed next, in this order; return how many bytes they are.

        Of more than half of `MOST_BYTES` the rest is left to be read when it is asked for.
        """
        if isinstance(self.store, LocalStore):
            return 0
        if self._process != os.getpid():  # the threads stayed with the parent process
            self._rest()
        expected = 0
        with self._lock:
            for name, num_bytes in zip(names, sizes, strict=True):
                if expected + num_bytes > MOST_BYTES // 2:
                    break
                expected += num_bytes
                self._begin(name, num_bytes)
        return expected

    def _begin(self, name: str, num_bytes: int) -> None:
        if name in self._begun:
            self._begun.move_to_end(name)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(NUM_THREADS, "dreamshards-reader")
        self._begun[name] = self._threads.submit(self.store.read, name), num_bytes
        self._num_bytes += num_bytes
        while self._num_bytes > MOST_BYTES:
            _, (oldest, freed) = self._begun.popitem(last=False)
            oldest.cancel()
            self._num_bytes -= freed

    def read(self, name: str) -> bytes:
        """Return a whole file.

        Raises:
            MissingObjectError: there is none.
            StoreError: it cannot be read.
        """
        if self._begun and self._process == os.getpid():
            with self._lock:
                future, _ = self._begun.get(name, (None, 0))
            if future is not None:
                try:
                    return future.result()
                except CancelledError:  # it made room for others just now
                    pass
                except StoreError:  # asked again, it may be answered
                    self._drop(name)
                    raise
        return self.store.read(name)

    def _drop(self, name: str) -> None:
        with self._lock:
            _, num_bytes = self._begun.pop(name, (None, 0))
            self._num_bytes -= num_bytes
