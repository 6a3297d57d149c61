"""Small things to evaluate: a network that knows digits a little, and test sets to give it."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from pipeline.build import build
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.stream import LiveStream
from tests.training_helpers import small_config
from training.checkpoint import Learner, Progress, save_checkpoint
from training.models import build_model
from training.setup import make_normalize, make_optimizer
from training.world import World

CLASSES = [str(digit) for digit in range(10)]
CPU = torch.device("cpu")
CORRUPTED = (
    "augmentation.family=corruptions",
    "augmentation.names=[contrast, gaussian_noise]",
    "augmentation.severities=[1, 5]",
    "name=digits-c",
    "epochs=4",
)
"""Overrides of `digits-test`: two corruptions at two severities, contrast last in the published order."""


def save_network(path: Path, *, classes: list[str] | None = None, steps: int = 45) -> Path:
    """Write the checkpoint of a WRN-10-1 after some steps on digits; of other classes, after none."""
    names = CLASSES if classes is None else classes
    config = small_config(Path("none"), None, "model.dropout=0")
    torch.manual_seed(0)
    net, _ = build_model(config.model, len(names))
    learner = Learner(net, make_optimizer(config, net), torch.amp.GradScaler(enabled=False))
    if classes is None:
        normalize = make_normalize(config, CPU)
        stream = LiveStream("digits-test", batch_size=40)
        batches = chain.from_iterable(stream for _ in range(steps))
        for step, (images, labels) in enumerate(islice(batches, steps)):
            learner.optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
            learner.optimizer.zero_grad()
            functional.cross_entropy(net(normalize(images)), labels).backward()
            learner.optimizer.step()
    about = {"classes": names, "shape": [32, 32, 3]}
    save_checkpoint(path, config, about, learner, Progress(), {}, World(0, 1, CPU, None))
    return path


def break_network(path: Path, out: Path) -> Path:
    """Write a copy of a checkpoint with a weight that is no number."""
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["model"] if name.endswith("weight"))
    content["model"][name].flatten()[0] = float("nan")
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, out)
    return out


def build_root(out: Path, *overrides: str, preset: str = "digits-test") -> Path:
    """Build a root in this process."""
    build(load_recipe(preset, overrides), out, InlineExecutor())
    return out


def write_corruption_arrays(folder: Path, names: tuple[str, ...], num: int = 20) -> Path:
    """Write arrays as those of CIFAR-10-C: `num` pictures at five severities, labels 0 to 9 in turn."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in names:
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (5 * num, 32, 32, 3), np.uint8))
    np.save(folder / "labels.npy", np.tile(np.arange(num) % 10, 5))
    return folder


def write_sequence_arrays(folder: Path, frames: dict[str, int], num: int = 6) -> Path:
    """Write arrays as those of CIFAR-10-P, with so many frames of each kind."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name, num_frames in frames.items():
        clips = rng.integers(0, 256, (num, num_frames, 32, 32, 3), np.uint8)
        np.save(folder / f"{name}.npy", clips)
    return folder


def write_pictures(folder: Path, classes: tuple[str, ...], num: int = 4, side: int = 32) -> Path:
    """Write a folder of noise with `num` pictures in each class."""
    rng = np.random.default_rng(2)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(num):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
