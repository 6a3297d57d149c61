"""The benchmarks' own files, read where they lie: arrays of CIFAR-C and CIFAR-P, folders of pictures.

Arrays in an object store are fetched once, into the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.benchmarks import (
    C_BAR_CIFAR,
    C_BAR_IMAGENET,
    COMMON_CORRUPTIONS,
    SEQUENCES,
    SEVERITIES,
)
from evaluation.open_set import I64, OpenSet, Part, SetBatch
from evaluation.predictions import Samples
from evaluation.recognition import benchmark_parts
from evaluation.results import Kind
from evaluation.sets import open_live
from pipeline.errors import DreamshardsError
from pipeline.recipe import Recipe, parse_recipe
from pipeline.sources.folder_listing import list_folder
from pipeline.sources.local_copy import local_copy, map_array
from pipeline.store import RemoteStore, Root, Store, names_in, open_store

_LABELS = "labels.npy"
_SEQUENCES = (*SEQUENCES, "spatter")  # which is in CIFAR-P's own list, in the place of snow
_CHUNK_BYTES = 2**24
_UP_TO = 64  # px: smaller pictures are not cut out of larger ones, in the published code


def open_corruption_arrays(
    root: Root, name: str, kind: Kind, num_classes: int, classes: list[str]
) -> OpenSet:
    """Open CIFAR-10-C, CIFAR-100-C or a C-bar of either: NAME.npy, uint8 [5·n, S, S, 3], and labels.npy.

    Severity s is the s-th fifth. Of the files there, those that belong to the benchmark are read.

    Raises:
        DreamshardsError: a file is missing, unreadable, or of another type or shape, or labels are not those
            of `num_classes` classes.
    """
    store = open_store(root)
    known = COMMON_CORRUPTIONS if kind == "c" else C_BAR_CIFAR
    names = _present(store, known)
    labels = _map(store, _LABELS)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        raise _wrong(store.address(_LABELS), labels, "whole numbers [5·n]")
    low, high = int(labels.min()), int(labels.max())
    if low != 0 or high != num_classes - 1:
        raise DreamshardsError(
            f"{store.address(_LABELS)}: labels from {low} to {high}; allowed: 0 to {num_classes - 1}, for "
            f"the checkpoint has {num_classes} classes; give the files of its data set"
        )
    arrays = {each: _map(store, f"{each}.npy") for each in names}
    for each, array in arrays.items():
        square = array.ndim == 4 and array.shape[1] == array.shape[2] and array.shape[3] == 3
        if not square or array.dtype != np.uint8 or len(array) != len(labels) or len(array) % 5:
            allowed = f"uint8 [{len(labels)}, S, S, 3], a multiple of 5"
            raise _wrong(store.address(f"{each}.npy"), array, allowed)
    num = len(labels) // len(SEVERITIES)
    parts = [
        Part(each, level, place * len(SEVERITIES) + level - 1, num)
        for place, each in enumerate(names)
        for level in SEVERITIES
    ]
    truths = np.asarray(labels, np.int64)

    def read(part: Part, chosen: I64 | None, batch_size: int) -> Iterator[SetBatch]:
        first = (part.place % len(SEVERITIES)) * num
        pixels = arrays[part.name][first : first + num]
        return _batches(part, pixels, truths[first : first + num], chosen, batch_size)

    return OpenSet(
        name,
        kind,
        str(store),
        _digest(store, [_LABELS, *(f"{each}.npy" for each in names)]),
        classes,
        parts,
        benchmark_parts(kind, names),
        _one_shape(store, arrays)[1:],
        read,
    )


def open_sequence_arrays(root: Root, name: str) -> OpenSet:
    """Open CIFAR-10-P or CIFAR-100-P: NAME.npy, uint8 [n, F, S, S, 3], F by kind of sequence.

    Raises:
        DreamshardsError: no file of the benchmark, or one that is unreadable or of another type or shape.
    """
    store = open_store(root)
    names = _present(store, _SEQUENCES)
    arrays = {each: _map(store, f"{each}.npy") for each in names}
    for each, array in arrays.items():
        square = array.ndim == 5 and array.shape[2] == array.shape[3] and array.shape[4] == 3
        if not square or array.dtype != np.uint8 or len(array) == 0 or array.shape[1] < 2:
            raise _wrong(
                store.address(f"{each}.npy"), array, "uint8 [n, F, S, S, 3] with 2 frames or more"
            )
    parts = [
        Part(each, None, place, len(arrays[each]), arrays[each].shape[1])
        for place, each in enumerate(names)
    ]

    def read(part: Part, chosen: I64 | None, batch_size: int) -> Iterator[SetBatch]:
        size = max(1, batch_size // part.num_frames)
        return _batches(part, arrays[part.name], None, chosen, size)

    return OpenSet(
        name,
        "p",
        str(store),
        _digest(store, [f"{each}.npy" for each in names]),
        None,
        parts,
        benchmark_parts("p", names),
        _one_shape(store, arrays)[2:],
        read,
    )


def open_image_folder(root: Root, name: str, kind: Kind, size: int, *, batch_size: int) -> OpenSet:
    """Open a folder with one sub-folder of pictures per class, cut to `size` px as published.

    Above 64 px the shorter side is resized to S + S//7 first (256 for 224), else to S.

    Raises:
        DreamshardsError: it is not laid out so, or a picture cannot be read.
    """
    store = open_store(root)
    recipe = _still_recipe("image-folder", store, name, size)
    return open_live(recipe, str(store), name, kind, batch_size=batch_size)


def open_svhn_folder(root: Root, name: str, size: int, *, batch_size: int) -> OpenSet:
    """Open SVHN's official test file as anomalies, resized to `size` px where that is not 32.

    Raises:
        DreamshardsError: it is not of the official form.
    """
    store = open_store(root)
    recipe = _still_recipe("svhn", store, name, size, split="test")
    return open_live(recipe, str(store), name, "ood", batch_size=batch_size)


def open_corruption_folders(
    root: Root, name: str, kind: Kind, size: int, *, batch_size: int
) -> OpenSet:
    """Open ImageNet-C or its C-bar: FOLDER/NAME/SEVERITY with one sub-folder of pictures per class.

    A severity's pictures are scanned when it is read. Content is known by the names and sizes of the files.

    Raises:
        DreamshardsError: no folder of the benchmark, or one that is not laid out so.
    """
    store = open_store(root)
    known = COMMON_CORRUPTIONS if kind == "c" else C_BAR_IMAGENET
    folders = {
        (each, level): store.below(f"{each}/{level}")
        for each in known
        for level in SEVERITIES
        if store.has_folder(f"{each}/{level}")
    }
    parts: list[Part] = []
    classes: list[str] = []
    digest = hashlib.sha256()
    for place, (each, level) in enumerate(folders):
        listing = list_folder(folders[each, level])
        if classes and list(listing.class_names) != classes:
            raise DreamshardsError(
                f"{folders[each, level]}: other classes than {next(iter(folders.values()))}; allowed: "
                "the same sub-folders at every severity"
            )
        classes = list(listing.class_names)
        digest.update(f"{each}/{level}\n{chr(10).join(listing.ids.to_pylist())}\n".encode())
        digest.update(listing.size_bytes.astype("<i8").tobytes())
        parts.append(Part(each, level, place, len(listing.ids)))

    def read(part: Part, chosen: I64 | None, most: int) -> Iterator[SetBatch]:
        assert part.severity is not None
        where = folders[part.name, part.severity]
        opened = open_image_folder(where, name, "clean", size, batch_size=most)
        for images, samples in opened.read(opened.parts[0], chosen, most):
            yield images, samples._replace(variant=part.name, severity=part.severity, keys=None)

    names = [each for each, _ in folders]
    shape = (size, size, 3)
    return OpenSet(
        name,
        kind,
        str(store),
        digest.hexdigest(),
        classes,
        parts,
        benchmark_parts(kind, names),
        shape,
        read,
        "image-folder",
    )


def holds_arrays(store: Store) -> bool:
    """Tell whether a folder is one of arrays."""
    return any(name.endswith(".npy") for name in names_in(store))


def holds_svhn(store: Store) -> bool:
    """Tell whether a folder has the test file of SVHN."""
    return store.exists("test_32x32.mat")


def _still_recipe(kind: str, store: Store, name: str, size: int, **source: str) -> Recipe:
    """Return a recipe of a source's pictures as they are, cut to size."""
    path = store.uri if isinstance(store, RemoteStore) else str(store)
    resize = size if size <= _UP_TO else size + size // 7
    content: dict[str, Any] = {
        "name": name,
        "epochs": 1,
        "source": {"kind": kind, "path": path, **source},
        "transform": {"kind": "center-crop", "size": size, "resize": resize},
        "augmentation": {"family": "clean"},
        "shards": {"codec": "npy"},  # as it is, with no second JPEG compression
    }
    return parse_recipe(content, f"folder {store}")


