"""`ShardDataset`: one epoch of a root as a map-style dataset, for any sampler and DataLoader."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import read_dataset
from pipeline.shards.lost import samples_of_epoch
from pipeline.store import LocalStore, Root, open_store
from pipeline.stream.cache import open_cache
from pipeline.stream.checks import check_epoch, check_number, check_state
from pipeline.stream.index import I64, read_index
from pipeline.stream.local import LocalReader
from pipeline.stream.remote import RemoteReader
from pipeline.stream.samples import KeyedBatch, KeyedSample, Sample, SampleList

_PICTURE_AXES = 3


class ShardDataset(Dataset[Any]):
    """The samples of one materialised epoch by position: `(uint8 tensor [H, W, 3], int label)`.

    A stock DataLoader reads whole batches at once: its default collation gives
    `(uint8 [B, H, W, 3], int64 [B])`; any other `collate_fn` sees a sequence of samples. `set_epoch` reaches
    the workers of a DataLoader too, also persistent ones, with their next batch. Labels of a root made with
    mixup or CutMix are shares of the classes: float32 [num_classes] of a sample, [B, num_classes] of a batch.

    From an object store, the samples of a batch are fetched by ranges, neighbours together, several at once.
    To read straight through, `ShardStream` makes far fewer requests.

    Args:
        root: a local root or the URI of one in an object store.
        epoch: the materialised epoch to read.
        check_crc: compare each payload with the CRC-32 in its manifest; by default only for remote roots.
        num_threads: threads to decode with; by default one in a DataLoader worker, else the CPUs granted.
        transform: called with each image as an RGB PIL image, as in torchvision's own datasets; what it
            returns takes the image's place. It may be set later as an attribute, as timm's `create_loader`
            does. With a transform, samples are made one at a time in Python.
        return_keys: give the key of each sample as a third field.
        cache_dir, cache_bytes: keep what was read from a remote root in this folder, up to so many bytes; the
            256 KiB around each sample are then fetched and kept.

    Raises:
        DreamshardsError: there is no complete build at `root`, it does not hold the epoch, or its manifest is
            missing or altered. On reading: a tar is missing, cut or altered, or a payload cannot be decoded.
    """

    def __init__(
        self,
        root: Root,
        epoch: int = 0,
        *,
        check_crc: bool | None = None,
        num_threads: int | None = None,
        transform: Callable[[Image.Image], Any] | None = None,
        return_keys: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self._store = open_store(root)
        self._dataset = read_dataset(self._store)
        check_epoch(self._store, self._dataset, epoch)
        self.transform, self._return_keys = transform, return_keys
        local = isinstance(self._store, LocalStore)
        self._check_crc = not local if check_crc is None else check_crc
        self._num_threads = num_threads
        self._cache = open_cache(self._store, self._dataset, cache_dir, cache_bytes)
        # workers see what set_epoch writes
        self._epoch: torch.Tensor = torch.tensor([epoch]).share_memory_()  # type: ignore[no-untyped-call]
        self._epoch_view = self._epoch.numpy()
        self._reader = self._open(epoch)

    def _open(self, epoch: int) -> LocalReader | RemoteReader:
        index = read_index(self._store, self._dataset, epoch)
        check, threads = self._check_crc, self._num_threads
        if isinstance(self._store, LocalStore):
            return LocalReader(self._store, index, check_crc=check, num_threads=threads)
        cache = self._cache
        return RemoteReader(self._store, index, check_crc=check, num_threads=threads, cache=cache)

    def _current(self) -> LocalReader | RemoteReader:
        epoch = int(self._epoch_view[0]) % int(self._dataset["epochs"])
        if self._reader.index.epoch != epoch:
            self._reader = self._open(epoch)
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_epoch_view"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _epoch_view=state["_epoch"].numpy())

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return list(self._dataset["classes"])

    @property
    def epoch(self) -> int:
        """What `set_epoch` was last given, or the constructor."""
        return int(self._epoch_view[0])

    def set_epoch(self, epoch: int) -> None:
        """Read another epoch from now on; past the materialised ones they come again from the first."""
        check_number("epoch", epoch)
        self._epoch_view[0] = epoch
        self._current()

    def __len__(self) -> int:
        return samples_of_epoch(self._dataset, self.epoch % int(self._dataset["epochs"]))

    def __getitem__(self, position: int) -> Sample | KeyedSample:
        num, position = len(self), operator.index(position)
        if not -num <= position < num:
            raise IndexError(f"position {position} of {num:,} samples")
        sample: Sample | KeyedSample
        (sample,) = self.__getitems__([position + num if position < 0 else position])
        return sample

    def __getitems__(self, positions: Sequence[int]) -> Sequence[Any]:
        """Return the samples of some positions as a sequence, read in one go."""
        wanted: I64 = np.array(positions, np.int64)
        reader = self._current()
        batch = reader.read(wanted)
        keyed = KeyedBatch(*batch, reader.index.keys(wanted)) if self._return_keys else batch
        samples = SampleList(keyed)
        if self.transform is None:
            return samples
        if len(reader.index.shape) != _PICTURE_AXES:
            raise DreamshardsError(
                f"{self._store}: its samples are clips, {list(reader.index.shape)}, and transform takes "
                "pictures; set transform to None and transform the batches"
            )
        return [
            sample._replace(image=self.transform(Image.fromarray(sample.image.numpy())))
            for sample in samples
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, and which root it is of; positions are the sampler's."""
        return {"root": self._dataset["digest"], "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to the epoch of a state.

        Raises:
            DreamshardsError: the state is of another root.
        """
        check_state(self._store, self._dataset, state)
        self.set_epoch(state["epoch"])
