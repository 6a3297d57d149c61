"""Reading spans of positions of one epoch of an object store into batches: exactly their bytes, once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pipeline.errors import DreamshardsError
from pipeline.shards.codecs import npy_header
from pipeline.store import Store, StoreError
from pipeline.stream import gather
from pipeline.stream.cache import RangeCache
from pipeline.stream.decode import compare_crc, decode_payloads, sample_error
from pipeline.stream.index import EpochIndex
from pipeline.stream.samples import Batch, empty_batch, softened


class RemoteReader:
    """Reads one epoch of a store by ranges, through a cache if one is given; for any number of threads."""

    def __init__(
        self,
        store: Store,
        index: EpochIndex,
        *,
        check_crc: bool,
        cache: RangeCache | None,
        pin_memory: bool = False,
    ) -> None:
        self.store, self.index = store, index
        self._check_crc, self._cache = check_crc, cache
        self._pin_memory = pin_memory

    def read(self, start: int, stop: int) -> Batch:
        """Return the samples of positions [start, stop): one request for each shard that holds some.

        Raises:
            DreamshardsError: a tar is missing, cut or altered, or a payload is not what the manifest says.
        """
        batch = empty_batch(stop - start, self.index.shape, self._pin_memory)
        for shard, first, last in self._pieces(start, stop):
            content, origin = self._fetch(shard, first, last)
            part = slice(first - start, last - start)
            if self.index.codec == "npy":
                self._gather(first, last, content, origin, Batch(*(field[part] for field in batch)))
                continue
            view = memoryview(content)
            decode_payloads(
                self.store,
                self.index,
                range(first, last),
                lambda i, view=view, origin=origin: self._payload(view, origin, i),  # type: ignore[misc]
                self._check_crc,
                batch.images.numpy()[part],
            )
            batch.labels.numpy()[part] = self.index.labels[first:last]
        return softened(batch, self.index, np.arange(start, stop))

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (shard, first position, position after the last) for each shard of a span."""
        while start < stop:
            shard = self.index.shard_of(start)
            last = min(stop, int(self.index.starts[shard + 1]))
            yield shard, start, last
            start = last

    def _fetch(self, shard: int, first: int, last: int) -> tuple[bytes, int]:
        """Return the bytes of a shard that hold positions [first, last), and where in the tar they begin."""
        index, file = self.index, self.index.shards[shard].tar
        origin = int(index.offsets[first])
        num_bytes = int(index.offsets[last - 1] + index.sizes[last - 1]) - origin
        content = self._cache.get(file, origin, num_bytes) if self._cache else None
        if content is None:
            try:
                content = self.store.read_range(file, origin, num_bytes)
            except StoreError as error:
                raise DreamshardsError(f"{error} (met at sample {index.key(first)})") from error
            if self._cache:
                self._cache.put(file, origin, content)
        return content, origin

    def _payload(self, content: memoryview, origin: int, position: int) -> memoryview:
        start = int(self.index.offsets[position]) - origin
        return content[start : start + int(self.index.sizes[position])]

    def _gather(self, first: int, last: int, content: bytes, origin: int, batch: Batch) -> None:
        index, view = self.index, memoryview(content)
        if self._check_crc:
            for position in range(first, last):
                compare_crc(self.store, index, position, self._payload(view, origin, position))
        address = np.frombuffer(content, np.uint8).ctypes.data
        result, row = gather.gather(
            np.arange(last - first),
            np.array([0, last - first]),
            np.array([[address, -1, 0]]),
            index.offsets[first:last] - origin,
            index.labels[first:last],
            np.frombuffer(npy_header(index.shape), np.uint8),
            math.prod(index.shape),
            batch.images.data_ptr(),
            batch.labels.data_ptr(),
        )
        if result != gather.OK:
            reason = f"does not begin with the npy header of {index.shape}: the tar is altered"
            raise sample_error(self.store, index, first + row, reason)
