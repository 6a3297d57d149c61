"""Passes over epochs, all that streams share: which batches, in which order, on which rank, from where on.

Knows nothing of where batches come from: a stream says so by opening an epoch. `pipeline.stream.stream` reads
them from shards, `pipeline.stream.live` renders them.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.data import IterableDataset, get_worker_info
from typing_extensions import Self

from pipeline.ahead import ahead
from pipeline.errors import DreamshardsError
from pipeline.stream.checks import check_number, check_pin_memory, check_steps, find_rank
from pipeline.stream.fetch import Asked
from pipeline.stream.local import default_threads
from pipeline.stream.pieces import Span
from pipeline.stream.samples import Batch, KeyedBatch, page_locked
from pipeline.stream.schedule import Schedule
from pipeline.variants import Variant

_EPOCH, _START, _WORKERS_READ, _COMPLETED, _WARNED = range(5)
"""Places in the memory shared with DataLoader workers: the epoch and first position of the pass; whether
workers have read; one more than the epoch that they last read to its end; whether that was warned of."""


class Contents(NamedTuple):
    """What a stream has to give.

    Attributes:
        classes: the names of the classes, by label.
        shapes: of a sample, uint8, by epoch; past the last they come again.
        num_samples: by epoch; past the last they come again.
        digest: in states, of what the samples come from.
        variants: of test sets, what each epoch holds.
    """

    classes: list[str]
    shapes: list[tuple[int, ...]]
    num_samples: tuple[int, ...]
    digest: str
    variants: list[Variant] | None


class Options(NamedTuple):
    """How batches are shared out and made; see `ShardStream`."""

    batch_size: int
    rank: int
    world_size: int
    drop_last: bool
    read_ahead: int
    num_threads: int | None
    return_keys: bool
    pin_memory: bool

    @classmethod
    def checked(
        cls, *, batch_size: int, rank: int | None, world_size: int | None, **others: Any
    ) -> Self:
        """Return options with the rank found, so far as they can be checked without a dataset.

        Raises:
            DreamshardsError: one of them is wrong, or pages cannot be locked here.
        """
        options = cls(batch_size, *find_rank(rank, world_size), **others)
        options.schedule(0)
        check_number("read_ahead", options.read_ahead)
        if options.pin_memory:
            check_pin_memory()
        return options

    def schedule(self, num_samples: int, start: int = 0) -> Schedule:
        """Return the steps of a pass over an epoch from a position on."""
        return Schedule(num_samples, self.batch_size, self.world_size, self.drop_last, start)


def _as_they_are(spans: Iterator[Span]) -> AbstractContextManager[Iterator[Asked]]:
    return nullcontext(Asked(start, stop) for start, stop in spans)


class EpochReader(NamedTuple):
    """How the batches of one epoch are made.

    Attributes:
        keys: (first position, position after the last) → their keys.
        read: (what a batch is made of, threads to use) → batch.
        num_ahead: threads that make batches ahead; 0 where each is made when it is asked for.
        feed: spans of the pass, in order → what `read` makes a batch of for each, within a block.
    """

    keys: Callable[[int, int], list[str]]
    read: Callable[[Asked, int], Batch]
    num_ahead: int
    feed: Callable[[Iterator[Span]], AbstractContextManager[Iterator[Asked]]] = _as_they_are


class BatchStream(IterableDataset[Any], ABC):
    """Batches of one epoch after another; a subclass opens epochs and tells its states from others'."""

    def __init__(self, contents: Contents, options: Options, epoch: int) -> None:
        self._contents, self._options = contents, options
        for number in range(len(contents.num_samples)):
            self._schedule(0, number)  # refuses what is impossible now, not in mid-training
        shared = torch.zeros(5, dtype=torch.int64)
        self._shared: torch.Tensor = shared.share_memory_()  # type: ignore[no-untyped-call]
        self._shared[_EPOCH] = epoch
        self._position = 0  # delivered of this pass, in this process
        self._pass = 0
        self._worker_state: dict[str, Any] | None = None

    @abstractmethod
    def _open(self, epoch: int) -> EpochReader:
        """Return what makes the batches of an epoch, in this process; called before each pass."""

    @abstractmethod
    def _check_origin(self, state: dict[str, Any]) -> None:
        """Refuse the state of a stream of something else.

        Raises:
            DreamshardsError: it is one, or no state at all.
        """

    def _schedule(self, start: int, epoch: int) -> Schedule:
        every = self._contents.num_samples
        return self._options.schedule(every[epoch % len(every)], start)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return list(self._contents.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample of the current epoch, uint8: (H, W, 3), or (T, H, W, 3) of a clip."""
        shapes = self._contents.shapes
        return shapes[self.epoch % len(shapes)]

    @property
    def variants(self) -> list[Variant] | None:
        """Of a test set made in many ways, what each epoch holds, by its number; of other roots None."""
        found = self._contents.variants
        return None if found is None else list(found)

    @property
    def epoch(self) -> int:
        """The epoch of the pass, as `set_epoch` counts."""
        return int(self._shared[_EPOCH])

    def __len__(self) -> int:
        """Return the batches of a whole pass, the same on every rank; a resumed pass has fewer."""
        return self._schedule(0, self.epoch).num_steps

    @property
    def fewest_steps(self) -> int:
        """The batches of the shortest epoch: fewer than `len` where samples of another could not be made."""
        return min(self._schedule(0, e).num_steps for e in range(len(self._contents.num_samples)))

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
            "root": self._contents.digest,
            "epoch": self.epoch,
            "batch_size": self._options.batch_size,
            "world_size": self._options.world_size,
        }
        if get_worker_info() is not None:
            assert self._worker_state is not None
            return state | self._worker_state
        if batches is not None:
            schedule = self._schedule(int(self._shared[_START]), self.epoch)
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
            DreamshardsError: the state is of something else, or what remains cannot be shared out equally.
        """
        self._check_origin(state)
        if get_worker_info() is not None:
            check_steps(state, self._options.batch_size, self._options.world_size)
            self._worker_state = {name: state[name] for name in ("epoch", "start", "taken")}
            self._shared[_EPOCH], self._shared[_START] = state["epoch"], state["start"]
            return
        if "position" not in state:
            raise DreamshardsError(
                "the state is of one DataLoader worker; load it with the StatefulDataLoader that saved it"
            )
        self._schedule(state["position"], state["epoch"])
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
        if (
            self._options.pin_memory
        ):  # here: a thread that comes first would choose a device of its own
            page_locked((1,), torch.uint8)
        return self._deliver(epoch, self._schedule(start, epoch), self._pass)

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
        if self._options.pin_memory:
            check_pin_memory()
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
        epoch, schedule = state["epoch"], self._schedule(state["start"], state["epoch"])
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
        reader, rank = self._open(epoch), self._options.rank
        threads = self._options.num_threads or default_threads()
        depth = min(self._options.read_ahead, len(steps)) if reader.num_ahead else 0
        with reader.feed(Span(*schedule.share(step, rank)) for step in steps) as asked:
            if depth == 0:
                for each in asked:
                    yield self._read(reader, each, threads)
                return
            read = partial(self._read, reader, num_threads=1)
            yield from ahead(read, asked, depth, min(reader.num_ahead, depth))

    def _read(self, reader: EpochReader, asked: Asked, num_threads: int) -> Batch | KeyedBatch:
        batch = reader.read(asked, num_threads)
        if not self._options.return_keys:
            return batch
        return KeyedBatch(*batch, reader.keys(asked.start, asked.stop))
