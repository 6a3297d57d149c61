"""Small videos in memory and a network that knows them a little, to test evaluations of clips with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn import functional

import training.checkpoint
from pipeline.build import build
from pipeline.executor import Executor, InlineExecutor
from pipeline.recipe import parse_recipe
from pipeline.render.frames import cut_rgb
from pipeline.source_sections import DigitVideosSource
from pipeline.sources import SOURCES, ClipSource
from pipeline.sources.clips import DRAWN, Cut
from pipeline.sources.source import digest_of
from tests.evaluation_helpers import CPU
from tests.training_helpers import small_config
from training.checkpoint import Learner, Progress, save_checkpoint
from training.setup import make_normalize, make_optimizer
from training.world import World

U8 = np.ndarray[Any, np.dtype[np.uint8]]

MOTIONS = ("down", "left", "right", "up")
FRAMES, SIDE, LENGTH = 4, 16, 12
"""Of a clip, its frames and their side in pixels; frames of a video, but for those of `SHORT`."""
SHORT = 3
"""The first so many videos have just enough frames for one clip."""
VIDEOS = {"train": 48, "test": 20, "unknown": 9}
"""Videos of each split."""
BASE: dict[str, Any] = {
    "name": "clips-test",
    "epochs": 1,
    "source": {
        "kind": "digit-videos",
        "split": "test",
        "frames": FRAMES,
        "starts": "uniform",
        "clips": 3,
    },
    "transform": {"kind": "center-crop", "size": SIDE, "resize": SIDE},
    "augmentation": {"family": "clean"},
    "shards": {"samples_per_shard": 17},
}


# ── videos ──


@dataclass(frozen=True, eq=False)
class ArrayVideos(ClipSource):
    """Videos held in memory of which clips are cut: `pixels` uint8 [V, F, H, W, 3]."""

    pixels: U8

    def cut(self, index: int, cuts: Sequence[Cut], out: Sequence[U8]) -> None:
        for wanted, clip in zip(cuts, out, strict=True):
            for frame, picture in zip(self.read_clip(index, wanted.start), clip, strict=True):
                cut_rgb(np.ascontiguousarray(frame), wanted[1:5], wanted.flip, picture)

    def read_clip(self, index: int, start: int) -> U8:
        return self.pixels[self.videos[index], start : start + self.frames]


def open_bars(config: DigitVideosSource, executor: Executor) -> ArrayVideos:
    """Make videos of bars that move, the class being where to; in place of the source of digits."""
    num = config.count or VIDEOS[config.split]
    labels = np.arange(num, dtype=np.int32) % len(MOTIONS)
    pixels = np.stack([_bar(config.split, place) for place in range(num)])
    lengths = np.full(num, LENGTH)
    lengths[:SHORT] = FRAMES
    starts = [_starts(config, int(length)) for length in lengths]
    videos = np.repeat(np.arange(num), [len(each) for each in starts])
    names = ("anomaly",) if config.split == "unknown" else MOTIONS
    labels = np.zeros_like(labels) if config.split == "unknown" else labels
    ids = pa.array([f"{config.split}-{video:03d}" for video in videos.tolist()])
    first = np.concatenate(starts).astype(np.int32)
    side = np.full(len(videos), SIDE, np.int32)
    return ArrayVideos(
        class_names=names,
        labels=labels[videos],
        ids=ids,
        heights=side,
        widths=side,
        fingerprint=digest_of("bars", names, ids, labels[videos].astype("<i4"), first, pixels),
        skipped=(),
        frames=FRAMES,
        videos=videos,
        num_frames=lengths[videos].astype(np.int32),
        spans=np.full(len(videos), FRAMES, np.int32),
        starts=first,
        pixels=pixels,
    )


def _starts(config: DigitVideosSource, length: int) -> list[int]:
    num_starts = length - FRAMES + 1
    if config.starts == "random":
        return [DRAWN] * config.clips
    if config.starts == "windows":
        return list(range(0, num_starts, config.hop or FRAMES))
    return [(2 * j + 1) * num_starts // (2 * config.clips) for j in range(config.clips)]


def _bar(split: str, place: int) -> U8:
    """Return one video: a bar in noise that moves a pixel or two a frame, of `unknown` one that blinks."""
    rng = np.random.default_rng([list(VIDEOS).index(split), place])
    frames = rng.integers(0, 140, (LENGTH, SIDE, SIDE, 3), np.uint8)
    at, speed = int(rng.integers(SIDE)), int(rng.integers(1, 3))
    motion = MOTIONS[place % len(MOTIONS)]
    for t, frame in enumerate(frames):
        step = -speed * t if motion in ("left", "up") else speed * t
        if split == "unknown":
            frame[:] = 255 if t % 2 else frame
        elif motion in ("left", "right"):
            frame[:, (at + step) % SIDE] = 220
        else:
            frame[(at + step) % SIDE] = 220
    return frames


def build_clips(out: Path, **sections: Any) -> Path:
    """Build a root of such clips, of `BASE` with fields of some sections changed."""
    content = {name: dict(part) if isinstance(part, dict) else part for name, part in BASE.items()}
    for name, part in sections.items():
        content[name] = content.get(name, {}) | part if isinstance(part, dict) else part
    build(parse_recipe(content, "clips"), out, InlineExecutor())
    return out


# ── a network ──


class Tiny(nn.Module):
    """Two convolutions over space and time, to four motions."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 12, 3, padding=1)
        self.second = nn.Conv3d(12, 24, 3, stride=2, padding=1)
        self.fc = nn.Linear(24, num_classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.second(functional.relu(self.first(clips))))
        logits: torch.Tensor = self.fc(hidden.mean((2, 3, 4)))
        return logits


@contextmanager
def small_clips() -> Iterator[None]:
    """Put these videos and this network in the places of those of a release."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "digit-videos", open_bars)
        patch.setattr(training.checkpoint, "build_model", lambda config, num: (Tiny(num), []))
        yield


def save_clip_network(path: Path, *, steps: int = 20) -> Path:
    """Write the checkpoint of a `Tiny` after some steps on the training split."""
    config = small_config(Path("none"), None, "normalize=cifar")
    torch.manual_seed(0)
    net = Tiny(len(MOTIONS))
    learner = Learner(net, make_optimizer(config, net), torch.amp.GradScaler(enabled=False))
    optimizer, normalize = torch.optim.Adam(net.parameters(), lr=0.01), make_normalize(config, CPU)
    section = DigitVideosSource(kind="digit-videos", frames=FRAMES, starts="windows", hop=2)
    source = open_bars(section, InlineExecutor())
    clips = [source.read_clip(i, start) for i, start in enumerate(source.starts.tolist())]
    images, labels = torch.from_numpy(np.stack(clips)), torch.from_numpy(source.labels).long()
    for step in range(steps):
        rows = torch.arange(step * 16, step * 16 + 16) * 7 % len(images)
        optimizer.zero_grad()
        functional.cross_entropy(net(normalize(images[rows])), labels[rows]).backward()
        optimizer.step()
    about = {"classes": list(MOTIONS), "shape": [FRAMES, SIDE, SIDE, 3]}
    save_checkpoint(path, config, about, learner, Progress(), {}, World(0, 1, CPU, None))
    return path
