"""`ShardStream`: whole batches of one epoch after another, straight through, from the shards of a root."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

from pipeline.shards.dataset import read_dataset, sample_shape_of
from pipeline.shards.lost import samples_of_epoch
from pipeline.store import LocalStore, Root, open_store
from pipeline.stream.cache import open_cache
from pipeline.stream.checks import check_epoch, check_positive, check_state
from pipeline.stream.fetch import Asked
from pipeline.stream.index import I64, EpochIndex, read_index, read_videos
from pipeline.stream.local import LocalReader, default_threads
from pipeline.stream.passes import BatchStream, Contents, EpochReader, Options
from pipeline.stream.remote import RemoteReader
from pipeline.stream.samples import Batch
from pipeline.variants import variants_of


class ShardStream(BatchStream):
    """Batches `(images uint8 [B, H, W, 3], labels int64 [B])` of an epoch in its order, shared out to ranks.

    Iterate over it, or over `DataLoader(stream, batch_size=None, num_workers=…)`: any number of workers gives
    the same batches in the same order. Every rank gets the same number of batches, none empty, and
    every sample comes exactly once; the last batches are smaller (see `schedule`). Of a root made with mixup
    or CutMix, labels are the share of each class, float32 [B, num_classes]. Of clips, images are uint8
    [B, T, H, W, 3], and T may differ between epochs (`shape`); `variants` says what epochs of test sets hold.

    A pass begins where the state that was loaded says, else at the epoch's beginning; a new iterator begins
    the pass again. After a complete pass without workers the stream goes on to the next epoch; with workers,
    call `set_epoch` before each pass, as for a DistributedSampler. Past the materialised epochs they come
    again from the first.

    Args:
        root: a local root or the URI of one in an object store.
        batch_size: most samples of a batch on one rank.
        epoch: the materialised epoch to begin with.
        rank, world_size: by default those of torch.distributed if it is initialised, else of the environment
            variables RANK and WORLD_SIZE, else 0 and 1.
        drop_last: only full batches; up to batch_size·world_size − 1 samples of an epoch are not read.
        read_ahead: most batches prepared ahead, by threads, in each process; 0 prepares them on demand. Raw
            samples of a local root are always read on demand: a thread would take longer to answer.
        read_ahead_bytes: of a remote root, most bytes that are fetched ahead or under way in each process,
            in up to 8 requests at once of up to 8 MiB each; one batch may need more.
        num_threads: decoding threads; by default one in a DataLoader worker, else the CPUs granted.
        check_crc: compare each payload with the CRC-32 in its manifest; by default only for remote roots.
        return_keys: add the list of keys to each batch.
        pin_memory: make batches in page-locked memory, which `.to(device, non_blocking=True)` sends to a GPU
            without waiting and without another copy. In this process alone: with DataLoader workers give
            `pin_memory=True` to the DataLoader, a thread of which then pins.
        cache_dir, cache_bytes: keep what was read from a remote root in this folder, up to so many bytes.

    Raises:
        DreamshardsError: no complete build at `root`, an epoch that it does not hold, or a request that
            cannot give every rank the same number of batches. On reading: an object is missing or altered.
    """

    def __init__(
        self,
        root: Root,
        *,
        batch_size: int,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        read_ahead: int = 4,
        read_ahead_bytes: int = 64 * 2**20,
        num_threads: int | None = None,
        check_crc: bool | None = None,
        return_keys: bool = False,
        pin_memory: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self._store = open_store(root)
        self._dataset = read_dataset(self._store)
        check_epoch(self._store, self._dataset, epoch)
        options = Options.checked(
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
            read_ahead=read_ahead,
            num_threads=num_threads,
            return_keys=return_keys,
            pin_memory=pin_memory,
        )
        check_positive("read_ahead_bytes", read_ahead_bytes)
        self._read_ahead_bytes = read_ahead_bytes
        local = isinstance(self._store, LocalStore)
        self._check_crc = not local if check_crc is None else check_crc
        self._cache = open_cache(self._store, self._dataset, cache_dir, cache_bytes)
        contents = Contents(
            list(self._dataset["classes"]),
            [sample_shape_of(self._dataset, number) for number in range(self._dataset["epochs"])],
            tuple(
                samples_of_epoch(self._dataset, number) for number in range(self._dataset["epochs"])
            ),
            self._dataset["digest"],
            variants_of(self._dataset),
        )
        super().__init__(contents, options, epoch)
        self._reader: tuple[int, LocalReader | RemoteReader] | None = None
        self._find_reader(epoch)  # a damaged manifest is met now

    def videos(self, epoch: int = 0) -> I64:
        """Return of each position of an epoch of clips the number of its video, from 0, int64 [n].

        `positions_of` tells the positions of a batch by its keys.

        Raises:
            DreamshardsError: an epoch that the root does not hold, or its manifest is missing or altered.
        """
        check_epoch(self._store, self._dataset, epoch)
        return read_videos(self._store, self._dataset, epoch)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_reader": None}

    def _check_origin(self, state: dict[str, Any]) -> None:
        check_state(self._store, self._dataset, state)

    def _open(self, epoch: int) -> EpochReader:
        reader = self._find_reader(epoch)
        threads = self._options.num_threads or default_threads()

        def keys(start: int, stop: int) -> list[str]:
            return reader.index.keys(range(start, stop))

        if isinstance(reader, RemoteReader):
            return EpochReader(
                keys,
                lambda asked, _: reader.read_asked(asked),
                threads,
                partial(reader.feed, most_bytes=self._read_ahead_bytes),
            )

        def read(asked: Asked, num_threads: int) -> Batch:
            return reader.read(np.arange(asked.start, asked.stop), num_threads)

        raw = reader.index.codec == "npy"
        return EpochReader(keys, read, 0 if raw else threads)

    def _find_reader(self, epoch: int) -> LocalReader | RemoteReader:
        """Return the reader of an epoch, made anew in each process: locks do not survive a fork."""
        number = epoch % int(self._dataset["epochs"])
        if self._reader is None or self._reader[1].index.epoch != number:
            index = read_index(self._store, self._dataset, number)
        elif self._reader[0] != os.getpid():
            index = self._reader[1].index
        else:
            return self._reader[1]
        reader = self._make_reader(index)
        self._reader = os.getpid(), reader
        return reader

    def _make_reader(self, index: EpochIndex) -> LocalReader | RemoteReader:
        if isinstance(self._store, LocalStore):
            return LocalReader(
                self._store,
                index,
                check_crc=self._check_crc,
                num_threads=self._options.num_threads,
                pin_memory=self._options.pin_memory,
            )
        return RemoteReader(
            self._store,
            index,
            check_crc=self._check_crc,
            cache=self._cache,
            num_threads=self._options.num_threads,
            pin_memory=self._options.pin_memory,
        )
