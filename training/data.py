"""The batches of a run: epochs of a root in order, or rendered live, and those of the test root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from pipeline.errors import DreamshardsError, UsageError
from pipeline.store import LocalStore, open_store
from pipeline.store.settings import public_text
from pipeline.stream import KeyedBatch, LiveStream, ShardStream
from training.config import TrainConfig
from training.models import check_shape
from training.world import World

Stream = ShardStream | LiveStream


def open_training(config: TrainConfig, world: World) -> Stream:
    """Open what a run trains on; its batches are this rank's share of `batch_size` samples.

    Raises:
        UsageError: the ranks cannot share a batch out equally.
        DreamshardsError: it is still being built or not there, or not of the model's shape.
    """
    data = config.data
    options: dict[str, Any] = {
        "batch_size": _share(config, world),
        "rank": world.rank,
        "world_size": world.size,
        "return_keys": True,
        "pin_memory": _pins(world) and data.workers == 0,
    }
    stream: Stream
    if data.live:
        stream = LiveStream(data.train, overrides=data.inputs, **options)
    else:
        cached = _is_remote(data.train) or not _is_remote(data.test)  # else it is for the test root
        stream = ShardStream(data.train, **(_cache(config) if cached else {}), **options)
    check_shape(config.model, stream.shape, public_text(data.train))
    return stream


def open_test(config: TrainConfig, world: World, training: Stream) -> ShardStream | None:
    """Open the first epoch of the test root, if there is one.

    Raises:
        DreamshardsError: it is still being built or not there, or of other classes or another shape.
    """
    root = config.data.test
    if root is None:
        return None
    stream = ShardStream(
        root,
        batch_size=_share(config, world),
        rank=world.rank,
        world_size=world.size,
        return_keys=True,
        pin_memory=_pins(world),
        **(_cache(config) if _is_remote(root) else {}),
    )
    root, trained = public_text(root), public_text(config.data.train)
    if stream.classes != training.classes:
        raise DreamshardsError(
            f"{root}: its classes are not those of {trained}: "
            f"{_difference(stream.classes, training.classes)}; test with a root of the same classes"
        )
    if stream.shape != training.shape:
        raise DreamshardsError(
            f"{root}: its samples have the shape {list(stream.shape)}, those of {trained} "
            f"{list(training.shape)}; test with a root of the same shape"
        )
    return stream


def training_batches(config: TrainConfig, stream: Stream, world: World) -> Iterator[KeyedBatch]:
    """Yield the rest of the stream's epoch, made by threads of this process or by workers."""
    num_workers = config.data.workers
    if num_workers == 0:
        return iter(stream)
    loader: DataLoader[KeyedBatch] = DataLoader(
        stream,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=_pins(world),
        prefetch_factor=4,
        generator=torch.Generator(),  # its draw would else shift those of dropout
    )
    return iter(loader)


def _is_remote(root: str | None) -> bool:
    return root is not None and not isinstance(open_store(root), LocalStore)


def _cache(config: TrainConfig) -> dict[str, Any]:
    return {"cache_dir": config.data.cache_dir, "cache_bytes": config.data.cache_bytes}


def _share(config: TrainConfig, world: World) -> int:
    share, rest = divmod(config.batch_size, world.size)
    if rest or share == 0:
        raise UsageError(
            f"batch_size = {config.batch_size:,} does not share out equally among {world.size} ranks; "
            f"allowed: multiples of {world.size}"
        )
    return share


def _pins(world: World) -> bool:
    return world.device.type == "cuda"


def _difference(found: list[str], wanted: list[str]) -> str:
    if len(found) != len(wanted):
        return f"{len(found):,}, not {len(wanted):,}"
    label = next(i for i, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1])
    return f"class {label} is {found[label]!r}, not {wanted[label]!r}"