def _present(store: Store, known: Sequence[str]) -> list[str]:
    there = set(names_in(store))
    names = [each for each in known if f"{each}.npy" in there]
    if not names:
        raise DreamshardsError(
            f"{store}: none of the benchmark's files; allowed: {', '.join(known)}, each with .npy after it"
        )
    return names


def _map(store: Store, name: str) -> npt.NDArray[Any]:
    path = local_copy(store, name)
    try:
        return map_array(path)
    except ValueError as error:
        raise DreamshardsError(
            f"{store.address(name)}: not a readable .npy file ({error}); fetch it again"
        ) from error


def _wrong(address: str, array: npt.NDArray[Any], allowed: str) -> DreamshardsError:
    return DreamshardsError(f"{address}: got {array.dtype} {list(array.shape)}; allowed: {allowed}")


def _one_shape(store: Store, arrays: dict[str, npt.NDArray[Any]]) -> tuple[int, ...]:
    """Return the shape of the first array, after a look whether pictures are of one size in all."""
    sizes = {each: array.shape[-3:] for each, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{each} {list(size)}" for each, size in sizes.items())
        raise DreamshardsError(
            f"{store}: pictures of several sizes: {listed}; allowed: one size in all files"
        )
    shape: tuple[int, ...] = next(iter(arrays.values())).shape
    return shape


def _digest(store: Store, names: Sequence[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        content = hashlib.sha256()
        with local_copy(store, name).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                content.update(chunk)
        total.update(name.encode() + content.digest())
    return total.hexdigest()


def _batches(
    part: Part,
    pixels: npt.NDArray[np.uint8],
    labels: I64 | None,
    chosen: I64 | None,
    batch_size: int,
) -> Iterator[SetBatch]:
    rows = np.arange(len(pixels)) if chosen is None else np.sort(chosen)
    for start in range(0, len(rows), batch_size):
        at = rows[start : start + batch_size]
        truths = None if labels is None else labels[at]
        samples = Samples(part.name, part.severity, None, at, [str(row) for row in at], truths)
        yield torch.from_numpy(np.array(pixels[at])), samples
