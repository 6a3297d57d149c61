"""Other people's readers on samples that are given to them. Imports nothing of Dreamshards.

    peers.py versions
    peers.py prepare FORMAT INPUT OUT
    peers.py serve FORMAT FOLDER --order sequential|random --batch-size 128 --cores 1 --threads 1

INPUT is a folder with `labels.npy` (int64 [N]) and either `images.npy` (uint8 [N, H, W, 3]) or JPEG files
end to end in `jpegs.bin` with their bounds in `offsets.npy` (int64 [N + 1]). `prepare` writes the same
samples in the format of a peer: ffcv, litdata, mosaicml. `serve` opens FOLDER, which is what `prepare`
wrote; for numpy-take and simplejpeg an INPUT; for webdataset a folder of tars. It then answers each line
on stdin with a line of JSON, so that a driver can let several processes take turns:

    run SECONDS   streams batches for that long, pass after pass    -> {"samples", "seconds"}
    check         streams one whole pass                            -> {"samples", "pixels", "labels", "crcs"}

`pixels` and `labels` are sums; `crcs` is the sum over samples of the CRC-32 of pixels and label, so equal
numbers mean the same pictures with the same labels, in any order.

Every reader works in one process, on the last `--cores` cores. `--threads` decode for those that can: FFCV
(its num_workers) and simplejpeg. FFCV prepares batches ahead on one more thread, as it always does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PACKAGES = ("ffcv", "litdata", "mosaicml-streaming", "simplejpeg", "webdataset")
LIBRARIES = ("torch", "torchvision", "numpy", "numba", "pillow")
FFCV_BATCHES_AHEAD = 8
"""Its default of 3 was a tenth to a half slower at 32 px; 16 and 32 were no faster."""

Batch = tuple[Any, Any]


class Options(NamedTuple):
    """How a reader is to read."""

    shuffle: bool
    batch_size: int
    threads: int


class Input(NamedTuple):
    """Samples to hand to a peer; one of `images` and `jpegs` is None."""

    labels: np.ndarray
    images: np.ndarray | None
    jpegs: list[bytes] | None

    def __len__(self) -> int:
        return len(self.labels)


def read_input(folder: Path) -> Input:
    labels = np.load(folder / "labels.npy")
    if (folder / "images.npy").exists():
        return Input(labels, np.load(folder / "images.npy", mmap_mode="r"), None)
    bounds = np.load(folder / "offsets.npy").tolist()
    content = (folder / "jpegs.bin").read_bytes()
    jpegs = [content[bounds[i] : bounds[i + 1]] for i in range(len(labels))]
    return Input(labels, None, jpegs)


# ── FFCV ──


def prepare_ffcv(given: Input, out: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    field = RGBImageField(write_mode="raw")
    if given.jpegs is not None:
        field.encode = _ffcv_store_jpeg  # the very bytes; its own would decode and encode again
    fields = {"image": field, "label": IntField()}
    writer = DatasetWriter(str(out / "samples.beton"), fields, num_workers=1)
    writer.from_indexed_dataset(_Indexed(given), chunksize=1000)


class _Indexed:
    def __init__(self, given: Input) -> None:
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pictures = self.given.images if self.given.jpegs is None else self.given.jpegs
        assert pictures is not None
        return pictures[index], int(self.given.labels[index])


def _ffcv_store_jpeg(destination: Any, jpeg: bytes, malloc: Callable[[int], Any]) -> None:
    import simplejpeg
    from ffcv.fields.rgb_image import IMAGE_MODES

    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    destination["mode"] = IMAGE_MODES["jpg"]
    destination["height"], destination["width"] = height, width
    destination["data_ptr"], storage = malloc(len(jpeg))
    storage[:] = np.frombuffer(jpeg, np.uint8)


def open_ffcv(folder: Path, options: Options) -> Iterable[Batch]:
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Squeeze, ToTensor

    loader = Loader(
        str(folder / "samples.beton"),
        batch_size=options.batch_size,
        num_workers=options.threads,
        os_cache=True,
        order=OrderOption.RANDOM if options.shuffle else OrderOption.SEQUENTIAL,
        drop_last=False,
        batches_ahead=FFCV_BATCHES_AHEAD,
        pipelines={
            "image": [SimpleRGBImageDecoder(), ToTensor()],
            "label": [IntDecoder(), ToTensor(), Squeeze(1)],
        },
    )
    return _FfcvPasses(loader)


class _FfcvPasses:
    """Passes whose thread has ended when they are closed: it goes on until its queue is full."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        try:
            yield from batches
        finally:
            batches.close()
            batches.join()


# ── LitData ──


