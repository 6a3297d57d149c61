"""`ShardStream`: whole batches of one epoch after another, straight through, on any number of ranks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import read_dataset
from pipeline.shards.store import LocalStore, Root, open_store
from pipeline.stream.ahead import ahead
from pipeline.stream.cache import RangeCache
from pipeline.stream.checks import (
    cache_options,
    check_epoch,
    check_number,
    check_state,
    check_steps,
    find_rank,
)
from pipeline.stream.index import EpochIndex, read_index
from pipeline.stream.local import LocalReader, default_threads
from pipeline.stream.remote import RemoteReader
from pipeline.stream.samples import Batch, KeyedBatch, with_keys
from pipeline.stream.schedule import Schedule

_EPOCH, _START, _WORKERS_READ, _COMPLETED, _WARNED = range(5)
"""Places in the memory shared with DataLoader workers: the epoch and first position of the pass; whether
workers have read; one more than the epoch that they last read to its end; whether that was warned of."""


class ShardStream(IterableDataset[Any]):
    """Batches `(images uint8 [B, H, W, 3], labels int64 [B])` of an epoch in its order, shared out to ranks.

    Iterate over it, or over `DataLoader(stream, batch_size=None, num_workers=…)`: any number of workers gives
    the same batches in the same order. Every rank gets the same number of batches, none empty, and
    every sample comes exactly once; the last batches are smaller (see `schedule`). Of a root made with mixup
    or CutMix, labels are the share of each class, float32 [B, num_classes].

    A pass begins where the state that was loaded says, else at the epoch's beginning; a new iterator begins
    the pass again. After a complete pass without workers the stream goes on to the next epoch; with workers,
    call `set_epoch` before each pass, as for a DistributedSampler.

    Args:
        root: a local root or the URI of one in an object store.
        batch_size: most samples of a batch on one rank.
        epoch: the materialised epoch to begin with.
        rank, world_size: by default those of torch.distributed if it is initialised, else of the environment
            variables RANK and WORLD_SIZE, else 0 and 1.
        drop_last: only full batches; up to batch_size·world_size − 1 samples of an epoch are not read.
        read_ahead: most batches prepared ahead, by threads, in each process; 0 prepares them on demand. Raw
            samples of a local root are always read on demand: a thread would take longer to answer.
        num_threads: decoding threads; by default one in a DataLoader worker, else the CPUs granted. A remote
            root is read by `read_ahead` threads, which mostly wait.
        check_crc: compare each payload with the CRC-32 in its manifest; by default only for remote roots.
        return_keys: add the list of keys to each batch.
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
        num_threads: int | None = None,
        check_crc: bool | None = None,
        return_keys: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self._store = open_store(root)
        self._dataset = read_dataset(self._store)
        check_epoch(self._store, self._dataset, epoch)
        self._rank, self._world_size = find_rank(rank, world_size)
        self._batch_size, self._drop_last = batch_size, drop_last
        check_number("read_ahead", read_ahead)
        self._read_ahead, self._num_threads = read_ahead, num_threads
        local = isinstance(self._store, LocalStore)
        self._check_crc = not local if check_crc is None else check_crc
        self._return_keys = return_keys
        self._cache = cache_options(local, cache_dir, cache_bytes)
        self._schedule(0)  # refuses what is impossible now, not in mid-training
        shared = torch.zeros(5, dtype=torch.int64)
        self._shared: torch.Tensor = shared.share_memory_()  # type: ignore[no-untyped-call]
        self._shared[_EPOCH] = epoch
        self._position = 0  # delivered of this pass, in this process
        self._pass = 0
        self._worker_state: dict[str, Any] | None = None
        self._reader: tuple[int, LocalReader | RemoteReader] | None = None
        self._open(epoch)  # a damaged manifest is met now

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_reader": None}

    def _schedule(self, start: int) -> Schedule:
        num = int(self._dataset["samples_per_epoch"])
        return Schedule(num, self._batch_size, self._world_size, self._drop_last, start)

    def _open(self, epoch: int) -> LocalReader | RemoteReader:
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
            options = {"check_crc": self._check_crc, "num_threads": self._num_threads}
            return LocalReader(self._store, index, **options)  # type: ignore[arg-type]
        cache = RangeCache(*self._cache, self._dataset["digest"]) if self._cache else None
        return RemoteReader(self._store, index, check_crc=self._check_crc, cache=cache)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return list(self._dataset["classes"])

    @property
    def epoch(self) -> int:
        """The epoch of the pass; past the materialised ones they come again from the first."""
        return int(self._shared[_EPOCH])

    def __len__(self) -> int:
        """Return the batches of a whole pass, the same on every rank; a resumed pass has fewer."""
        return self._schedule(0).num_steps

    def set_epoch(self, epoch: int) -> None:
        """Make an epoch the current one, from its beginning; if it is already, a loaded position stays.

        It reaches DataLoader workers, also persistent ones, with their next pass.
        """
        check_number("epoch", epoch)
        if epoch != self.epoch or self._shared[_COMPLETED] == epoch + 1:
            self._begin(epoch, 0)
        self._shared[_COMPLETED] = self._shared[_WORKERS_READ] = 0

    def _begin(self, epoch: int, start: int) -> None:
        self._shared[_EPOCH], self._shared[_START] = epoch, start
        self._position = start
        self._pass += 1  # an older iterator no longer counts

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Return where to go on: the epoch, and the position up to which batches were delivered.

        Args:
            batches: how many batches of this pass were delivered. Needed with workers of a stock DataLoader,
                whose deliveries the stream does not see; a StatefulDataLoader keeps count by itself.

        Raises:
            DreamshardsError: the count is needed, or more than the pass has.
        """
        state = {
            "root": self._dataset["digest"],
            "epoch": self.epoch,
            "batch_size": self._batch_size,
            "world_size": self._world_size,
        }
        if get_worker_info() is not None:
            assert self._worker_state is not None
            return state | self._worker_state
        if batches is not None:
            schedule = self._schedule(int(self._shared[_START]))
            check_number("batches", batches)
            if batches > schedule.num_steps:
                raise DreamshardsError(
                    f"batches = {batches:,}, but this pass has {schedule.num_steps:,}; "
                    "give the number since it began"
                )
            return state | {"position": schedule.position(batches)}
        if self._shared[_WORKERS_READ]:
            raise DreamshardsError(
                "DataLoader workers read this stream, and only the training loop knows how many batches it "
                "took: call state_dict(batches=number of batches of this pass), or use StatefulDataLoader"
            )
        return state | {"position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, whatever batch size, number of ranks or of workers it was saved with.

        Raises:
            DreamshardsError: the state is of another root, or what remains cannot be shared out equally.
        """
        check_state(self._store, self._dataset, state)
        if get_worker_info() is not None:
            check_steps(state, self._batch_size, self._world_size)
            self._worker_state = {name: state[name] for name in ("epoch", "start", "taken")}
            self._shared[_EPOCH], self._shared[_START] = state["epoch"], state["start"]
            return
        if "position" not in state:
            raise DreamshardsError(
                "the state is of one DataLoader worker; load it with the StatefulDataLoader that saved it"
            )
        self._schedule(state["position"])
        self._begin(state["epoch"], state["position"])
        self._shared[_COMPLETED] = self._shared[_WORKERS_READ] = 0

    def __iter__(self) -> Iterator[Batch | KeyedBatch]:
        worker = get_worker_info()
        if worker is None:
            return self._main_pass()
        return self._worker_pass(worker.id, worker.num_workers)

    def _main_pass(self) -> Iterator[Batch | KeyedBatch]:
        epoch, start = self.epoch, int(self._shared[_START])
        self._begin(epoch, start)
        self._shared[_WORKERS_READ] = 0
        return self._deliver(epoch, self._schedule(start), self._pass)

    def _deliver(
        self, epoch: int, schedule: Schedule, current: int
    ) -> Iterator[Batch | KeyedBatch]:
        batches = self._batches(epoch, schedule, range(schedule.num_steps))
        for step, batch in enumerate(batches):
            if current == self._pass:
                self._position = schedule.position(step + 1)
            yield batch
        if current == self._pass:
            self._begin(epoch + 1, 0)

    def _worker_pass(self, worker: int, num_workers: int) -> Iterator[Batch | KeyedBatch]:
        """Read every `num_workers`-th step of the pass, from the `worker`-th on."""
        loaded, self._worker_state = self._worker_state, None
        if loaded is None or loaded.get("began"):
            loaded = {"epoch": self.epoch, "start": int(self._shared[_START]), "taken": 0}
            if worker == 0:
                self._warn_of_repetition()
        self._worker_state = loaded | {"began": True}
        self._shared[_WORKERS_READ] = 1
        return self._deliver_as(worker, num_workers, self._worker_state)

    def _deliver_as(
        self, worker: int, num_workers: int, state: dict[str, Any]
    ) -> Iterator[Batch | KeyedBatch]:
        epoch, schedule = state["epoch"], self._schedule(state["start"])
        first = worker + state["taken"] * num_workers
        for batch in self._batches(epoch, schedule, range(first, schedule.num_steps, num_workers)):
            state["taken"] += 1
            yield batch
        if worker == 0:
            self._shared[_COMPLETED] = epoch + 1

    def _warn_of_repetition(self) -> None:
        if self._shared[_COMPLETED] == self.epoch + 1 and not self._shared[_WARNED]:
            self._shared[_WARNED] = 1
            warnings.warn(
                f"epoch {self.epoch} is read again by DataLoader workers; "
                "call set_epoch of the stream before each pass",
                stacklevel=2,
            )

    def _batches(
        self, epoch: int, schedule: Schedule, steps: range
    ) -> Iterator[Batch | KeyedBatch]:
        reader = self._open(epoch)
        local = isinstance(reader, LocalReader)
        threads = self._num_threads or default_threads()
        raw = reader.index.codec == "npy" and local
        depth = 0 if raw else min(self._read_ahead, len(steps))
        if depth == 0:
            for step in steps:
                yield self._read(reader, schedule.share(step, self._rank), threads)
            return
        yield from ahead(
            lambda step: self._read(reader, schedule.share(step, self._rank), 1),
            steps,
            depth,
            min(threads, depth) if local else depth,
        )

    def _read(
        self, reader: LocalReader | RemoteReader, span: tuple[int, int], threads: int
    ) -> Batch | KeyedBatch:
        if isinstance(reader, LocalReader):
            batch = reader.read(np.arange(*span), threads)
        else:
            batch = reader.read(*span)
        if not self._return_keys:
            return batch
        return with_keys(batch, reader.index, range(*span))
