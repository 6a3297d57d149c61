"""Reading any positions of one epoch of a local root into batches."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch.utils.data import get_worker_info

from pipeline.errors import DreamshardsError
from pipeline.shards.codecs import npy_header
from pipeline.store import LocalStore
from pipeline.stream import gather
from pipeline.stream.decode import U8, compare_crc, decode_payloads, position_error, sample_error
from pipeline.stream.files import EpochFiles, TarFile
from pipeline.stream.index import I64, EpochIndex
from pipeline.stream.samples import Batch, empty_batch, softened


def default_threads() -> int:
    """Return the threads to decode with: one in a DataLoader worker, else the CPUs granted."""
    return len(os.sched_getaffinity(0)) if get_worker_info() is None else 1


class LocalReader:
    """Reads one epoch of a local root. Raw samples are gathered from mapped tars, others decoded by threads.

    It may be forked and pickled: files and threads are opened on first use.
    """

    def __init__(
        self,
        store: LocalStore,
        index: EpochIndex,
        *,
        check_crc: bool,
        num_threads: int | None,
        pin_memory: bool = False,
    ) -> None:
        self.store, self.index = store, index
        self._check_crc, self._num_threads = check_crc, num_threads
        self._pin_memory = pin_memory
        self._files = EpochFiles(store, index)
        self._header = np.frombuffer(npy_header(index.shape), np.uint8)
        self._num_pixel_bytes = math.prod(index.shape)
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        options = self._check_crc, self._num_threads, self._pin_memory
        return _reopen, (self.store, self.index, *options)

    def read(self, positions: I64, num_threads: int | None = None) -> Batch:
        """Return the samples of some positions, int64 [n], in their order.

        Raises:
            DreamshardsError: a tar is missing, cut or altered, or a payload is not what the manifest says.
            IndexError: a position is not in the epoch.
        """
        batch = empty_batch(len(positions), self.index.shape, self._pin_memory)
        if self.index.codec == "npy":
            self._gather(positions, batch)
        else:
            self._decode(positions, batch, num_threads)
        return softened(batch, self.index, positions)

    def _gather(self, positions: I64, batch: Batch) -> None:
        index, files = self.index, self._files
        while True:
            result, row = gather.gather(
                positions,
                index.starts,
                files.table,
                index.offsets,
                index.labels,
                self._header,
                self._num_pixel_bytes,
                batch.images.data_ptr(),
                batch.labels.data_ptr(),
            )
            if result == gather.OK:
                break
            if result == gather.NOT_OPEN:
                for shard, file in self._open(positions).items():
                    files.map(shard, file)
            else:
                self._explain(result, int(positions[row]))
        if self._check_crc:
            tars = self._open(positions)
            for position in positions.tolist():
                content = memoryview(tars[index.shard_of(position)].content())
                start = int(index.offsets[position])
                compare_crc(
                    self.store, index, position, content[start : start + index.sizes[position]]
                )

    def _explain(self, result: int, position: int) -> None:
        """Raise what a call of `gather` met at a position."""
        index = self.index
        if result == gather.OUT_OF_RANGE:
            raise position_error(self.store, index, position)
        try:
            self._files.get(index.shard_of(position)).check_size()
        except DreamshardsError as error:
            raise _with_key(error, index, position) from error
        reason = f"does not begin with the npy header of {index.shape}: the tar is altered"
        raise sample_error(self.store, index, position, reason)

    def _decode(self, positions: I64, batch: Batch, num_threads: int | None) -> None:
        if len(positions) == 0:
            return
        files, out = self._open(positions), batch.images.numpy()
        batch.labels.numpy()[:] = self.index.labels[positions]
        num = self._num_threads or default_threads() if num_threads is None else num_threads
        size = -(-len(positions) // num)
        parts = [slice(start, start + size) for start in range(0, len(positions), size)]
        work = [(positions[part].tolist(), files, out[part]) for part in parts]
        if len(work) == 1:
            self._decode_part(*work[0])
            return
        for done in [self._pool(num).submit(self._decode_part, *part) for part in work]:
            done.result()

    def _decode_part(self, positions: list[int], files: dict[int, TarFile], out: U8) -> None:
        index = self.index

        def payload_of(position: int) -> bytes:
            file = files[index.shard_of(position)]
            try:
                return file.read(int(index.offsets[position]), int(index.sizes[position]))
            except DreamshardsError as error:
                raise _with_key(error, index, position) from error

        decode_payloads(self.store, index, positions, payload_of, self._check_crc, out)

    def _open(self, positions: I64) -> dict[int, TarFile]:
        """Return the tars that hold some positions, at least one."""
        for end in (positions.min(), positions.max()):
            if not 0 <= end < len(self.index):
                raise position_error(self.store, self.index, int(end))
        shards = np.searchsorted(self.index.starts, positions, "right") - 1
        files = {}
        for shard, first in zip(*np.unique(shards, return_index=True), strict=True):
            try:
                files[int(shard)] = self._files.get(int(shard))
            except DreamshardsError as error:
                raise _with_key(error, self.index, int(positions[first])) from error
        return files

    def _pool(self, num_threads: int) -> ThreadPoolExecutor:
        process = os.getpid()
        if self._threads is None or self._threads[0] != process:  # threads do not survive a fork
            self._threads = process, ThreadPoolExecutor(num_threads, "dreamshards-decode")
        return self._threads[1]


def _with_key(error: DreamshardsError, index: EpochIndex, position: int) -> DreamshardsError:
    return DreamshardsError(f"{error} (met at sample {index.key(position)})")


def _reopen(
    store: LocalStore,
    index: EpochIndex,
    check_crc: bool,
    num_threads: int | None,
    pin_memory: bool,
) -> LocalReader:
    options = {"check_crc": check_crc, "num_threads": num_threads, "pin_memory": pin_memory}
    return LocalReader(store, index, **options)  # type: ignore[arg-type]