def prepare_litdata(given: Input, out: Path) -> None:
    from litdata import optimize

    optimize(
        _LitSample(given),
        list(range(len(given))),
        output_dir=str(out),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


class _LitSample:
    def __init__(self, given: Input) -> None:
        self.given = given

    def __call__(self, index: int) -> dict[str, Any]:
        import torch
        from litdata import Jpeg

        label = int(self.given.labels[index])
        if self.given.jpegs is not None:
            return {"image": Jpeg(bytes=self.given.jpegs[index], max_quality=None), "label": label}
        assert self.given.images is not None
        return {"image": torch.from_numpy(self.given.images[index].copy()), "label": label}


def open_litdata(folder: Path, options: Options) -> Iterable[Batch]:
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(folder), shuffle=options.shuffle, drop_last=False)
    loader = StreamingDataLoader(dataset, batch_size=options.batch_size, num_workers=0)
    return _Mapped(loader, lambda batch: (batch["image"], batch["label"]))


# ── MosaicML Streaming ──


def prepare_mosaicml(given: Input, out: Path) -> None:
    from PIL import Image
    from streaming import MDSWriter

    if given.images is not None:
        shape = ",".join(map(str, given.images.shape[1:]))
        columns = {"image": f"ndarray:uint8:{shape}", "label": "int"}
        with MDSWriter(out=str(out), columns=columns) as writer:
            for image, label in zip(given.images, given.labels.tolist(), strict=True):
                writer.write({"image": image, "label": label})
        return
    assert given.jpegs is not None
    with (
        MDSWriter(out=str(out), columns={"image": "jpeg", "label": "int"}) as writer,
        tempfile.NamedTemporaryFile(suffix=".jpg") as file,
    ):
        for jpeg, label in zip(given.jpegs, given.labels.tolist(), strict=True):
            Path(file.name).write_bytes(
                jpeg
            )  # it stores the very bytes of a picture that is a file
            with Image.open(file.name) as image:
                writer.write({"image": image, "label": label})


def open_mosaicml(folder: Path, options: Options) -> Iterable[Batch]:
    import torch
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(folder),
        shuffle=options.shuffle,
        batch_size=options.batch_size,
        num_canonical_nodes=1,
    )

    def collate(samples: list[dict[str, Any]]) -> Batch:
        images = np.stack([np.asarray(sample["image"]) for sample in samples])
        return torch.from_numpy(images), torch.tensor([int(sample["label"]) for sample in samples])

    return StreamingDataLoader(
        dataset, batch_size=options.batch_size, num_workers=0, collate_fn=collate
    )


# ── webdataset ──


def open_webdataset(folder: Path, options: Options) -> Iterable[Batch]:
    import tarfile

    import torch
    import webdataset as wds

    shards = sorted(map(str, folder.glob("**/*.tar")))
    with tarfile.open(shards[0]) as archive:
        suffix = archive.getnames()[0].rpartition(".")[2]
    dataset = wds.WebDataset(shards, shardshuffle=len(shards) if options.shuffle else False)
    if options.shuffle:
        dataset = dataset.shuffle(1000)
    dataset = dataset.decode() if suffix == "npy" else dataset.decode("rgb8")
    batches = dataset.to_tuple(suffix, "cls").batched(options.batch_size)
    return _Mapped(batches, lambda batch: tuple(map(torch.as_tensor, batch)))


# ── bare loops ──


def open_numpy_take(folder: Path, options: Options) -> Iterable[Batch]:
    import torch

    given = read_input(folder)
    assert given.images is not None
    images = np.array(given.images)

    def take(indices: np.ndarray) -> Batch:
        pictures, labels = np.take(images, indices, 0), np.take(given.labels, indices)
        return torch.from_numpy(pictures), torch.from_numpy(labels)

    return _Taken(len(given), options, take)


def open_simplejpeg(folder: Path, options: Options) -> Iterable[Batch]:
    import simplejpeg
    import torch

    given = read_input(folder)
    jpegs = given.jpegs
    assert jpegs is not None
    height, width, *_ = simplejpeg.decode_jpeg_header(jpegs[0])
    pool = ThreadPoolExecutor(options.threads)

    def decode(indices: list[int], out: np.ndarray) -> None:
        for i, index in enumerate(indices):
            simplejpeg.decode_jpeg(jpegs[index], buffer=out[i])

    def take(indices: np.ndarray) -> Batch:
        out = np.empty((len(indices), height, width, 3), np.uint8)
        if options.threads == 1:
            decode(indices.tolist(), out)
        else:
            parts = np.array_split(np.arange(len(indices)), options.threads)
            jobs = [
                pool.submit(decode, indices[part].tolist(), out[part[0] : part[-1] + 1])
                for part in parts
                if len(part)
            ]
            for job in jobs:
                job.result()
        return torch.from_numpy(out), torch.from_numpy(given.labels[indices])

    return _Taken(len(given), options, take)


