"""From video files to V-PixMix clips in committed shards, beside the way of its authors, in frames a second.

Theirs, from its description: every frame of a video in turn, as a Pillow picture squashed to 256×256
(bicubic), mixed once as float32 torch tensors with one picture of that size, operation and weights drawn for
the frame, rounded to 8 bits, resized back to the video's size (bilinear) and written as Motion JPEG in AVI at
its rate. Decoding and writing go through PyAV here, where they took OpenCV: both are FFmpeg's.

Ours: one clip a video and epoch: its file opened, checked against its digest, decoded to the clip, cut and
resized, mixed, encoded, packed, committed with its manifest. Frames are those of the clips; what is decoded
to get there costs us time and counts for nothing. With `reuse` so many epochs share the decoding of a video.
One core each. `python -m tests.bench.vpixmix VIDEO` prints where our time goes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import parse_recipe
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    encode_samples,
    render_base,
    render_plan,
)
from tests.bench import jpeg
from tests.bench.clips import videos_below
from tests.bench.core import Pair, Row, Side, alternate, compare
from tests.reference import MODES, get_ab, mix

NUM_VIDEOS, NUM_FRAMES = 16, 16
AUTHORS, TARGET = "frame by frame, Pillow and torch, to MJPG", 10
_SIDE, _BETA = 256, 4
_BILINEAR = Image.Resampling.BILINEAR

KINDS: dict[str, dict[str, Any]] = {
    "single": {"family": "vpixmix"},
    "zoom": {"family": "vpixmix", "picture": "zoom"},
    "frame": {"family": "vpixmix", "draws": "frame"},
}
"""What is mixed in: one picture a clip, a zoom, or one picture with draws for every frame."""

CASES = (
    ("single", 112, 1, None),
    ("single", 112, 10, TARGET),
    ("zoom", 112, 10, TARGET),
    ("frame", 112, 10, TARGET),
    ("single", _SIDE, 10, None),
)
"""Kind, size of frames, epochs from one decoding, least ratio."""


# ── sides ──


def authors(videos: Path, mixing: Path, out: Path) -> Side:
    """Return a side that makes whole videos the published way, one after another."""
    rng = np.random.RandomState(0)
    with Image.open(sorted(mixing.iterdir())[0]) as file:
        picture = _tensor(file.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    files = cycle(videos_below(videos))

    def run() -> float:
        begun = time.perf_counter()
        num = _remake(next(files), picture, out, rng)
        return num / (time.perf_counter() - begun)

    return run


def _remake(video: Path, picture: torch.Tensor, out: Path, rng: np.random.RandomState) -> int:
    """Write one video mixed with a picture; return the number of its frames."""
    num = 0
    with av.open(str(video)) as source, av.open(str(out), "w", format="avi") as target:
        shown = source.streams.video[0]
        made = target.add_stream("mjpeg", rate=shown.average_rate)
        made.width, made.height, made.pix_fmt = shown.width, shown.height, "yuvj420p"
        for frame in source.decode(shown):
            small = frame.to_image().resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            a, b = get_ab(rng, _BETA)
            mode = MODES[rng.randint(len(MODES))]
            mixed = mix(mode, _tensor(small).numpy(), picture.numpy(), a, b)
            levels = torch.from_numpy(mixed).mul(255).add(0.5).to(torch.uint8).numpy()
            whole = Image.fromarray(levels).resize((shown.width, shown.height), _BILINEAR)
            target.mux(made.encode(av.VideoFrame.from_image(whole)))
            num += 1
        target.mux(made.encode())
    return num


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).to(torch.float32).div(255)


def inputs_of(videos: Path, mixing: Path, kind: str, size: int, reuse: int) -> Inputs:
    """Open clips of the videos below a folder of classes, to be made in one of the `KINDS`."""
    pictures: dict[str, Any] = {"kind": "folder", "path": str(mixing)}
    if kind == "zoom":
        pictures = {"kind": "zoom", "count": 8}
    content = {
        "name": "bench",
        "epochs": reuse,
        "reuse": reuse,
        "source": {"kind": "video-folder", "path": str(videos), "frames": NUM_FRAMES},
        "transform": {"kind": "scaled-crop", "size": size},
        "augmentation": KINDS[kind],
        "mixing_set": pictures,
    }
    return open_inputs(parse_recipe(content, "bench"), InlineExecutor())


def ours(inputs: Inputs, root: Path) -> Side:
    """Return a side that makes the shards of all epochs, each with a clip of each video, committed."""
    make = jpeg.ours(inputs, root)
    return lambda: make() * NUM_FRAMES


def copies(videos: Path, folder: Path) -> Path:
    """Write `NUM_VIDEOS` copies of the videos in turn below a folder of one class; return `folder`."""
    (folder / "a").mkdir(parents=True)
    for number, path in enumerate(islice(cycle(videos_below(videos)), NUM_VIDEOS)):
        shutil.copy(path, folder / "a" / f"{number:03d}{path.suffix}")
    return folder


def measure(videos: Path, rounds: int) -> list[Row]:
    """Return the rows of this section."""
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as name:
        folder = Path(name)
        mixing, clips = jpeg.fractals(folder / "fractals"), copies(videos, folder / "videos")
        sides = {AUTHORS: authors(videos, mixing, folder / "authors.avi")}
        pairs = []
        for kind, size, reuse, target in CASES:
            side = f"{kind}, {size} px, reuse {reuse}"
            inputs = inputs_of(clips, mixing, kind, size, reuse)
            sides[side] = ours(inputs, folder / side.replace(", ", "-"))
            pairs.append(Pair(f"frames of V-PixMix, {side}", side, AUTHORS, target))
        return compare(pairs, alternate(sides, rounds), {})


# ── where our time goes ──


def profile(inputs: Inputs, root: Path, rounds: int) -> dict[str, float]:
    """Return milliseconds a clip of each step, median of `rounds`; the last is all of the shards."""
    num, recipe = len(inputs.source.labels), inputs.recipe
    plans = [draw_plan(inputs, epoch, 0, num) for epoch in range(recipe.epochs)]
    joined = Plan.joined(plans)
    plan = joined.take(np.argsort(joined.sources, kind="stable"))  # a video's clips together
    samples = render_plan(inputs, plan)
    steps: dict[str, Callable[[], object]] = {
        "plan": lambda: [draw_plan(inputs, epoch, 0, num) for epoch in range(recipe.epochs)],
        "decode and cut": lambda: render_base(inputs, plan),
        "mix": lambda: render_plan(inputs, plan),
        "encode": lambda: encode_samples(recipe, samples),
        "all": ours(inputs, root),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - begun) / len(samples) * 1e3)
    found = {name: median(values) for name, values in times.items()}
    found["mix"] -= found["decode and cut"]
    return found


def main() -> None:
    """Print the profile of each case."""
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as name:
        folder, videos = Path(name), Path(sys.argv[1])
        mixing, clips = jpeg.fractals(folder / "fractals"), copies(videos, folder / "videos")
        for kind, size, reuse, _ in CASES:
            inputs = inputs_of(clips, mixing, kind, size, reuse)
            steps = profile(inputs, folder / f"{kind}-{size}-{reuse}", 5)
            shown = ", ".join(f"{step} {value:.2f}" for step, value in steps.items())
            what = f"{kind}, {size} px, reuse {reuse}"
            print(f"{what}: {shown} ms a clip; {1000 / steps['all']:,.0f} clips/s", flush=True)


if __name__ == "__main__":
    main()
