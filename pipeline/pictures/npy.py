"""The mixing set of one array: uint8 [N, h, w, 3] in a .npy file, such as the 300K random images.

That file (Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure", ICLR 2019) holds 300,000
pictures of 32×32; PixMix's ablation pads them by 4 zeros before its crop, as `padding: 4` does here.
An array that needs neither padding nor resizing is mapped as it is, without a copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.executor import Executor
from pipeline.picture_sections import NpyPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore, chunk_length
from pipeline.pictures.picture_set import PictureSet, evenly, set_digest
from pipeline.sources.images import resize_shorter_side
from pipeline.sources.local_copy import local_copy, map_array
from pipeline.store import LocalStore, MissingObjectError, Store, open_file

U8 = npt.NDArray[np.uint8]

_FORMAT = "npy-1"
"""Part of the key; a change of what is made from the same array takes a new name."""


class _Job(NamedTuple):
    number: int
    places: Sequence[int]


class _Shared(NamedTuple):
    store: Store
    name: str
    where: str
    size: int | None
    padding: int


def make_npy_pictures(config: NpyPictures, executor: Executor) -> PictureSet:
    """Return the pictures of the array at `config.path`; their ids are their places, 000000, 000001, …

    Of more than `config.count`, every so many-th is taken, evenly spread. Every worker must see the file
    under the same path; an object is fetched once for each node.

    Raises:
        UsageError: no such file, another array than uint8 [N, h, w, 3], or fewer pictures than asked for.
    """
    store, name = open_file(config.path)
    shown = config.path if isinstance(store, LocalStore) else store.address(name)
    where = f"mixing_set.path = {shown!r}"
    array = _mapped(store, name, where)
    places = evenly(len(array), config.count, where)
    digest = _digest(array, places)
    if config.padding == 0 and config.size in (None, min(array.shape[1:3])):
        return _as_it_is(array, places, digest)
    content = [_FORMAT, digest, config.size, config.padding]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    shared = _Shared(store, name, where, config.size, config.padding)

    def make(store: ChunkStore) -> Iterator[Chunk]:
        length = chunk_length((config.size or max(array.shape[1:3])) + 2 * config.padding)
        starts = range(0, len(places), length)
        jobs = (
            _Job(number, places[start : start + length])
            for number, start in enumerate(starts)
            if number not in store.numbers
        )
        yield from executor.map(_copy_chunk, shared, jobs)

    return cached(key, len(places), make)


def _mapped(store: Store, name: str, where: str) -> U8:
    """Map the array; its pages are read when they are used."""
    path = _file_of(store, name, where)
    try:
        array = map_array(path)
    except ValueError as error:
        raise UsageError(f"{where} cannot be read as a .npy file: {error}") from error
    if not _is_pictures(array):
        raise UsageError(
            f"{where} holds {array.dtype} {list(array.shape)}; allowed: uint8 [N, h, w, 3], in C order, "
            "N, h, w ≥ 1"
        )
    return array.view(np.ndarray)


def _file_of(store: Store, name: str, where: str) -> Path:
    if isinstance(store, LocalStore):
        path = store.folder / name
        if not path.is_file():
            found = "is a folder, not a file" if path.exists() else "does not exist"
            raise UsageError(f"{where} {found}; allowed: a .npy file")
        return path
    try:
        return local_copy(store, name)
    except MissingObjectError as error:
        raise UsageError(f"{where} does not exist; allowed: a .npy file") from error


def _is_pictures(array: npt.NDArray[np.generic]) -> bool:
    return (
        array.dtype == np.uint8
        and array.ndim == 4
        and array.shape[3] == 3
        and array.size > 0
        and array.flags.c_contiguous
    )


def _ids(places: Sequence[int]) -> list[str]:
    return [f"{place:06d}" for place in places]


def _digest(array: U8, places: Sequence[int]) -> str:
    """Return the digest of the pictures as they are in the file: all of them are read."""
    hashed = hashlib.sha256()
    if len(places) == len(array):
        hashed.update(array.data)
    else:
        for place in places:
            hashed.update(array[place].data)
    height, width = array.shape[1:3]
    return set_digest(hashed, _ids(places), [height] * len(places), [width] * len(places))


def _as_it_is(array: U8, places: Sequence[int], digest: str) -> PictureSet:
    height, width = array.shape[1:3]
    return PictureSet(
        pixels=array.reshape(-1),
        offsets=np.array(places, np.int64) * (3 * height * width),
        heights=np.full(len(places), height, np.int32),
        widths=np.full(len(places), width, np.int32),
        ids=pa.array(_ids(places), pa.string()),
        digest=digest,
    )


def _copy_chunk(shared: _Shared, job: _Job) -> Chunk:
    """Resize and pad the pictures of one job."""
    array = _mapped(shared.store, shared.name, shared.where)
    frame, channels = (shared.padding,) * 2, (0, 0)
    pictures = []
    for place in job.places:
        picture = array[place]
        if shared.size is not None:
            picture = resize_shorter_side(picture, shared.size)
        pictures.append(np.pad(picture, (frame, frame, channels)))
    return Chunk(
        number=job.number,
        pixels=np.concatenate([picture.reshape(-1) for picture in pictures]),
        heights=[picture.shape[0] for picture in pictures],
        widths=[picture.shape[1] for picture in pictures],
        ids=_ids(job.places),
    )
