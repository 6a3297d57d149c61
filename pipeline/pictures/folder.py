"""The mixing set of a folder: every picture below it, whatever the layout.

The published `fractals_and_fvis` folder (PixMix, Hendrycks et al., CVPR 2022) works as it is, and
its transform is followed: the shorter side is resized to `size`, smaller pictures are enlarged, the
aspect is kept however long the picture. Only one that would then exceed `MAX_PIXELS` of
`pipeline.sources.images` counts as unreadable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnreadableFile
from pipeline.executor import Executor
from pipeline.picture_sections import FolderPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore, chunk_length
from pipeline.pictures.files import File, FilesJob, check_skipped, hashed, listed, read_all
from pipeline.pictures.picture_set import PictureSet, evenly
from pipeline.sources.deadly import DEADLY, surviving
from pipeline.sources.folder_listing import PICTURES
from pipeline.sources.images import (
    UnreadableImage,
    decode,
    decoder_versions,
    resize_shorter_side,
)
from pipeline.sources.source import Skipped
from pipeline.store import Store, open_input, open_store

_FORMAT = "folder-2"
"""Part of the key; a change of what is made from the same files takes a new name."""


class _Shared(NamedTuple):
    root: Store
    size: int


def make_folder_pictures(config: FolderPictures, executor: Executor) -> PictureSet:
    """Return the pictures below `config.path`, sorted by relative path, which is the id.

    Of more than `config.count`, every so many-th is taken, evenly spread.

    Names that start with a dot are ignored, files and folders alike; links are followed. Every
    worker must see the folder under the same path, or the object store.

    Raises:
        UsageError: no such folder, no pictures in it or fewer than asked for, a name that is not UTF-8,
            a link that leads back to a folder it lies in, a folder that cannot be listed.
        DreamshardsError: unreadable pictures under `on_unreadable: stop`, or nothing but unreadable
            ones; a file that changes while the set is being made.
    """
    size = config.size
    assert size is not None, "a resolved recipe has a size"
    root = open_store(config.path)
    ids = listed(root, PICTURES)
    places = evenly(len(ids), config.count, f"mixing_set.path = {str(root)!r}")
    files = hashed(root, [ids[place] for place in places])

    def make(store: ChunkStore) -> Iterator[Chunk]:
        length = chunk_length(size)
        starts = range(0, len(files), length)
        jobs = (
            FilesJob(number, files[start : start + length])
            for number, start in enumerate(starts)
            if number not in store.numbers
        )
        skipped = store.skipped[:]
        shared = _Shared(open_input(config.path), size)
        for chunk in surviving(executor, _decode_chunk, shared, jobs):
            skipped += chunk.skipped
            yield chunk
        check_skipped(sorted(skipped), config, len(files), "pictures")

    pictures = cached(_key(files, size), len(files), make)
    check_skipped(pictures.skipped, config, len(files), "pictures")
    return pictures


def _key(files: list[File], size: int) -> str:
    """Name the set by all that decides its pixels, and by nothing else: no path, no time."""
    content = [_FORMAT, decoder_versions(), size, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _decode_chunk(shared: _Shared, job: FilesJob) -> Chunk:
    """Decode and resize the files of one job."""
    parts: list[npt.NDArray[np.uint8]] = []
    ids: list[str] = []
    skipped: list[Skipped] = []
    for file, data in zip(job.files, read_all(shared.root, job.files), strict=True):
        try:
            if file.id in job.deadly:
                raise UnreadableFile(DEADLY)
            if isinstance(data, UnreadableFile):
                raise data
            parts.append(resize_shorter_side(decode(data, file.id), shared.size, file.id))
        except (UnreadableFile, UnreadableImage) as error:
            skipped.append(Skipped(file.id, error.reason))
        else:
            ids.append(file.id)
    return Chunk(
        number=job.number,
        pixels=np.concatenate([np.empty(0, np.uint8), *(part.reshape(-1) for part in parts)]),
        heights=[part.shape[0] for part in parts],
        widths=[part.shape[1] for part in parts],
        ids=ids,
        skipped=tuple(skipped),
    )
