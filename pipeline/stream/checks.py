"""What both readers refuse: numbers, epochs and states that a root does not have."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json
from pipeline.shards.layout import DATASET_NAME
from pipeline.store import Store


def check_epoch(store: Store, dataset: Json, epoch: int) -> None:
    """Refuse an epoch that a root does not hold.

    Raises:
        DreamshardsError: it does not.
    """
    check_number("epoch", epoch)
    if epoch >= dataset["epochs"]:
        raise DreamshardsError(
            f"{store}: no epoch {epoch}; allowed: 0 to {dataset['epochs'] - 1}. "
            "set_epoch goes round past the last; or build a root with more epochs"
        )


def check_state(store: Store, dataset: Json, state: dict[str, Any]) -> None:
    """Refuse the state of a reader of another root.

    Raises:
        DreamshardsError: it is one, or no state at all.
    """
    found = state.get("root")
    if found != dataset["digest"]:
        raise DreamshardsError(
            f"{store}: the state is of another root: digest {found}, {DATASET_NAME} here has "
            f"{dataset['digest']}; load it with the root that it was saved with"
        )


def check_steps(state: dict[str, Any], batch_size: int, world_size: int) -> None:
    """Refuse the state of a DataLoader worker, which counts steps, where the steps are others.

    Raises:
        DreamshardsError: they are.
    """
    found = state["batch_size"], state["world_size"]
    if found != (batch_size, world_size):
        raise DreamshardsError(
            f"the state of a StatefulDataLoader with workers counts batches of {found[0]:,} on "
            f"{found[1]:,} ranks, and these are batches of {batch_size:,} on {world_size:,}; "
            "to change them, save state_dict(batches=number of batches of this pass) of the stream"
        )


def check_number(name: str, value: int) -> None:
    """Refuse what is not a whole number from 0.

    Raises:
        DreamshardsError: it is not.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
        raise DreamshardsError(f"{name} = {value!r}; allowed: whole numbers from 0")


def check_positive(name: str, value: int) -> None:
    """Refuse what is not a whole number from 1.

    Raises:
        DreamshardsError: it is not.
    """
    check_number(name, value)
    if value == 0:
        raise DreamshardsError(f"{name} = 0; allowed: whole numbers from 1")


def find_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return this process's rank and how many there are.

    Raises:
        DreamshardsError: no rank of such a world.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if world_size is None:
        found = os.environ.get("WORLD_SIZE", "1")
        world_size = torch.distributed.get_world_size() if distributed else int(found)
    if rank is None:
        rank = torch.distributed.get_rank() if distributed else int(os.environ.get("RANK", "0"))
    if not 0 <= rank < world_size:
        raise DreamshardsError(
            f"rank = {rank}, world_size = {world_size}; allowed: ranks from 0 to world_size - 1"
        )
    return rank, world_size


def check_pin_memory() -> None:
    """Refuse to lock pages where none can be: in a DataLoader worker, or without a GPU.

    Raises:
        DreamshardsError: it is such a place.
    """
    if get_worker_info() is not None:
        raise DreamshardsError(
            "pin_memory: a DataLoader worker cannot make page-locked batches, for they would be copied on "
            "their way out of it; give pin_memory=True to the DataLoader, not to the stream"
        )
    if not torch.cuda.is_available():
        raise DreamshardsError(
            "pin_memory: torch finds no CUDA device here, and only those read page-locked memory; "
            "leave pin_memory out"
        )


def check_live_state(name: str, digest: str, state: dict[str, Any]) -> None:
    """Refuse the state of a stream of another recipe or of other inputs.

    Raises:
        DreamshardsError: it is one, or no state at all.
    """
    found = state.get("root")
    if found != digest:
        raise DreamshardsError(
            f"recipe {name}: the state is of another recipe, or of other inputs: hash {found}, this one's "
            f"is {digest}; load it with the recipe and the inputs that it was saved with"
        )
