"""The processes that train together: one alone, or those that torchrun started, each with a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from pipeline.errors import UsageError
from training.config import HardwareConfig


@dataclass(frozen=True)
class World:
    """One process among those that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: what it computes on.
        precision: of autocast, or None for float32 throughout.
    """

    rank: int
    size: int
    device: torch.device
    precision: torch.dtype | None

    @property
    def steps_between_looks(self) -> int:
        """Steps until losses and signals are looked at: a look makes a GPU wait for all that it has to do."""
        return 16 if self.device.type == "cuda" else 1

    def autocast(self) -> torch.autocast:
        """Return the context in which the network is called."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not None)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, *flags: bool) -> list[bool]:
        """Tell of each flag whether it is set on any rank."""
        if self.size == 1:
            return list(flags)
        counts = self.sum(torch.tensor([float(flag) for flag in flags], device=self.device))
        return [count > 0 for count in counts.tolist()]

    def share_buffers(self, net: nn.Module) -> None:
        """Give every rank the first one's buffers: the running statistics that a checkpoint holds."""
        if self.size > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def joined_world(config: HardwareConfig) -> Iterator[World]:
    """Join the other processes if torchrun started this one, and leave them at the end.

    Raises:
        UsageError: the device or precision is not to be had here.
    """
    launched = "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ
    device = find_device(config, int(os.environ["LOCAL_RANK"]) if launched else 0)
    precision = _precision(config, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # batches have one shape
        torch.set_float32_matmul_precision("high")
    if not launched:
        yield World(0, 1, device, precision)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), device, precision)
    finally:
        distributed.destroy_process_group()


def find_device(config: HardwareConfig, local_rank: int = 0) -> torch.device:
    """Return the device that a process computes on, the `local_rank`-th of this machine.

    Raises:
        UsageError: it is not to be had here.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UsageError("hardware.device = 'cuda': torch finds no GPU here; allowed: auto, cpu")
    if config.device == "cpu" or not available:
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"process {local_rank} of this machine has no GPU of its own: there are "
            f"{torch.cuda.device_count()}; start torchrun with --nproc-per-node {torch.cuda.device_count()}"
        )
    return torch.device("cuda", local_rank)


def _precision(config: HardwareConfig, device: torch.device) -> torch.dtype | None:
    if config.precision == "fp16" and device.type == "cpu":
        raise UsageError(
            "hardware.precision = 'fp16' is for GPUs; allowed on a CPU: auto, fp32, bf16"
        )
    wanted = config.precision
    if wanted == "auto":
        wanted = "fp32"
        if device.type == "cuda":
            wanted = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
