"""Objects that a library must open as files: fetched once for each node, into the cache; arrays mapped.

    <cache>/objects/<SHA-256 of the content>      the content
                    <SHA-256 of where it lies>    an object's address, size and time: SHA-256 of its content

A name that exists is whole. Of several processes of a node that want one object, one fetches it, the others
wait. Entries may be deleted at any time; what was mapped of one stays.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError
from pipeline.progress import PlainProgress
from pipeline.publish import publish_bytes
from pipeline.store import LocalStore, Store


def local_copy(store: Store, name: str, digest: str | None = None) -> Path:
    """Return a file of this node with the content of an object: of a local folder the file itself.

    Args:
        store: that holds it.
        name: of the object.
        digest: hex SHA-256 of its content, if that is known.

    Raises:
        MissingObjectError: there is no such object.
        StoreError: it cannot be read.
        DreamshardsError: it is another one than `digest` says, or the cache cannot be written.
    """
    if isinstance(store, LocalStore):
        return store.folder / name
    folder = cache_folder("objects")
    if digest is not None and (folder / digest).is_file():
        return folder / digest
    found = store.entry(name)
    place = repr((store.address(name), found.num_bytes, found.modified_ns))
    alias = folder / hashlib.sha256(place.encode()).hexdigest()
    with _held(alias):
        known = digest or _known(alias)
        if known is None or not (folder / known).is_file():
            known = _fetch(store, name, found.num_bytes, folder)
            if digest not in (None, known):
                raise DreamshardsError(
                    f"{store.address(name)} changed since the dataset was scanned: got SHA-256 {known}; "
                    f"expected {digest}; put the old object back, or start the build again in a new root"
                )
            publish_bytes(alias, known.encode())
    return folder / known


def map_array(path: Path) -> npt.NDArray[Any]:
    """Return the array in a .npy file, mapped: its pages are read when they are used.

    Raises:
        ValueError: it is no readable .npy file; says why, in one line.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if not isinstance(array, np.ndarray):
        raise ValueError("it is .npz, an archive of arrays")
    return array


def _known(alias: Path) -> str | None:
    try:
        text = alias.read_text()
    except OSError:
        return None
    return text if len(text) == 64 and text.isalnum() else None


@contextmanager
def _held(alias: Path) -> Iterator[None]:
    """Hold an object against other processes of this node that would fetch it too."""
    with _cached(alias.parent):
        alias.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(alias.parent / f".{alias.name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _cached(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DreamshardsError(
            f"cannot keep objects in {folder}: {error.strerror or error}; free some space there or set "
            "DREAMSHARDS_CACHE to another folder, then run the same command"
        ) from error


def _fetch(store: Store, name: str, num_bytes: int, folder: Path) -> str:
    """Bring an object into the cache, piece by piece; return the SHA-256 of its content."""
    digest = hashlib.sha256()
    progress = PlainProgress(f"fetching {store.address(name)}", num_bytes >> 20, "MiB")
    temporary = folder / f".{os.getpid()}.{hashlib.sha256(name.encode()).hexdigest()}"
    try:
        with _cached(folder), temporary.open("wb") as file:
            for piece in store.read_pieces(name, num_bytes):
                digest.update(piece)
                file.write(piece)
                del piece  # before the next is fetched
                progress.show(file.tell() >> 20)
            file.flush()
            os.fsync(file.fileno())
        with _cached(folder):
            temporary.replace(folder / digest.hexdigest())
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()
