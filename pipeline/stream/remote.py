"""Reading one epoch of an object store into batches: large pieces fetched ahead, batches cut out of them."""

from __future__ import annotations

import bisect
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from pipeline.errors import DreamshardsError
from pipeline.shards.codecs import npy_header
from pipeline.store import Store, StoreError
from pipeline.stream import gather
from pipeline.stream.cache import RangeCache
from pipeline.stream.decode import compare_crc, decode_payloads, position_error, sample_error
from pipeline.stream.fetch import Asked, Content, fetch_ahead
from pipeline.stream.index import I64, EpochIndex
from pipeline.stream.local import default_threads
from pipeline.stream.pieces import FIRST_BYTES, PIECE_BYTES, Piece, Span, blocks, wanted_pieces
from pipeline.stream.samples import Batch, empty_batch, softened

_PARTS = 4
"""Least pieces that the bytes read ahead are cut into, so that several are under way."""
_RANDOM_REQUESTS = 16
"""Requests of a batch of chosen samples under way at once: they are short, and mostly wait."""
_RANDOM_BLOCK_BYTES = 256 * 2**10
"""What is fetched and kept around a chosen sample where there is a cache."""


class Held(NamedTuple):
    """A piece in memory; `origin` is where in the tar it begins."""

    piece: Piece
    origin: int
    content: memoryview


