"""What readers hand out: samples and batches, and how the default collation of torch treats them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from pipeline.shards.layout import key_of, parse_key
from pipeline.stream.index import EpochIndex


class Sample(NamedTuple):
    """One sample: uint8 [H, W, 3], of a clip [T, H, W, 3] (or what the transform made of it), and its class.

    Where samples are mixed from two pictures of the source, the label is float32 [num_classes], the share of
    each class.
    """

    image: Any
    label: int | torch.Tensor


class KeyedSample(NamedTuple):
    """One sample with its key."""

    image: Any
    label: int | torch.Tensor
    key: str


class Batch(NamedTuple):
    """A batch: uint8 [B, H, W, 3] and int64 [B], or float32 [B, num_classes] for samples of two labels.

    Of clips the pictures are uint8 [B, T, H, W, 3].
    """

    images: torch.Tensor
    labels: torch.Tensor


class KeyedBatch(NamedTuple):
    """A batch with the keys of its samples."""

    images: torch.Tensor
    labels: torch.Tensor
    keys: list[str]


def positions_of(keys: Sequence[str]) -> torch.Tensor:
    """Return the position in its epoch that each key stands for, int64 [n].

    Raises:
        ValueError: one is no key.
    """
    places = [parse_key(key) for key in keys]
    if None in places:
        raise ValueError(
            f"{keys[places.index(None)]!r} is no key; allowed: such as {key_of(0, 7)!r}"
        )
    return torch.tensor([place[1] for place in places if place is not None], dtype=torch.int64)


def softened(batch: Batch, index: EpochIndex, positions: npt.NDArray[np.int64]) -> Batch:
    """Return a batch read from some positions, with shares of classes as labels where the root has them."""
    if index.soft is None:
        return batch
    return batch._replace(labels=torch.from_numpy(index.shares(positions)))


class SampleList(Sequence[Any]):
    """A batch that is a sequence of its samples; the default collation gives the batch as it is."""

    def __init__(self, batch: Batch | KeyedBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.labels)

    @overload
    def __getitem__(self, index: int) -> Sample | KeyedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        batch = self.batch
        label = batch.labels[index] if batch.labels.ndim == 2 else int(batch.labels[index])
        if isinstance(batch, KeyedBatch):
            return KeyedSample(batch.images[index], label, batch.keys[index])
        return Sample(batch.images[index], label)

    def __iter__(self) -> Iterator[Any]:
        labels = self.batch.labels
        each = labels if labels.ndim == 2 else labels.tolist()
        columns = [self.batch.images, each, *self.batch[2:]]
        make = Sample if len(columns) == 2 else KeyedSample
        return (make(*fields) for fields in zip(*columns, strict=True))


def page_locked(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor to fill in memory that a GPU reads by itself; torch keeps such memory for reuse."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def empty_batch(num: int, shape: tuple[int, ...], pin_memory: bool = False) -> Batch:
    """Return a batch to fill; in a DataLoader worker its memory is shared, so that it is not copied."""
    if pin_memory:
        return Batch(page_locked((num, *shape), torch.uint8), page_locked((num,), torch.int64))
    labels = torch.empty(num, dtype=torch.int64)
    if (
        get_worker_info() is None
    ):  # numpy asks for huge pages where an array is large, torch does not
        return Batch(torch.from_numpy(np.empty((num, *shape), np.uint8)), labels)
    size = num * math.prod(shape)
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return Batch(torch.empty(0, dtype=torch.uint8).set_(storage).view(num, *shape), labels)


def _collate(samples: Any, *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    if isinstance(samples, SampleList):
        return samples.batch
    columns = [
        collate(column, collate_fn_map=collate_fn_map) for column in zip(*samples, strict=True)
    ]
    return Batch(*columns) if len(columns) == 2 else KeyedBatch(*columns)


def _reduce(batch: Batch | KeyedBatch) -> tuple[Any, ...]:
    """Return a batch for its way out of a DataLoader worker, its labels by value.

    Each tensor in shared memory costs half a millisecond of a worker's and the trainer's time, more than few
    bytes do by themselves.
    """
    if batch.labels.device.type != "cpu":
        return type(batch), tuple(batch)
    return _received, (type(batch), batch.images, batch.labels.numpy(), *batch[2:])


def _received(kind: Any, images: torch.Tensor, labels: Any, *keys: list[str]) -> Any:
    return kind(images, torch.from_numpy(labels), *keys)


ForkingPickler.register(Batch, _reduce)
ForkingPickler.register(KeyedBatch, _reduce)

# `default_collate` looks up the type of the first element of what `__getitems__` returned.
default_collate_fn_map[Sample] = _collate
default_collate_fn_map[KeyedSample] = _collate
