"""Pieces of a remote root kept in a local folder, limited in bytes; shared by any number of processes.

An entry is named by the root's digest, the tar and the range, and ends in a CRC-32, so that neither another
root's nor a damaged one is ever served. It may be deleted at any time. While it is fetched it is a file with
a dot before its name, locked by its maker: others wait for it, and if the maker is killed the lock is gone.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isal import isal_zlib

from pipeline.errors import DreamshardsError
from pipeline.shards.dataset import Json
from pipeline.store import LocalStore, Store

_CRC_BYTES = 4
_COUNT_NAME = ".bytes"
"""Holds how many bytes the folder has, in 16 digits; its lock guards them and what is removed."""
_COUNT_BYTES = 16
_MOST_CANDIDATES = 4096
"""Oldest entries that a process remembers from a listing, to be removed one by one without another."""
_WAIT_S = 60.0
"""How long to wait for another process that fetches the same; then it is fetched here too."""
_FIRST_POLL_S, _LAST_POLL_S = 0.002, 0.1


class RangeCache:
    """A folder of at most `max_bytes`; when it would hold more, the least recently used entries go.

    The sizes of all files in it never add up to more, however many processes use it with that limit.
    """

    def __init__(self, folder: Path, max_bytes: int, root_digest: str) -> None:
        self._folder, self._max_bytes, self._digest = folder, max_bytes, root_digest
        self._candidates: deque[tuple[int, Path]] = deque()  # (when used, path), oldest first
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink(missing_ok=True)  # another user may have cleared it away
        except OSError as error:
            raise DreamshardsError(
                f"cache_dir {folder}: {error.strerror}; choose a folder that can be written"
            ) from error

    def _path(self, file: str, start: int, num_bytes: int) -> Path:
        return self._folder / f"{self._digest}-{file.replace('/', '.')}-{start}-{num_bytes}"

    def fetch(
        self, file: str, start: int, num_bytes: int, ask: Callable[[], bytes]
    ) -> bytes | memoryview:
        """Return a range: the one held, or what `ask` returns, which is then kept if it fits.

        While another thread or process fetches the same, this waits for it. A folder that cannot be written
        any more, such as on a full disk, is worth one warning, not an end.
        """
        held = self.get(file, start, num_bytes)
        if held is not None:
            return held
        path = self._path(file, start, num_bytes)
        with self._turn(path) as making:
            if making is None:
                return ask()
            held = self.get(file, start, num_bytes)  # another may have brought it meanwhile
            if held is not None:
                return held
            content = ask()
            self._keep(making, path, content)
            return content

    def get(self, file: str, start: int, num_bytes: int) -> memoryview | None:
        """Return a range if it is held whole, else None."""
        path = self._path(file, start, num_bytes)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        content = memoryview(stored)[:num_bytes]
        if len(stored) == num_bytes + _CRC_BYTES and _crc(content) == stored[num_bytes:]:
            with suppress(OSError):
                os.utime(path)
            return content
        self.discard(file, start, num_bytes)
        return None

    def discard(self, file: str, start: int, num_bytes: int) -> None:
        """Remove a range, held or not."""
        with suppress(OSError):
            self._path(file, start, num_bytes).unlink()

    # ── making an entry ──

    @contextmanager
    def _turn(self, path: Path) -> Iterator[int | None]:
        """Hold the right to make an entry: a locked descriptor of its file, or None to do without."""
        temporary = path.with_name(f".{path.name}")
        try:
            making = _locked(temporary, time.monotonic() + _WAIT_S)
        except OSError as error:
            self._warn(error)
            making = None
        try:
            yield making
        finally:
            if making is not None:
                with suppress(OSError):  # it is gone where it became the entry
                    temporary.unlink()
                _release(making)

    def _keep(self, making: int, path: Path, content: bytes | memoryview) -> None:
        """Fill the file of a turn and give it its name, if there is room."""
        try:
            if not self._reserve(making, len(content) + _CRC_BYTES):
                return
            for part in (content, _crc(content)):
                rest = memoryview(part)
                while len(rest):
                    rest = rest[os.write(making, rest) :]
            with self._counter() as counter:  # a listing meanwhile could see neither name
                if counter is not None:
                    path.with_name(f".{path.name}").rename(path)
        except OSError as error:
            with suppress(OSError):  # no longer right: the next one lists the folder
                os.truncate(self._folder / _COUNT_NAME, 0)
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"cache_dir {self._folder}: {error.strerror}; reading on", stacklevel=2)

    # ── the limit ──

    def _reserve(self, making: int, size: int) -> bool:
        """Give a file its size, once enough others are gone; tell whether there is room."""
        if size + _COUNT_BYTES > self._max_bytes:
            return False
        with self._counter() as counter:
            if counter is None:
                return False
            text = os.pread(counter, _COUNT_BYTES, 0)
            total = int(text) if text.isdigit() else self._list()
            if total + size > self._max_bytes:
                total = self._make_room(total, size)
            if total + size > self._max_bytes:
                return False
            # before the file has its size: if this process is killed between, it is too much, not too little
            os.pwrite(counter, b"%016d" % (total + size), 0)
            os.ftruncate(making, size)
            return True

    @contextmanager
    def _counter(self) -> Iterator[int | None]:
        """Hold what counts the bytes: its locked descriptor, None if another process keeps it too long."""
        counter = _locked(self._folder / _COUNT_NAME, time.monotonic() + _WAIT_S)
        try:
            yield counter
        finally:
            if counter is not None:
                _release(counter)

    def _make_room(self, total: int, size: int) -> int:
        """Remove what was used longest ago until `size` more fit; return what is left."""
        listed = False
        while total + size > self._max_bytes:
            if not self._candidates:
                if listed:
                    break
                total, listed = self._list(), True
                continue
            used, path = self._candidates.popleft()
            with suppress(FileNotFoundError):  # another process removed it, or a person
                status = path.stat()
                if status.st_mtime_ns == used:
                    path.unlink()
                    total -= status.st_size
        return total

    def _list(self) -> int:
        """Remember the oldest entries, remove what killed processes left; return the bytes of all files."""
        total, entries = _COUNT_BYTES, []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                if entry.name == _COUNT_NAME:
                    continue
                status = entry.stat()
                if not entry.name.startswith("."):
                    entries.append((status.st_mtime_ns, Path(entry.path)))
                elif _abandoned(entry.path):
                    Path(entry.path).unlink()
                    continue
                total += status.st_size
        self._candidates = deque(heapq.nsmallest(_MOST_CANDIDATES, entries))
        return total


def _locked(path: Path, deadline: float) -> int | None:
    """Return a locked descriptor of a file, made if need be; None where another holds it too long."""
    delay = _FIRST_POLL_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if _try_lock(descriptor):
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            _release(descriptor)  # it was renamed or removed meanwhile
            continue
        os.close(descriptor)
        if time.monotonic() > deadline:
            return None
        time.sleep(delay)
        delay = min(2 * delay, _LAST_POLL_S)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        os.close(descriptor)
        raise
    return True


def _release(descriptor: int) -> None:
    """Unlock and close a file; only to close it leaves it locked by processes forked meanwhile."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _abandoned(path: str) -> bool:
    """Tell whether nobody holds the lock of an unfinished file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if _try_lock(descriptor):
        _release(descriptor)
        return True
    os.close(descriptor)
    return False


def _crc(content: bytes | memoryview) -> bytes:
    return int(isal_zlib.crc32(content)).to_bytes(_CRC_BYTES, "little")


def open_cache(
    store: Store,
    dataset: Json,
    folder: str | os.PathLike[str] | None,
    num_bytes: int | None,
) -> RangeCache | None:
    """Return the cache of a root that was asked for, or None.

    Raises:
        DreamshardsError: folder or limit is missing, the folder cannot be written, or the root is local.
    """
    if folder is None and num_bytes is None:
        return None
    if isinstance(store, LocalStore):
        raise DreamshardsError(
            "cache_dir: a local root needs none; leave out cache_dir and cache_bytes"
        )
    if folder is None or num_bytes is None or num_bytes < 1:
        raise DreamshardsError(
            f"cache_dir = {folder!r}, cache_bytes = {num_bytes!r}; give both, the limit from 1 byte"
        )
    return RangeCache(Path(folder), num_bytes, dataset["digest"])
