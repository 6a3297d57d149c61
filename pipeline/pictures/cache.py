"""Keeping mixing sets between runs: made once, memory-mapped ever after.

An entry is a folder named by the key of what it holds:

    <cache>/pictures/<key>/pixels.npy       uint8 [total], the pictures end to end
                           index.parquet    id, offset, height, width, and details if there are any;
                                            digest, skipped, tallies as metadata

It is written under a temporary name and renamed when whole and durable, so a name that exists is
complete. Until then each chunk that was made lies beside it (`pipeline.pictures.chunks`), so that a run
that was stopped goes on. Knows nothing of where pictures come from.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError
from pipeline.parquet import read_parquet
from pipeline.pictures.chunks import Chunk, ChunkStore
from pipeline.pictures.picture_set import PictureSet, Tally, merged, set_digest
from pipeline.progress import PlainProgress
from pipeline.publish import fsync_folder
from pipeline.sources.source import Skipped

logger = logging.getLogger(__name__)

_FORMAT = b"2"
_PIXELS = "pixels.npy"
_INDEX = "index.parquet"
_ABANDONED_S = 24 * 3600  # a temporary folder untouched for this long belongs to a killed process
_FORGOTTEN_S = 7 * 24 * 3600  # chunks untouched for this long will hardly be gone on with
_SCHEMA = pa.schema(
    [("id", pa.string()), ("offset", pa.int64()), ("height", pa.int32()), ("width", pa.int32())]
)


class BrokenEntryError(Exception):
    """A cache entry that is not what was once published under its name."""


def cached(
    key: str,
    num_pictures: int,
    make: Callable[[ChunkStore], Iterable[Chunk]],
    noun: str = "pictures",
) -> PictureSet:
    """Return the set stored under `key`, storing what `make` yields if there is none.

    Args:
        key: names all that decides the set and how it is cut into chunks.
        num_pictures: how many are expected, for the progress line.
        make: given the chunks that an earlier run left, yields all others, in any order. Memory holds
            those that wait for an earlier one.
        noun: what the progress line counts.

    A broken entry is reported and replaced. Two processes that make one set at once both succeed; one
    copy is kept.

    Raises:
        DreamshardsError: the cache cannot be written. What `make` raises is passed on; then the
            chunks made so far are kept, and no entry.
    """
    entry = cache_folder("pictures") / key
    if os.path.lexists(entry):
        try:
            return open_entry(entry)
        except BrokenEntryError as error:
            logger.warning(
                "mixing set in the cache is broken, making it again: %s: %s", entry, error
            )
    temporary = entry.parent / f".{key}.{uuid.uuid4().hex}.tmp"
    store = ChunkStore(entry.parent / f".{key}.chunks")
    try:
        with _storing(entry.parent):
            temporary.mkdir(parents=True)
            _remove_abandoned(entry.parent)
            store.__enter__()
        progress = PlainProgress("mixing set: making", num_pictures, noun)
        _write(temporary, _in_order(make(store), store, entry.parent), progress)
        with _storing(entry.parent):
            _publish(temporary, entry)
        store.remove()
        return open_entry(entry)
    except BrokenEntryError as error:
        raise DreamshardsError(
            f"the mixing set just stored cannot be read: {entry}: {error}; check that disk"
        ) from error
    finally:
        store.__exit__()
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """Turn an operating-system error met while writing below `folder` into one clear line."""
    try:
        yield
    except OSError as error:
        raise DreamshardsError(
            f"cannot store the mixing set in {folder}: {error.strerror or error}; free some space "
            "there or set DREAMSHARDS_CACHE to another folder, then run the same command"
        ) from error


def open_entry(entry: Path) -> PictureSet:
    """Memory-map the set in the folder `entry`; checks lengths, not pixels.

    Raises:
        BrokenEntryError: missing or unreadable files, or lengths that do not fit each other.
    """
    try:
        content = io.BytesIO((entry / _INDEX).read_bytes())
        index = read_parquet(content)
        mapped = np.load(entry / _PIXELS, mmap_mode="r", allow_pickle=False)
        stored_bytes = (entry / _PIXELS).stat().st_size
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        raise BrokenEntryError(str(error)) from error
    metadata = index.schema.metadata or {}
    schema = pa.schema(
        [*_SCHEMA, *(pa.field(name, pa.float64()) for name in index.schema.names[4:])]
    )
    if not index.schema.equals(schema) or metadata.get(b"format") != _FORMAT or not len(index):
        raise BrokenEntryError(
            f"{_INDEX} has not the columns and metadata of format {_FORMAT.decode()}"
        )
    table = index.combine_chunks()
    offsets, heights, widths = (table[name].to_numpy() for name in ("offset", "height", "width"))
    ends = np.cumsum(3 * heights.astype(np.int64) * widths)
    if mapped.dtype != np.uint8 or mapped.shape != (ends[-1],):
        raise BrokenEntryError(f"{_PIXELS} has {mapped.shape} values; expected {ends[-1]}")
    header_bytes = len(_npy_header(0))
    if stored_bytes != header_bytes + ends[-1]:
        raise BrokenEntryError(
            f"{_PIXELS} has {stored_bytes} bytes; expected {header_bytes + ends[-1]}"
        )
    if offsets[0] != 0 or not np.array_equal(offsets[1:], ends[:-1]):
        raise BrokenEntryError(f"the offsets in {_INDEX} do not follow from the sizes")
    return PictureSet(
        pixels=mapped.view(np.ndarray),
        offsets=offsets,
        heights=heights,
        widths=widths,
        ids=table["id"].chunk(0),
        digest=metadata[b"digest"].decode(),
        skipped=tuple(Skipped(*item) for item in json.loads(metadata[b"skipped"])),
        tallies=tuple(Tally(*item) for item in json.loads(metadata[b"tallies"])),
        details={name: table[name].to_numpy() for name in index.schema.names[4:]},
    )


def _write(folder: Path, chunks: Iterable[Chunk], progress: PlainProgress) -> None:
    """Stream `chunks` into the two files of an entry, in order, and make them durable."""
    hashed = hashlib.sha256()
    heights: list[int] = []
    widths: list[int] = []
    ids: list[str] = []
    skipped: list[Skipped] = []
    tallies: list[Tally] = []
    details: dict[str, list[float]] = {}
    with _storing(folder.parent), (folder / _PIXELS).open("xb") as file:
        file.write(_npy_header(0))
    for chunk in chunks:
        hashed.update(chunk.pixels.data)
        with _storing(folder.parent), (folder / _PIXELS).open("ab") as file:
            file.write(chunk.pixels.data)
        heights += chunk.heights
        widths += chunk.widths
        ids += chunk.ids
        skipped += chunk.skipped
        tallies += chunk.tallies
        for name, values in chunk.details.items():
            details.setdefault(name, []).extend(values)
        progress.show(len(ids) + len(skipped))
    sizes = 3 * np.array(heights, np.int64) * np.array(widths, np.int64)
    metadata = {
        "format": _FORMAT,
        "digest": set_digest(hashed, ids, heights, widths, *details.values()),
        "skipped": json.dumps(skipped),
        "tallies": json.dumps(merged(tallies)),
    }
    schema = pa.schema([*_SCHEMA, *(pa.field(name, pa.float64()) for name in details)], metadata)
    table = pa.table(
        [ids, np.cumsum(sizes) - sizes, heights, widths, *details.values()], schema=schema
    )
    with _storing(folder.parent):
        with (folder / _PIXELS).open("r+b") as file:
            file.write(_npy_header(int(sizes.sum())))
            file.flush()
            os.fsync(file.fileno())
        with (folder / _INDEX).open("xb") as file:
            pq.write_table(table, file, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        fsync_folder(folder)


def _in_order(chunks: Iterable[Chunk], store: ChunkStore, folder: Path) -> Iterator[Chunk]:
    """Yield the chunks of the store and those that come, which are stored on arrival, in order."""
    waiting: dict[int, Chunk] = {}
    following = 0
    for arrived in chunks:
        if arrived.number not in store.numbers:
            with _storing(folder):
                store.save(arrived)
            waiting[arrived.number] = arrived
        while following in waiting or following in store.numbers:
            stored = following in store.numbers
            yield store.load(following) if stored else waiting.pop(following)
            following += 1
    while following in store.numbers:
        yield store.load(following)
        following += 1
    assert not waiting, f"chunk {following} never came"


def _npy_header(length: int) -> bytes:
    """Return the 128 bytes before uint8 [length] in a .npy file, as many for every length."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({length},), }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


def _publish(temporary: Path, entry: Path) -> None:
    """Give a finished folder its name, unless a whole entry has taken it meanwhile."""
    for _ in range(8):
        try:
            temporary.rename(entry)
            fsync_folder(entry.parent)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        try:
            open_entry(entry)
            return
        except BrokenEntryError:
            aside = entry.parent / f".{entry.name}.{uuid.uuid4().hex}.tmp"
            with suppress(FileNotFoundError):
                entry.rename(aside)
            _remove(aside)
    raise DreamshardsError(f"cannot replace the broken mixing set {entry}; delete it and run again")


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for pattern, age_s in ((".*.tmp", _ABANDONED_S), (".*.chunks", _FORGOTTEN_S)):
        for left in folder.glob(pattern):
            with suppress(OSError):
                newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
                if newest < time.time() - age_s:
                    _remove(left)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()
