"""Publishing local files: a name appears only once its whole content is on disk.

Owns the temporary name, the fsync and the rename, and the claim to a folder. Knows nothing of what is
written.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DreamshardsError

PARTIAL_NAME = ".partial"
"""The folder, in one that is being filled, of files that are being written."""

_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
"""Linux's own call: where a file system has none, POSIX's would write to every block instead."""
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def publish(path: Path, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name `path` only when the block ends without an exception.

    `scratch` is the folder for the temporary file; it must lie on the same file system and defaults
    to the folder of `path`. Whatever goes wrong, nothing is left under `path` that was not there before.

    Raises:
        DreamshardsError: the disk is full, read-only or not writable.
    """
    folder = path.parent if scratch is None else scratch
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def reserve(file: BinaryIO, num_bytes: int) -> None:
    """Give an empty `file` its place on the disk at once, where the system can; it is that long from then on.

    Room that is lacking is known before any work, and what is written next costs a quarter less.

    Raises:
        OSError: there is no room, or it is not allowed.
    """
    if _fallocate is None or _fallocate(file.fileno(), 0, 0, num_bytes) == 0:
        return
    reason = ctypes.get_errno()
    if reason in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise OSError(reason, os.strerror(reason))


@contextmanager
def written_behind(file: BinaryIO) -> Iterator[Callable[[], None]]:
    """Yield a function that starts sending what `file` holds so far to the disk, and returns at once.

    What it meets there is raised at the end of the block, which waits for all of it.
    """
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(1) as disk:

        def send() -> None:
            file.flush()
            pending.append(disk.submit(os.fsync, file.fileno()))

        yield send
        for sent in pending:
            sent.result()


def publish_bytes(
    path: Path, content: bytes | bytearray | memoryview, scratch: Path | None = None
) -> None:
    """Write `content` to `path`, all or nothing."""
    with publish(path, scratch) as file:
        file.write(content)


def nearest_existing(path: Path) -> Path:
    """Return a path, or of the folders above it the nearest that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def check_writable(out: Path) -> None:
    """Refuse early, and without touching it, a folder that is there or is to be made but cannot be written.

    Raises:
        DreamshardsError: it, or the nearest folder above it, is a file or not writable.
    """
    nearest = nearest_existing(out)
    if not nearest.is_dir():
        raise DreamshardsError(f"{nearest} is a file; give --out a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DreamshardsError(f"{nearest} is not writable; give --out another folder")


@contextmanager
def claimed(root: Path, work: str = "build") -> Iterator[None]:
    """Make a folder and hold it against a second writer on this machine, however this one ends.

    `work` is what is done there, for the message.

    Raises:
        DreamshardsError: another process holds it, or it cannot be made.
    """
    try:
        if not root.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            fsync_folder(root.absolute().parent)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise storage_error(root, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DreamshardsError(
            f"another {work} is at work in {root}; wait for it, or stop it and run this command again"
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> DreamshardsError:
    """Turn an operating-system error met while writing `path` into one clear line."""
    advice = {
        errno.ENOSPC: "free some space or choose another --out, then run the same command to go on",
        errno.EDQUOT: "free some quota or choose another --out, then run the same command to go on",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.EACCES: "no permission to write there; choose another folder",
        errno.EPERM: "no permission to write there; choose another folder",
        errno.ENOTDIR: "a part of this path is a file, not a folder; choose another folder",
    }.get(error.errno or 0, "nothing was left half-written; run the same command to go on")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DreamshardsError(f"cannot write {path}: {reason}; {advice}")
