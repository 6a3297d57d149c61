"""The read side of a root: whole objects and byte ranges, from a local folder or an object store.

Owns addresses, retries, and what is said of a read that failed. Knows nothing of the content.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from pipeline.errors import DreamshardsError

T = TypeVar("T")

_ATTEMPTS = 4
_FIRST_DELAY_S = 0.2
"""A failed read is tried again after about 0.2, 0.4 and 0.8 s, each stretched by up to a half at random."""
_MAX_OPEN_FILES = 16
"""Objects kept open: opening one costs a request of its own."""


class StoreError(DreamshardsError):
    """An object could not be read; `reason` says why, without its address."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address, self.reason = address, reason

    def __reduce__(self) -> tuple[Any, ...]:  # so that it passes between processes
        return type(self), (self.address, self.reason)


class MissingObjectError(StoreError):
    """There is no object of this name."""


class LocalStore:
    """A root in a folder. Paths are relative to it, with `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def address(self, path: str) -> str:
        """Return what an error calls an object."""
        return str(self.folder / path)

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        return (self.folder / path).exists()

    def read(self, path: str) -> bytes:
        """Return a whole object.

        Raises:
            MissingObjectError: there is none.
            StoreError: it cannot be read.
        """
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingObjectError(self.address(path), str(error.strerror)) from error
        except OSError as error:
            raise StoreError(self.address(path), str(error.strerror)) from error

    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on.

        Raises:
            MissingObjectError: there is no such object.
            StoreError: it cannot be read, or ends before.
        """
        try:
            with (self.folder / path).open("rb") as file:
                file.seek(start)
                content = file.read(num_bytes)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingObjectError(self.address(path), str(error.strerror)) from error
        except OSError as error:
            raise StoreError(self.address(path), str(error.strerror)) from error
        if len(content) != num_bytes:
            raise StoreError(self.address(path), _short(start, num_bytes, len(content)))
        return content


class RemoteStore:
    """A root below a URI that pyarrow.fs knows, such as s3://bucket/prefix?region=… or gs://bucket/prefix.

    Reads are whole objects and large ranges, never streams: a stream of pyarrow is a request for every
    256 KiB. Clients are opened on first use in each process, so a store may be pickled and may be forked.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        self._name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._client: tuple[Any, str] | None = None
        self._files: OrderedDict[str, Any] = OrderedDict()

    def __getstate__(self) -> str:
        return self.uri

    def __setstate__(self, uri: str) -> None:
        self.__init__(uri)  # type: ignore[misc]

    def __str__(self) -> str:
        return self._name.rstrip("/")  # without the user, password and options of the URI

    def address(self, path: str) -> str:
        """Return what an error calls an object."""
        return f"{self}/{path}"

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object.

        Raises:
            StoreError: the store does not answer.
        """

        def ask() -> bool:
            client, root = self._connect()
            kind = client.get_file_info(f"{root}/{path}").type
            return bool(kind == pyarrow.fs.FileType.File)

        return self._persist(path, ask)

    def read(self, path: str) -> bytes:
        """Return a whole object, in one request.

        Raises:
            MissingObjectError: there is none.
            StoreError: it cannot be read, after some attempts.
        """

        def ask() -> bytes:
            file = self._open(path)
            return _exactly(file, 0, file.size())

        return self._persist(path, ask)

    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on, in one request.

        Raises:
            MissingObjectError: there is no such object.
            StoreError: it cannot be read, or ends before, after some attempts.
        """
        return self._persist(path, lambda: _exactly(self._open(path), start, num_bytes))

    def _connect(self) -> tuple[Any, str]:
        if self._process != os.getpid():  # the client of a parent process must not be used
            self._forget()
        with self._lock:
            if self._client is None:
                client, root = pyarrow.fs.FileSystem.from_uri(self.uri)
                self._client = client, root.rstrip("/")
            return self._client

    def _open(self, path: str) -> Any:
        client, root = self._connect()
        with self._lock:
            if path in self._files:
                self._files.move_to_end(path)
                return self._files[path]
        file = client.open_input_file(f"{root}/{path}")
        with self._lock:
            self._files[path] = file
            if len(self._files) > _MAX_OPEN_FILES:
                self._files.popitem(last=False)  # closed once its last reader is done
        return file

    def _persist(self, path: str, ask: Callable[[], T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return ask()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise MissingObjectError(self.address(path), "no such object") from error
            except (OSError, pa.ArrowException) as error:
                with self._lock:
                    self._files.pop(path, None)
                if attempt == _ATTEMPTS - 1 or isinstance(error, pa.ArrowInvalid):
                    reason = " ".join(str(error).split())
                    raise StoreError(
                        self.address(path), f"{reason} (tried {attempt + 1} times)"
                    ) from error
                time.sleep(_FIRST_DELAY_S * 2**attempt * random.uniform(1, 1.5))
        raise AssertionError


Store = LocalStore | RemoteStore
Root = str | os.PathLike[str] | Store
"""What names a root: a path, a URI or a store."""


def open_store(root: Root) -> Store:
    """Return the store of a path or URI.

    Raises:
        DreamshardsError: the scheme of a URI is not supported.
    """
    if isinstance(root, (LocalStore, RemoteStore)):
        return root
    text = os.fspath(root)
    parts = urlsplit(text)
    if isinstance(root, os.PathLike) or "://" not in text:
        return LocalStore(Path(text))
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme not in ("s3", "gs", "gcs", "abfs", "abfss", "hdfs"):
        raise DreamshardsError(
            f"{parts.scheme}://…: no such kind of store; allowed: a path, or a URI of "
            "file, s3, gs, abfs or hdfs"
        )
    return RemoteStore(text)


def _exactly(file: Any, start: int, num_bytes: int) -> bytes:
    content: bytes = file.read_at(num_bytes, start)
    if len(content) != num_bytes:
        raise OSError(_short(start, num_bytes, len(content)))
    return content


def _short(start: int, num_bytes: int, found: int) -> str:
    return (
        f"ends after {found} of the {num_bytes} bytes from byte {start} on; the object is truncated"
    )
