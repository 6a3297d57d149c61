"""Everything a run needs, opened and put where the run had come to. Nothing here touches a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.publish import claimed, publish_bytes
from pipeline.stream import CIFAR, IMAGENET, KINETICS, Normalize, ShardStream
from training.checkpoint import (
    LAST_NAME,
    Json,
    Learner,
    Progress,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from training.config import Constants, NormalizeConfig, TrainConfig
from training.data import Stream, open_test, open_training
from training.models import build_model
from training.stop import StopRequest
from training.world import World

CONFIG_NAME = "config.yaml"


@dataclass
class Run:
    """A run under way.

    Attributes:
        stream, test: what it trains on and what it is tested with.
        about: `classes` and `shape` of the samples.
        model: what is called: `learner.net`, wrapped for several ranks or compiled.
        normalize: uint8 batches to floats on the device.
        fresh: parameters that the weights given did not have.
    """

    config: TrainConfig
    out: Path
    world: World
    stop: StopRequest
    stream: Stream
    test: ShardStream | None
    about: Json
    learner: Learner
    model: nn.Module
    normalize: Normalize
    progress: Progress
    fresh: list[str]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch: as many as the shortest has, should samples of some be lost."""
        return self.stream.fewest_steps

    @property
    def step_in_epoch(self) -> int:
        """Steps done of the epoch in training."""
        return self.progress.step - self.progress.epoch * self.steps_per_epoch

    def save(self, batches: int, name: str = LAST_NAME) -> None:
        """Write a checkpoint; `batches` were read of the stream's present pass."""
        state = self.stream.state_dict(batches=batches)
        path = self.out / name
        save_checkpoint(
            path, self.config, self.about, self.learner, self.progress, state, self.world
        )


def open_run(config: TrainConfig, out: Path, world: World, stop: StopRequest) -> Run:
    """Open the data, make the network and its optimiser, and go on from `last.pt` in `out` if it is there.

    Raises:
        UsageError: the configuration cannot be run here.
        DreamshardsError: data or weights are not what they should be, or `out` holds another run.
    """
    last = out / LAST_NAME
    found = load_checkpoint(last, config) if last.exists() else None
    stream = open_training(config, world)
    test = open_test(config, world, stream)
    about = {"classes": stream.classes, "shape": list(stream.shape)}

    torch.manual_seed(config.seed)  # every rank begins with the same weights
    wanted = config.model
    if found is not None:
        wanted = wanted.model_copy(update={"weights": None})
    net, fresh = build_model(wanted, len(stream.classes))
    net.to(world.device)
    if config.hardware.channels_last:
        clips = len(stream.shape) == 4
        layout = torch.channels_last_3d if clips else torch.channels_last
        net.to(memory_format=layout)
    scaler = torch.amp.GradScaler(enabled=world.precision is torch.float16)
    learner = Learner(net, make_optimizer(config, net), scaler)
    torch.manual_seed(_seed_of(config.seed, world.rank))  # and drops out others

    progress = Progress()
    if found is not None:
        progress = restore(found, last, about, learner, world)
        stream.load_state_dict(found["stream"])
    elif world.is_first:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        publish_bytes(out / CONFIG_NAME, text.encode())
    if isinstance(stream, ShardStream):
        next(iter(stream), None)  # its kernels are compiled or loaded now, not while time is taken
    model: nn.Module = net
    if world.size > 1:
        model = DistributedDataParallel(net, gradient_as_bucket_view=True)
    if config.hardware.compile:
        model = torch.compile(model)  # type: ignore[assignment]
    normalize = make_normalize(config, world.device)
    return Run(
        config, out, world, stop, stream, test, about, learner, model, normalize, progress, fresh
    )


def make_normalize(config: TrainConfig, device: torch.device) -> Normalize:
    """Return what turns uint8 batches into the floats that the network was trained with."""
    constants = normalize_constants(config)
    return Normalize(*constants, device=device, channels_last=config.hardware.channels_last)


def normalize_constants(config: TrainConfig) -> tuple[Constants, Constants]:
    """Return mean and deviation of each channel, of pixels in [0, 1]."""
    chosen = config.normalize
    if isinstance(chosen, NormalizeConfig):
        return chosen.mean, chosen.std
    return {"cifar": CIFAR, "imagenet": IMAGENET, "kinetics": KINETICS}[chosen]


def make_optimizer(config: TrainConfig, net: nn.Module) -> torch.optim.Optimizer:
    """Return stochastic gradient descent for the parameters that learn."""
    chosen = config.optimizer
    return torch.optim.SGD(
        [parameter for parameter in net.parameters() if parameter.requires_grad],
        lr=chosen.lr,
        momentum=chosen.momentum,
        nesterov=chosen.nesterov,
        weight_decay=chosen.weight_decay,
    )


@contextmanager
def held(out: Path, world: World) -> Iterator[None]:
    """Make a run's folder and hold it against another run; the first rank does so for all.

    Raises:
        DreamshardsError: another run is at work there, or it cannot be made.
    """
    if world.is_first:
        try:
            with claimed(out, "training run"):
                yield
        finally:
            with suppress(OSError):
                out.rmdir()  # if it is empty: nothing could be begun
    else:
        yield


def _seed_of(seed: int, rank: int) -> int:
    """Return a rank's own seed, for dropout."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint64)[0]) >> 1
