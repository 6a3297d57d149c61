"""Byte ranges of a remote root kept in a local folder, limited in bytes; shared by any number of processes.

Entries are named by the root's digest, the shard and the range, written under another name and renamed,
and end in a CRC-32, so that a damaged one is never served. They may be deleted at any time.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import warnings
from contextlib import suppress
from pathlib import Path

from isal import isal_zlib

from pipeline.errors import DreamshardsError

_CRC_BYTES = 4
_ABANDONED_S = 3600
"""Age at which an unfinished file is that of a process which died."""


class RangeCache:
    """A folder of at most `max_bytes`; when it would hold more, the least recently used entries go.

    Each process counts what it adds and lists the folder when the limit may be met or after every 1/32 of
    it: P processes writing at once may pass the limit by P/32 of it until one of them lists again.
    """

    def __init__(self, folder: Path, max_bytes: int, root_digest: str) -> None:
        self._folder, self._max_bytes, self._digest = folder, max_bytes, root_digest
        self._known = (
            max_bytes  # of all entries, so far as this process knows; it lists the folder first
        )
        self._added = 0
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise DreamshardsError(
                f"cache_dir {folder}: {error.strerror}; choose a folder that can be written"
            ) from error

    def _path(self, file: str, start: int, num_bytes: int) -> Path:
        return self._folder / f"{self._digest}-{file.replace('/', '.')}-{start}-{num_bytes}"

    def get(self, file: str, start: int, num_bytes: int) -> bytes | None:
        """Return a range if it is held whole, else None."""
        path = self._path(file, start, num_bytes)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        content, crc = stored[:num_bytes], stored[num_bytes:]
        if len(crc) == _CRC_BYTES and _crc(content) == crc:
            with suppress(OSError):
                os.utime(path)
            return content
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, file: str, start: int, content: bytes) -> None:
        """Keep a range, if it fits; a disk that is full is worth a warning, not an end."""
        size = len(content) + _CRC_BYTES
        if size > self._max_bytes:
            return
        path = self._path(file, start, len(content))
        temporary = self._folder / f".{path.name}.{uuid.uuid4().hex}"
        try:
            with self._lock:
                if self._known + size > self._max_bytes or self._added > self._max_bytes // 32:
                    self._make_room(size)
                self._known += size
                self._added += size
            with temporary.open("xb") as target:
                target.write(content)
                target.write(_crc(content))
            temporary.replace(path)
        except OSError as error:
            warnings.warn(f"cache_dir {self._folder}: {error.strerror}; reading on", stacklevel=2)
            with suppress(OSError):
                temporary.unlink()

    def _make_room(self, size: int) -> None:
        entries = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # another process may evict too
                status = entry.stat()
                abandoned = status.st_mtime < time.time() - _ABANDONED_S
                if entry.name.startswith(".") and not abandoned:
                    size += status.st_size
                else:
                    kept = 0 if entry.name.startswith(".") else status.st_mtime_ns
                    entries.append((kept, entry.path, status.st_size))
        total = sum(num_bytes for *_, num_bytes in entries)
        for used, path, num_bytes in sorted(entries):
            if total + size <= self._max_bytes and used:
                break
            with suppress(FileNotFoundError):
                Path(path).unlink()
            total -= num_bytes
        self._known, self._added = total, 0


def _crc(content: bytes) -> bytes:
    return int(isal_zlib.crc32(content)).to_bytes(_CRC_BYTES, "little")
