"""How fast roots are read: `python -m tests.bench_stream ROOT …`, beside peers in the same run.

The sides take turns; a figure is the median of the rounds with the smallest and largest in brackets, in
samples/s of wall-clock time with a warm page cache. Peers: `numpy.take` on an array in memory of the same
pixels, stock webdataset, and for JPEG a bare simplejpeg loop over payloads in memory on as many threads.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg
import torch
import webdataset
from torch.utils.data import DataLoader

from pipeline.stream import ShardDataset, ShardStream

BATCH = 128
NUM_WEBDATASET = 2048
PACKAGES = ("numpy", "numba", "torch", "webdataset", "simplejpeg")
Side = Callable[[], float]


def rate(batches: Iterable[object], num: int) -> float:
    """Consume batches, keeping each until the next one is there, and return samples/s."""
    begun = time.perf_counter()
    for _ in batches:
        pass
    return num / (time.perf_counter() - begun)


def webdataset_side(root: Path, codec: str) -> Side:
    urls = sorted(map(str, root.glob("epoch-0000/*.tar")))

    def run() -> float:
        decode = ("rgb8",) if codec != "npy" else ()
        samples = webdataset.WebDataset(urls, shardshuffle=False).decode(*decode)
        batches = samples.to_tuple(codec, "cls").batched(BATCH)
        begun, num = time.perf_counter(), 0
        for _, labels in batches:
            num += len(labels)
            if num >= NUM_WEBDATASET:
                break
        return num / (time.perf_counter() - begun)

    return run


def raw_sides(dataset: ShardDataset) -> dict[str, Side]:
    """Return the sides of an npy root."""
    num = len(dataset)
    pixels = torch.cat([dataset.__getitems__(range(i, i + 1)).batch.images for i in range(num)])
    memory = pixels.flatten(1).numpy()
    order = np.random.default_rng(0).permutation(num).tolist()

    def chunks(positions: list[int]) -> list[list[int]]:
        return [positions[i : i + BATCH] for i in range(0, num, BATCH)]

    in_order, shuffled = chunks(list(range(num))), chunks(order)

    def take(batch: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.take(memory, np.array(batch), axis=0))

    def get(batch: list[int]) -> object:
        return dataset.__getitems__(batch).batch

    return {
        "numpy.take, in order": lambda: rate(map(take, in_order), num),
        "numpy.take, random": lambda: rate(map(take, shuffled), num),
        "ShardDataset, in order": lambda: rate(map(get, in_order), num),
        "ShardDataset, random": lambda: rate(map(get, shuffled), num),
    }


def jpeg_side(dataset: ShardDataset, num_threads: int) -> Side:
    """Return a bare loop over payloads in memory: each thread decodes its share into an array."""
    index, root = dataset._reader.index, dataset._reader.store.folder
    contents = [(root / name.tar).read_bytes() for name in index.shards]
    places = zip(index.offsets.tolist(), index.sizes.tolist(), strict=True)
    payloads = [
        contents[index.shard_of(i)][start : start + size] for i, (start, size) in enumerate(places)
    ]

    def share(part: int) -> None:
        out = np.empty(index.shape, np.uint8)
        for payload in payloads[part::num_threads]:
            simplejpeg.decode_jpeg(payload, "RGB", buffer=out)

    def run() -> float:
        begun = time.perf_counter()
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(share, range(num_threads)))
        return len(payloads) / (time.perf_counter() - begun)

    return run


def sides_of(root: Path, num_threads: int) -> dict[str, Side]:
    dataset = ShardDataset(root, num_threads=num_threads)
    num, codec = len(dataset), dataset._reader.index.codec
    stream = ShardStream(root, batch_size=BATCH, num_threads=num_threads)

    def stream_pass() -> float:
        stream.set_epoch(0)
        return rate(stream, num)

    sides = {"webdataset, decoded": webdataset_side(root, codec)}
    if codec == "npy":
        sides |= raw_sides(dataset)
    elif codec == "jpg":
        sides["simplejpeg alone"] = jpeg_side(dataset, num_threads)
        loader = DataLoader(dataset, BATCH)
        sides["ShardDataset, in order"] = lambda: rate(loader, num)
    return sides | {
        "DataLoader, shuffle": lambda: rate(DataLoader(dataset, BATCH, shuffle=True), num),
        "ShardStream": stream_pass,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    print(f"batches of {BATCH}, {options.threads} threads, {options.rounds} rounds")
    for root in options.roots:
        sides = sides_of(root, options.threads)
        for run in sides.values():
            run()  # compiles, opens and warms
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, run in sides.items():
                rates[name].append(run())
        index = ShardDataset(root)._reader.index
        print(f"{root.name}: {len(index):,} samples, {index.codec}, {index.shape}")
        for name, values in rates.items():
            spread = f"[{min(values):,.0f}, {max(values):,.0f}]"
            print(f"  {name:24}{median(values):>12,.0f}   {spread:>24}")


if __name__ == "__main__":
    main()