class _Taken:
    """Batches of an array by arrays of indices; a new order each pass when shuffled."""

    def __init__(self, num: int, options: Options, take: Callable[[np.ndarray], Batch]) -> None:
        self.num, self.options, self.take = num, options, take
        self.rng = np.random.default_rng(0)

    def __iter__(self) -> Iterator[Batch]:
        order = self.rng.permutation(self.num) if self.options.shuffle else np.arange(self.num)
        for start in range(0, self.num, self.options.batch_size):
            yield self.take(order[start : start + self.options.batch_size])


class _Mapped:
    """Batches put into the form (images, labels)."""

    def __init__(self, batches: Iterable[Any], form: Callable[[Any], Any]) -> None:
        self.batches, self.form = batches, form

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield self.form(batch)


PREPARE: dict[str, Callable[[Input, Path], None]] = {
    "ffcv": prepare_ffcv,
    "litdata": prepare_litdata,
    "mosaicml": prepare_mosaicml,
}
OPEN: dict[str, Callable[[Path, Options], Iterable[Batch]]] = {
    "ffcv": open_ffcv,
    "litdata": open_litdata,
    "mosaicml": open_mosaicml,
    "webdataset": open_webdataset,
    "numpy-take": open_numpy_take,
    "simplejpeg": open_simplejpeg,
}


# ── the two questions ──


def turn(batches: Iterable[Batch], seconds: float) -> tuple[int, float]:
    """Stream pass after pass for `seconds`; return (samples, seconds it took).

    Each turn opens a pass and ends by closing one. A reader that prepares batches ahead would otherwise do
    so in the turns of others: FFCV gained a factor of three at 224 px.
    """
    samples, begun = 0, time.perf_counter()
    while True:
        iterator = iter(batches)
        for _, labels in iterator:
            samples += len(labels)
            took = time.perf_counter() - begun
            if took >= seconds:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
                return samples, took


def checksum(batches: Iterable[Batch]) -> dict[str, int]:
    """Stream one pass and return what identifies its samples, whatever their order."""
    sums = dict.fromkeys(("samples", "pixels", "labels", "crcs"), 0)
    for images, labels in batches:
        pictures, numbers = np.asarray(images), np.asarray(labels).tolist()
        if pictures.shape[1] == 3:  # torchvision's decoder gives [B, 3, H, W]
            pictures = pictures.transpose(0, 2, 3, 1)
        assert pictures.dtype == np.uint8
        assert pictures.ndim == 4
        assert pictures.shape[3] == 3
        assert len(pictures) == len(numbers)
        sums["samples"] += len(numbers)
        sums["pixels"] += int(pictures.sum(dtype=np.uint64))
        sums["labels"] += sum(numbers)
        for picture, label in zip(pictures, numbers, strict=True):
            sums["crcs"] += zlib.crc32(np.ascontiguousarray(picture), label + 1)
    return sums


def keep_to(num: int, cores: Iterable[int] | None = None) -> None:
    """Keep every thread of this process to the last `num` of its cores, or of `cores`."""
    chosen = sorted(cores or os.sched_getaffinity(0))[-num:]
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), chosen)


def serve(batches: Iterable[Batch], answer: Callable[[dict[str, Any]], None]) -> None:
    answer({"ready": True})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "check":
            answer(checksum(batches))
        else:
            samples, seconds = turn(batches, float(arguments[0]))
            answer({"samples": samples, "seconds": seconds})


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in (*PACKAGES, *LIBRARIES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("versions")
    preparing = commands.add_parser("prepare")
    preparing.add_argument("format", choices=PREPARE)
    preparing.add_argument("input", type=Path)
    preparing.add_argument("out", type=Path)
    serving = commands.add_parser("serve")
    serving.add_argument("format", choices=OPEN)
    serving.add_argument("folder", type=Path)
    serving.add_argument("--order", choices=("sequential", "random"), default="sequential")
    serving.add_argument("--batch-size", type=int, default=128)
    serving.add_argument("--cores", type=int, default=1)
    serving.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    # Some of the libraries print: they get stderr, answers keep stdout.
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), line_buffering=True)
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    if options.command == "versions":
        answer(versions())
    elif options.command == "prepare":
        options.out.mkdir(parents=True, exist_ok=True)
        PREPARE[options.format](read_input(options.input), options.out)
    else:
        import torch

        torch.set_num_threads(1)
        how = Options(options.order == "random", options.batch_size, options.threads)
        batches = OPEN[options.format](options.folder, how)
        keep_to(options.cores)
        serve(batches, answer)


if __name__ == "__main__":
    main()
