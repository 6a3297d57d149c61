"""From a folder of JPEG photographs to 224 px JPEG samples, beside the published way.

The published way makes one item at a time on one core: Pillow decode, RandomResizedCrop, flip, a mixing
picture decoded and resized from its file, PixMix with Pillow and torch, JPEG at quality 95 (4:4:4, as ours).
The photographs are crops of the two that ship with scikit-learn, with the size, quality and subsampling
usual in ImageNet. `python -m tests.bench.jpeg` prints where our time goes, and what reduced decoding costs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.pending import plan_shards
from pipeline.picture_sections import IfsPictures
from pipeline.pictures import open_pictures
from pipeline.recipe import load_recipe
from pipeline.render.base import decoding_scales, render_bases
from pipeline.render.pixmix import render_pixmix
from pipeline.render.resize import resize_box
from pipeline.reuse import build_shards, plan_jobs
from pipeline.sampling import Inputs, draw_plan
from pipeline.shards.codecs import CODECS, Encoding
from pipeline.sources.images import FULL_SIZE, decode_scaled
from pipeline.sources.source import FileSource
from pipeline.store import LocalStore
from pipeline.worker import ShardContext
from tests.bench.core import Pair, Row, Side, alternate, compare
from tests.reference import OPS, published_mix

NUM_PUBLISHED = 64
PUBLISHED, REUSES = "per item, Pillow and torch, from files", (1, 2, 4)


def photos(folder: Path, num: int = 64, copies: int = 8) -> Path:
    """Write `num` different 500×375 JPEGs, each `copies` times, two classes; return `folder`."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(num):
        width = int(rng.integers(460, 570))
        height = width * 3 // 4
        left, top = int(rng.integers(0, 641 - width)), int(rng.integers(0, 428 - height))
        crop = pictures[number % 2].crop((left, top, left + width, top + height))
        if rng.integers(2):
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        crop = crop.resize((500, 375), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        crop.save(file, "JPEG", quality=int(rng.integers(90, 96)), subsampling=2)
        for copy in range(copies):
            path = folder / ("china", "flower")[number % 2] / f"{number:03d}-{copy}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())
    return folder


def fractals(folder: Path, num: int = 32) -> Path:
    """Write generated fractals of 500 px, JPEG and PNG by turns; return `folder`."""
    pictures = open_pictures(IfsPictures(kind="ifs", count=num, size=500), InlineExecutor())
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num):
        suffix = ("jpg", "png")[number % 2]
        Image.fromarray(pictures.picture(number)).save(folder / f"{number:03d}.{suffix}")
    return folder


# ── sides ──


def published(photographs: Path, mixing: Path) -> Side:
    """Return a side that makes samples the published way, one item after another."""
    rng = np.random.RandomState(0)
    files, pictures = sorted(photographs.rglob("*.jpg")), sorted(mixing.iterdir())

    def run() -> float:
        begun = time.perf_counter()
        for index in rng.randint(0, len(files), NUM_PUBLISHED):
            with Image.open(files[index]) as file:
                picture = file.convert("RGB")
            base = _random_resized_crop(rng, picture, 224)
            if rng.random_sample() < 0.5:
                base = base.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            other = pictures[rng.randint(0, len(pictures))]
            mixed = published_mix(rng, base, other, k=4, beta=4, severity=1, ops=OPS)
            levels = mixed.mul(255).add(0.5).to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(levels).save(io.BytesIO(), "JPEG", quality=95, subsampling=0)
        return NUM_PUBLISHED / (time.perf_counter() - begun)

    return run


def _random_resized_crop(
    rng: np.random.RandomState, picture: Image.Image, size: int
) -> Image.Image:
    """Crop and resize as torchvision's RandomResizedCrop with its own defaults."""
    width, height = picture.size
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    top, left = rng.randint(0, height - h + 1), rng.randint(0, width - w + 1)
    crop = picture.crop((left, top, left + w, top + h))
    return crop.resize((size, size), Image.Resampling.BILINEAR)


def inputs_of(photographs: Path, mixing: Path, *overrides: str) -> Inputs:
    """Open the `image-folder` preset over the two folders."""
    fields = [f"source.path={photographs}", "mixing_set.kind=folder", f"mixing_set.path={mixing}"]
    return open_inputs(load_recipe("image-folder", [*fields, *overrides]), InlineExecutor())


def ours(inputs: Inputs, root: Path) -> Side:
    """Return a side that does the first job of a build: files in, committed shards out."""
    context = ShardContext(inputs, "bench", LocalStore(root))
    job = next(plan_jobs(inputs, plan_shards(inputs)))
    num = sum(name.stop - name.start for name in job)

    def run() -> float:
        shutil.rmtree(root, ignore_errors=True)  # what is there would be found, not made
        begun = time.perf_counter()
        assert all(result.made for result in build_shards(context, job))
        return num / (time.perf_counter() - begun)

    return run


