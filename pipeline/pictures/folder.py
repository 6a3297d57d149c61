"""The mixing set of a folder: every picture below it, whatever the layout.

The published `fractals_and_fvis` folder (PixMix, Hendrycks et al., CVPR 2022) works as it is, and
its transform is followed: the shorter side is resized to `size`, smaller pictures are enlarged, the
aspect is kept however long the picture. Only one that would then exceed `MAX_PIXELS` of
`pipeline.sources.images` counts as unreadable.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.picture_sections import FolderPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore, chunk_length
from pipeline.pictures.picture_set import PictureSet, evenly
from pipeline.progress import PlainProgress
from pipeline.sources.images import (
    IMAGE_SUFFIXES,
    UnreadableImage,
    decode,
    decoder_versions,
    is_image_name,
    resize_shorter_side,
)
from pipeline.sources.source import Skipped

_FORMAT = "folder-2"
"""Part of the key; a change of what is made from the same files takes a new name."""

_HASH_THREADS = 16

# Anything else is wrong with the machine and must not make a picture count as unreadable.
_FAULTS_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO)


class _File(NamedTuple):
    id: str  # path below the folder, with `/`
    sha256: str  # hex, or empty when the file could not be read


class _Job(NamedTuple):
    number: int
    files: list[_File]


class _Shared(NamedTuple):
    root: Path  # absolute
    size: int


def make_folder_pictures(config: FolderPictures, executor: Executor) -> PictureSet:
    """Return the pictures below `config.path`, sorted by relative path, which is the id.

    Of more than `config.count`, every so many-th is taken, evenly spread.

    Names that start with a dot are ignored, files and folders alike; links are followed. Every
    worker must see the folder under the same path.

    Raises:
        UsageError: no such folder, no pictures in it or fewer than asked for, a name that is not UTF-8,
            a link that leads back to a folder it lies in, a folder that cannot be listed.
        DreamshardsError: unreadable pictures under `on_unreadable: stop`, or nothing but unreadable
            ones; a file that changes while the set is being made.
    """
    size = config.size
    assert size is not None, "a resolved recipe has a size"
    root = Path(config.path)
    ids = _listed(root)
    places = evenly(len(ids), config.count, f"mixing_set.path = {config.path!r}")
    files = _hashed(root, [ids[place] for place in places])

    def make(store: ChunkStore) -> Iterator[Chunk]:
        length = chunk_length(size)
        starts = range(0, len(files), length)
        jobs = (
            _Job(number, files[start : start + length])
            for number, start in enumerate(starts)
            if number not in store.numbers
        )
        skipped = store.skipped[:]
        for chunk in executor.map(_decode_chunk, _Shared(root.absolute(), size), jobs):
            skipped += chunk.skipped
            yield chunk
        _check_skipped(sorted(skipped), config, len(files))

    pictures = cached(_key(files, size), len(files), make)
    _check_skipped(pictures.skipped, config, len(files))
    return pictures


def _listed(root: Path) -> list[str]:
    """Return the relative paths of all pictures, with `/`, sorted."""
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "does not exist"
        raise UsageError(f"mixing_set.path = {str(root)!r} {found}; allowed: a folder of pictures")
    ids = sorted(_below(root, "", ()))
    if not ids:
        raise UsageError(
            f"mixing_set.path = {str(root)!r} holds no pictures at any depth; accepted: "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    for name in ids:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"mixing_set.path = {str(root)!r}: the file name {os.fsencode(name)!r} is not "
                "UTF-8; rename the file"
            ) from error
    return ids


def _below(root: Path, place: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the pictures of the folder `place`, empty or ending in `/`, and of those in it."""
    folder = root / place
    try:
        found = folder.stat()
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"mixing_set.path: cannot list {folder}: {error.strerror}") from error
    identity = (found.st_dev, found.st_ino)
    if identity in ancestors:
        raise UsageError(
            f"mixing_set.path: {folder} is a link back to a folder it lies in; remove the link"
        )
    for entry in visible:
        if Path(entry).is_dir():  # a link that leads to itself is none, and shows up as unreadable
            yield from _below(root, f"{place}{entry.name}/", (*ancestors, identity))
        elif is_image_name(entry.name):
            yield place + entry.name


def _hashed(root: Path, ids: list[str]) -> list[_File]:
    """Read every file once, for the key."""
    progress = PlainProgress("mixing set: checking", len(ids), "files")
    files = []
    with ThreadPoolExecutor(_HASH_THREADS) as threads:  # both reading and hashing release the GIL
        for name, sha256 in zip(
            ids, threads.map(lambda name: _sha256(root / name), ids), strict=True
        ):
            files.append(_File(name, sha256))
            progress.show(len(files))
    return files


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""  # reported with its reason when its turn to be decoded comes


def _key(files: list[_File], size: int) -> str:
    """Name the set by all that decides its pixels, and by nothing else: no path, no time."""
    content = [_FORMAT, decoder_versions(), size, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _decode_chunk(shared: _Shared, job: _Job) -> Chunk:
    """Decode and resize the files of one job."""
    parts: list[npt.NDArray[np.uint8]] = []
    ids: list[str] = []
    skipped: list[Skipped] = []
    for name, sha256 in job.files:
        try:
            data = (shared.root / name).read_bytes()
            if sha256 and hashlib.sha256(data).hexdigest() != sha256:
                raise DreamshardsError(
                    f"{shared.root / name} changed while the mixing set was being made; run again"
                )
            parts.append(resize_shorter_side(decode(data, name), shared.size, name))
        except OSError as error:
            if error.errno not in _FAULTS_OF_THE_FILE:
                raise DreamshardsError(
                    f"cannot read {shared.root / name}: {error.strerror}; this is no fault of the "
                    "file; set it right, then run the same command"
                ) from error
            skipped.append(Skipped(name, str(error.strerror)))
        except UnreadableImage as error:
            skipped.append(Skipped(name, error.reason))
        else:
            ids.append(name)
    return Chunk(
        number=job.number,
        pixels=np.concatenate([np.empty(0, np.uint8), *(part.reshape(-1) for part in parts)]),
        heights=[part.shape[0] for part in parts],
        widths=[part.shape[1] for part in parts],
        ids=ids,
        skipped=tuple(skipped),
    )


def _check_skipped(skipped: Sequence[Skipped], config: FolderPictures, num_files: int) -> None:
    """Raise unless the recipe allows to leave these out and something remains."""
    if not skipped or (config.on_unreadable == "skip" and len(skipped) < num_files):
        return
    if len(skipped) == num_files:
        advice = "not one can be used; mend them or name another folder"
    else:
        advice = "mend or remove them, or leave them out with --set mixing_set.on_unreadable=skip"
    lines = [f"  {name}: {reason}" for name, reason in skipped]
    raise DreamshardsError(
        "\n".join(
            [
                f"{len(skipped)} of {num_files} pictures in mixing_set.path = {config.path!r} "
                f"are unreadable; {advice}",
                *lines,
            ]
        )
    )