class RemoteReader:
    """Reads one epoch of a store by ranges, through a cache if one is given; for any number of threads.

    It may be forked and pickled: clients and threads are opened on first use.
    """

    def __init__(
        self,
        store: Store,
        index: EpochIndex,
        *,
        check_crc: bool,
        cache: RangeCache | None,
        num_threads: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        self.store, self.index = store, index
        self._check_crc, self._cache, self._num_threads = check_crc, cache, num_threads
        self._pin_memory = pin_memory
        self._threads: dict[str, tuple[int, ThreadPoolExecutor]] = {}

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_threads": {}}

    # ── in order ──

    def feed(
        self, spans: Iterable[Span], most_bytes: int
    ) -> AbstractContextManager[Iterator[Asked]]:
        """Give what `read_asked` makes a batch of for each of some rising spans, fetched ahead in the block.

        At most about `most_bytes` are held or under way; more where a single span has more.
        """
        plan = (
            partial(blocks, self.index, block_bytes=PIECE_BYTES)
            if self._cache
            else partial(
                wanted_pieces,
                self.index,
                first_bytes=FIRST_BYTES,
                most_bytes=min(PIECE_BYTES, max(1, most_bytes // _PARTS)),
            )
        )
        return fetch_ahead(self.index, spans, plan, self._fetch, most_bytes)

    def read_asked(self, asked: Asked) -> Batch:
        """Return the batch of one span that `feed` yielded, once its bytes have come.

        Raises:
            DreamshardsError: a tar is missing, cut or altered, or a payload is not what the manifest says.
        """
        held = [self._held(part.piece, part.content.result()) for part in asked.parts]
        return self._cut(np.arange(asked.start, asked.stop), held, 1)

    # ── anywhere ──

    def read(self, positions: I64) -> Batch:
        """Return the samples of some positions, int64 [n], in their order.

        Raises:
            DreamshardsError: as `read_asked`.
            IndexError: a position is not in the epoch.
        """
        wanted = np.unique(positions)
        for end in wanted[[0, -1]].tolist() if len(wanted) else []:
            if not 0 <= end < len(self.index):
                raise position_error(self.store, self.index, end)
        edges = np.flatnonzero(np.diff(wanted) != 1) + 1
        spans = [(int(run[0]), int(run[-1]) + 1) for run in np.split(wanted, edges) if len(run)]
        if self._cache:
            pieces = list(blocks(self.index, spans, _RANDOM_BLOCK_BYTES))
        else:
            pieces = list(wanted_pieces(self.index, spans))
        if len(pieces) == 1:
            contents = [self._fetch(pieces[0])]
        else:
            contents = list(self._pool("fetch", _RANDOM_REQUESTS).map(self._fetch, pieces))
        held = [self._held(*each) for each in zip(pieces, contents, strict=True)]
        return self._cut(positions, held, self._num_threads or default_threads())

    # ── pieces to batches ──

    def _fetch(self, piece: Piece) -> Content:
        file = self.index.shards[piece.shard].tar
        start, num_bytes = piece.bounds(self.index)

        def ask() -> bytes:
            try:
                return self.store.read_range(file, start, num_bytes)
            except StoreError as error:
                key = self.index.key(piece.first)
                raise DreamshardsError(f"{error} (met at sample {key})") from error

        return ask() if self._cache is None else self._cache.fetch(file, start, num_bytes, ask)

    def _held(self, piece: Piece, content: Content) -> Held:
        return Held(piece, int(self.index.offsets[piece.first]), memoryview(content))

    def _cut(self, positions: I64, held: Sequence[Held], num_threads: int) -> Batch:
        batch = empty_batch(len(positions), self.index.shape, self._pin_memory)
        if len(positions) == 0:
            return softened(batch, self.index, positions)
        try:
            if self.index.codec == "npy":
                self._gather(positions, held, batch)
            else:
                batch.labels.numpy()[:] = self.index.labels[positions]
                self._decode(positions, held, batch, num_threads)
        except DreamshardsError:
            self._forget(held)
            raise
        return softened(batch, self.index, positions)

    def _forget(self, held: Sequence[Held]) -> None:
        """Do not keep what is damaged: it came so from the store, where it may be mended."""
        for piece, *_ in held:
            if self._cache:
                self._cache.discard(self.index.shards[piece.shard].tar, *piece.bounds(self.index))

    def _gather(self, positions: I64, held: Sequence[Held], batch: Batch) -> None:
        index = self.index
        if self._check_crc:
            self._compare_crcs(positions, held)
        table = np.full((len(held), 3), -1, np.int64)
        for row, each in enumerate(held):
            table[row, 0] = np.frombuffer(each.content, np.uint8).ctypes.data - each.origin
        result, row = gather.gather(
            positions,
            np.array([*(each.piece.first for each in held), held[-1].piece.last]),
            table,
            index.offsets,
            index.labels,
            np.frombuffer(npy_header(index.shape), np.uint8),
            math.prod(index.shape),
            batch.images.data_ptr(),
            batch.labels.data_ptr(),
        )
        if result != gather.OK:
            reason = f"does not begin with the npy header of {index.shape}: the tar is altered"
            raise sample_error(self.store, index, int(positions[row]), reason)

    def _compare_crcs(self, positions: I64, held: Sequence[Held]) -> None:
        """Compare many short payloads, in less time than `compare_crc` takes for each."""
        index, crc32 = self.index, isal_zlib.crc32
        at = np.searchsorted([each.piece.first for each in held], positions, "right") - 1
        begin = index.offsets[positions] - np.array([each.origin for each in held])[at]
        bounds = zip(
            at.tolist(), begin.tolist(), (begin + index.sizes[positions]).tolist(), strict=True
        )
        found = np.array([crc32(held[i].content[start:stop]) for i, start, stop in bounds])
        wrong = np.flatnonzero(found != index.crcs[positions])
        if len(wrong):
            position = int(positions[wrong[0]])
            compare_crc(self.store, index, position, self._payload(held, position))

    def _payload(self, held: Sequence[Held], position: int) -> memoryview:
        at = bisect.bisect_right(held, position, key=lambda each: each.piece.first) - 1
        start = int(self.index.offsets[position]) - held[at].origin
        return held[at].content[start : start + int(self.index.sizes[position])]

    def _decode(self, positions: I64, held: Sequence[Held], batch: Batch, num_threads: int) -> None:
        out = batch.images.numpy()

        def decode(part: slice) -> None:
            chosen, payload_of = positions[part].tolist(), partial(self._payload, held)
            decode_payloads(self.store, self.index, chosen, payload_of, self._check_crc, out[part])

        size = -(-len(positions) // num_threads)
        parts = [slice(start, start + size) for start in range(0, len(positions), size)]
        if len(parts) == 1:
            decode(parts[0])
            return
        for done in [self._pool("decode", num_threads).submit(decode, part) for part in parts]:
            done.result()

    def _pool(self, work: str, num_threads: int) -> ThreadPoolExecutor:
        process = os.getpid()
        if self._threads.get(work, (0,))[0] != process:  # threads do not survive a fork
            pool = ThreadPoolExecutor(num_threads, f"dreamshards-{work}")
            self._threads[work] = process, pool
        return self._threads[work][1]