# ── where our time goes ──


def profile(inputs: Inputs, rounds: int) -> dict[str, float]:
    """Return milliseconds a sample of each step, median of `rounds`, over one shard."""
    source, codec = inputs.source, CODECS["jpg"]
    assert isinstance(source, FileSource)
    assert inputs.pictures is not None
    num = min(256, len(source.labels))
    plan = draw_plan(inputs, 0, 0, num)
    bases = render_bases(plan.base, plan.sources, source, 224)
    samples = render_pixmix(plan.augmentation, bases, inputs.pictures)  # type: ignore[arg-type]
    names = [source.root / name for name in source.ids.take(plan.sources).to_pylist()]
    files = [name.read_bytes() for name in names]
    scales = decoding_scales(plan.base, 224).tolist()

    def decode() -> None:
        for data, scale in zip(files, scales, strict=True):
            decode_scaled(data, "x", scale)

    steps: dict[str, Callable[[], object]] = {
        "plan": lambda: draw_plan(inputs, 0, 0, num),
        "read": lambda: [name.read_bytes() for name in names],
        "SHA-256": lambda: [hashlib.sha256(data).digest() for data in files],
        "decode": decode,
        "crop-resize": lambda: render_bases(plan.base, plan.sources, source, 224),
        "mix": lambda: render_pixmix(plan.augmentation, bases, inputs.pictures),  # type: ignore[arg-type]
        "encode": lambda: codec.encode(samples, Encoding(95)),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - begun) / num * 1e3)
    found = {name: median(values) for name, values in times.items()}
    found["crop-resize"] -= found["read"] + found["SHA-256"] + found["decode"]
    return found


def scales(rounds: int) -> dict[int, tuple[float, float, float]]:
    """Return milliseconds to decode 1920×1281 px at each scale, and PSNR of crops, median and minimum.

    The crops stay 2 to 3 times as large as the sample, as `decoding_scales` has them; each is compared
    with the same crop of a full decode.
    """
    rng = np.random.default_rng(0)
    files = [_jpeg(np.asarray(picture)) for picture in load_sample_images().images]
    large = _jpeg(np.tile(load_sample_images().images[0], (3, 3, 1)))
    found = {}
    for scale in (FULL_SIZE, 4, 2, 1):
        times, likeness = [], []
        for _ in range(rounds):
            begun = time.perf_counter()
            decode_scaled(large, "x", scale)
            times.append((time.perf_counter() - begun) * 1e3)
        for turn in range(100):
            side = int(rng.integers(300, 428))
            size = int(side * scale / FULL_SIZE / rng.uniform(2, 3))
            top, left = int(rng.integers(0, 428 - side)), int(rng.integers(0, 641 - side))
            whole, scaled = (np.empty((size, size, 3), np.uint8) for _ in range(2))
            for out, at in ((whole, FULL_SIZE), (scaled, scale)):
                pixels = decode_scaled(files[turn % 2], "x", at).pixels
                top_at, left_at, side_at = (value * at / FULL_SIZE for value in (top, left, side))
                resize_box(
                    pixels, (top_at, left_at, top_at + side_at, left_at + side_at), False, out
                )
            error = np.square(whole.astype(float) - scaled).mean()
            likeness.append(10 * math.log10(255**2 / error) if error else math.inf)
        found[scale] = median(times), median(likeness), min(likeness)
    return found


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=2)
    return file.getvalue()


def measure(rounds: int) -> list[Row]:
    """Return the rows of this section."""
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as folder:
        photographs, mixing = photos(Path(folder, "photos")), fractals(Path(folder, "fractals"))
        sides = {PUBLISHED: published(photographs, mixing)}
        for reuse in REUSES:
            fields = f"epochs={reuse}", f"reuse={reuse}"
            inputs = inputs_of(photographs, mixing, *fields)
            sides[f"reuse {reuse}"] = ours(inputs, Path(folder, f"root-{reuse}"))
        rates = alternate(sides, rounds)
    what = "224 px, JPEG files to committed shards, "
    pairs = [
        Pair(f"{what}reuse {reuse}", f"reuse {reuse}", PUBLISHED, 5 if reuse == 1 else None)
        for reuse in REUSES
    ]
    return compare(pairs, rates, {})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.jpeg", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="dreamshards-bench-") as folder:
        photographs, mixing = photos(Path(folder, "photos")), fractals(Path(folder, "fractals"))
        steps = profile(inputs_of(photographs, mixing), rounds)
    print("a sample without reuse, ms: " + ", ".join(f"{k} {v:.2f}" for k, v in steps.items()))
    print("decoding at a scale, ms for 1920×1281 px; PSNR of crops against the whole, dB")
    for scale, (milliseconds, middle, least) in scales(rounds).items():
        print(f"  {scale}/8{milliseconds:10.2f}{middle:10.1f} median{least:10.1f} least")


if __name__ == "__main__":
    main()
