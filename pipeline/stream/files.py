"""The tars of a local epoch, open for reading: mapped, or read by range. Owns descriptors and mappings."""

from __future__ import annotations

import errno
import mmap
import os
import resource
from collections import OrderedDict
from pathlib import Path

import numpy as np

from pipeline.errors import DreamshardsError
from pipeline.store import LocalStore
from pipeline.stream.index import I64, EpochIndex


class TarFile:
    """One tar open for reading; closed once nothing refers to it, so that threads may share it."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        self.path, self.num_bytes = path, num_bytes
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            advice = "; raise the limit with `ulimit -n`" if error.errno == errno.EMFILE else ""
            raise DreamshardsError(f"{path}: {error.strerror}{advice}") from error
        self._mapping: mmap.mmap | None = None
        self.check_size()

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def check_size(self) -> None:
        """Compare the file's size with dataset.json.

        Raises:
            DreamshardsError: it differs.
        """
        found = os.fstat(self.descriptor).st_size
        if found != self.num_bytes:
            kind = "truncated" if found < self.num_bytes else "altered"
            raise DreamshardsError(
                f"{self.path}: {found:,} bytes, dataset.json says {self.num_bytes:,}; the tar is {kind}"
            )

    def content(self) -> mmap.mmap:
        """Return the whole tar as a read-only mapping.

        Reading what was cut off since raises SIGBUS, which ends the process: check the size right before.
        """
        if self._mapping is None:
            try:
                self._mapping = mmap.mmap(self.descriptor, self.num_bytes, prot=mmap.PROT_READ)
            except OSError as error:
                raise DreamshardsError(
                    f"{self.path}: cannot be mapped: {error.strerror}"
                ) from error
        return self._mapping

    def read(self, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes from byte `start` on.

        Raises:
            DreamshardsError: the file cannot be read, or has become shorter.
        """
        try:
            content = os.pread(self.descriptor, num_bytes, start)
            while 0 < len(content) < num_bytes:
                more = os.pread(self.descriptor, num_bytes - len(content), start + len(content))
                if not more:
                    break
                content += more
        except OSError as error:
            raise DreamshardsError(f"{self.path}: {error.strerror}") from error
        if len(content) != num_bytes:
            raise DreamshardsError(
                f"{self.path}: ends after {len(content)} of {num_bytes} bytes; the tar is truncated"
            )
        return content


class EpochFiles:
    """The tars of one epoch, each opened on first use; the least recently opened is let go of.

    Attributes:
        table: int64 [num_shards, 3], what `gather` takes: the addresses of the mapped ones.
    """

    def __init__(self, store: LocalStore, index: EpochIndex) -> None:
        self._store, self._index = store, index
        self._open: OrderedDict[int, TarFile] = OrderedDict()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(1, min(limit, 1 << 14) // 4)  # a mapping holds a second descriptor
        self.table: I64 = np.zeros((len(index.shards), 3), np.int64)

    def get(self, shard: int) -> TarFile:
        """Return the tar of a shard.

        Raises:
            DreamshardsError: it is missing, or its size is not what dataset.json says.
        """
        file = self._open.get(shard)
        if file is None:
            path = self._store.folder / self._index.shards[shard].tar
            file = TarFile(path, int(self._index.shard_bytes[shard]))
            self._open[shard] = file
            while len(self._open) > self._most:
                dropped, _ = self._open.popitem(last=False)
                self.table[dropped] = 0
        return file

    def map(self, shard: int, file: TarFile) -> None:
        """Map a tar and enter it in the table."""
        address = np.frombuffer(file.content(), np.uint8).ctypes.data
        self.table[shard] = address, file.descriptor, file.num_bytes
        self._open[shard] = file
