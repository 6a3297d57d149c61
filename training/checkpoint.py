"""Checkpoints: all that a run needs to go on as if it had never stopped, in one file of plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pipeline.errors import DreamshardsError
from pipeline.publish import publish
from training.config import TrainConfig, identity, parse_config
from training.meter import Meter, shared
from training.models import build_model
from training.models.weights import read_tensors
from training.world import World

FORMAT = 1
LAST_NAME, BEST_NAME = "last.pt", "best.pt"
Json = dict[str, Any]


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: steps done, over the whole run.
        epoch: the epoch in training, from 0; the number of epochs when all are done.
        meter: of the part of this epoch that is done.
        history: a row of the log for each finished epoch.
        best_error, best_epoch: the lowest test error so far and where it was met, or None.
    """

    step: int = 0
    epoch: int = 0
    meter: Meter = field(default_factory=Meter)
    history: list[Json] = field(default_factory=list)
    best_error: float | None = None
    best_epoch: int | None = None


class Learner(NamedTuple):
    """What learns: the network, its optimiser, and the scaler of float16 losses."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def save_checkpoint(
    path: Path,
    config: TrainConfig,
    about: Json,
    learner: Learner,
    progress: Progress,
    stream: Json,
    world: World,
) -> None:
    """Write a checkpoint whole or not at all; every rank calls it, the first one writes.

    Args:
        about: `classes` and `shape` of the samples.
        stream: where to go on reading, of the stream's `state_dict`.

    Raises:
        DreamshardsError: it cannot be written.
    """
    ranks = world.gather({"generators": _generators(world), "meter": asdict(progress.meter)})
    if not world.is_first:
        return
    content = {
        "format": FORMAT,
        "config": config.model_dump_json(),
        **about,
        "model": learner.net.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "progress": asdict(replace(progress, meter=Meter())),
        "stream": stream,
        "ranks": ranks,
    }
    with publish(path) as file:
        torch.save(content, file)


def load_checkpoint(path: Path, config: TrainConfig) -> Json:
    """Read a checkpoint of the same run.

    Raises:
        DreamshardsError: it cannot be read, or is of another configuration; each difference is named.
    """
    content = _read(path)
    stored, wanted = identity(_config(path, content)), identity(config)
    changed = [
        f"{name}: the run has {stored.get(name)!r}, this configuration has {wanted.get(name)!r}"
        for name in dict.fromkeys([*stored, *wanted])
        if stored.get(name) != wanted.get(name)
    ]
    if changed:
        lines = "\n  ".join(changed)
        raise DreamshardsError(
            f"{path.parent} holds a run with another configuration; nothing was trained\n  {lines}\n"
            "give --out another folder to train this one, or the configuration above to go on with that"
        )
    return content


def restore(content: Json, path: Path, about: Json, learner: Learner, world: World) -> Progress:
    """Give a learner and the generators the state of a checkpoint; return how far it had come.

    Raises:
        DreamshardsError: the samples have other classes or another shape than those it was trained on.
    """
    for name in ("classes", "shape"):
        if content[name] != about[name]:
            raise DreamshardsError(
                f"{path}: {_mismatch(name, content[name], about[name])}; "
                "give the data that the run began with, or --out another folder"
            )
    learner.net.load_state_dict(content["model"])
    learner.optimizer.load_state_dict(content["optimizer"])
    learner.scaler.load_state_dict(content["scaler"])
    ranks = content["ranks"]
    if world.rank < len(ranks):
        _set_generators(ranks[world.rank]["generators"], world)
    meters = [Meter(**rank["meter"]) for rank in ranks]
    meter = meters[world.rank] if len(meters) == world.size else shared(meters, world.size)
    return Progress(**(content["progress"] | {"meter": meter}))


@dataclass(frozen=True)
class Trained:
    """A trained network with what it takes and what its logits mean.

    Attributes:
        net: in evaluation mode, on the CPU.
        config: that it was trained with.
        classes: names of the classes, by logit.
        shape: of a sample, uint8: (H, W, 3) or (T, H, W, 3).
    """

    net: nn.Module
    config: TrainConfig
    classes: list[str]
    shape: tuple[int, ...]


def load_trained(path: Path) -> Trained:
    """Return the network of a checkpoint.

    Raises:
        DreamshardsError: it cannot be read, or is no checkpoint of ours.
    """
    content = _read(path)
    config = _config(path, content)
    model = config.model.model_copy(update={"weights": None, "feature_extract": False})
    net, _ = build_model(model, len(content["classes"]))
    net.load_state_dict(content["model"])
    return Trained(net.eval(), config, list(content["classes"]), tuple(content["shape"]))


def _read(path: Path) -> Json:
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise DreamshardsError(
            f"{path}: not a checkpoint of `dreamshards train` of format {FORMAT} "
            f"(format {content.get('format')!r}); give last.pt or best.pt of a run"
        )
    return content


def _config(path: Path, content: Json) -> TrainConfig:
    return parse_config(json.loads(content["config"]), f"configuration in {path}")


def _mismatch(name: str, stored: list[Any], found: list[Any]) -> str:
    if name == "shape":
        return f"it was trained on samples of the shape {stored}, these have {found}"
    if len(stored) != len(found):
        return f"its head has {len(stored):,} classes, the data {len(found):,}"
    label = next(i for i, pair in enumerate(zip(stored, found, strict=True)) if pair[0] != pair[1])
    return f"its class {label} is {stored[label]!r}, that of the data {found[label]!r}"


def _generators(world: World) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if world.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(world.device))
    return states


def _set_generators(states: list[torch.Tensor], world: World) -> None:
    torch.set_rng_state(states[0])
    if world.device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], world.device)
