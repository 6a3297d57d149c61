"""A store below a URI of an object store, through pyarrow.fs.

Owns connections, retries, and what is said of a request that failed.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from pipeline.publish import reserve
from pipeline.store.base import Bytes, Entry, MissingObjectError, Store, StoreError, Writing
from pipeline.store.local import short
from pipeline.store.settings import StoreSettings, public_uri

T = TypeVar("T")

_ATTEMPTS = 4
_FIRST_DELAY_S = 0.2
"""A failed request is tried again after about 0.2, 0.4, 0.8 s, each stretched by up to a half at random."""
_MAX_OPEN_FILES = 16
"""Objects kept open: opening one costs a request of its own."""


class RemoteStore(Store):
    """A root below a URI that pyarrow.fs knows, such as s3://bucket/prefix or gs://bucket/prefix.

    Reads are whole objects and large ranges, never streams: a stream of pyarrow is a request for every
    256 KiB. Clients are opened on first use in each process, so a store may be pickled and may be forked.
    """

    def __init__(self, uri: str, settings: StoreSettings | None = None) -> None:
        self.uri = uri
        self.settings = StoreSettings.of(uri) if settings is None else settings
        self._name = unquote(public_uri(uri)).rstrip("/")
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._client: tuple[Any, str] | None = None
        self._files: OrderedDict[str, Any] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.settings)

    def __str__(self) -> str:
        return self._name

    def address(self, path: str) -> str:
        """Return what an error calls an object."""
        return f"{self}/{path}"

    def below(self, folder: str) -> RemoteStore:
        """Return the store of a folder in this one, reached in the same way."""
        parts = urlsplit(self.uri)
        path = f"{parts.path.rstrip('/')}/{quote(folder)}"
        return RemoteStore(parts._replace(path=path).geturl(), self.settings)

    # ── reading ──

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        return self._info(path) is not None

    def entry(self, path: str) -> Entry:
        """Return what a listing says of one object."""
        info = self._info(path)
        if info is None:
            raise MissingObjectError(self.address(path), "no such object")
        return Entry(path, int(info.size), info.mtime_ns or 0)

    def _info(self, path: str) -> Any | None:
        def ask() -> Any | None:
            client, root = self._connect()
            info = client.get_file_info(f"{root}/{path}")
            return info if info.type == pyarrow.fs.FileType.File else None

        return self._persist(path, ask)

    def read(self, path: str) -> bytes:
        """Return a whole object, in one request."""

        def ask() -> bytes:
            with self._lock:
                self._files.pop(path, None)  # it may have been replaced since
            file = self._open(path)
            return _exactly(file, 0, file.size())

        return self._persist(path, ask)

    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on, in one request."""
        return self._persist(path, lambda: _exactly(self._open(path), start, num_bytes))

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every object below a folder, at any depth."""

        def ask() -> list[Entry]:
            client, root = self._connect()
            place = f"{root}/{folder}".rstrip("/")
            selector = pyarrow.fs.FileSelector(place, allow_not_found=True, recursive=True)
            return [
                Entry(info.path.removeprefix(f"{root}/"), info.size, info.mtime_ns or 0)
                for info in client.get_file_info(selector)
                if info.type == pyarrow.fs.FileType.File
            ]

        yield from self._persist(folder, ask)

    # ── writing ──

    @contextmanager
    def create(self, path: str) -> Iterator[Writing]:
        """Open an object for writing that takes its name only when the block ends without an exception."""
        with tempfile.TemporaryFile(prefix="dreamshards-") as file:
            yield _RemoteWriting(file)
            file.flush()
            num_bytes = file.tell()
            content = pa.memory_map(f"/proc/self/fd/{file.fileno()}") if num_bytes else None
            self._put(path, b"" if content is None else content.read_buffer())

    def write(self, path: str, content: Bytes) -> None:
        """Write a whole object, all or nothing."""
        self._put(path, content)

    def _put(self, path: str, content: Any) -> None:
        def ask() -> None:
            client, root = self._connect()
            with client.open_output_stream(f"{root}/{path}") as stream:
                stream.write(content)

        self._persist(path, ask)

    def delete(self, path: str) -> None:
        """Remove an object; do nothing where there is none."""

        def ask() -> None:
            client, root = self._connect()
            with suppress(FileNotFoundError):
                client.delete_file(f"{root}/{path}")

        self._persist(path, ask)

    # ── a build at work ──

    def claim(self, work: str = "build") -> nullcontext[None]:
        """Do nothing: two writers of the same bytes do no harm."""
        return nullcontext()

    def discard_unfinished(self) -> None:
        """Remove what writers that were killed left half-written."""

    def check_writable(self) -> None:
        """Refuse early, and without leaving anything, a root that cannot be written."""

    def free_bytes(self) -> int | None:
        """Return None: nobody knows."""
        return None

    # ── requests ──

    def _connect(self) -> tuple[Any, str]:
        if self._process != os.getpid():  # the client of a parent process must not be used
            self._forget()
        with self._lock:
            if self._client is None:
                self._client = _client(self.uri, self.settings)
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


class _RemoteWriting:
    """A nameless file on this node, sent when it is whole; gone with its process, however that ends."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.write, self.tell = file.write, file.tell

    def reserve(self, num_bytes: int) -> None:
        reserve(self._file, num_bytes)

    def send(self) -> None:
        """Do nothing: it is sent when it is whole."""


def _client(uri: str, settings: StoreSettings) -> tuple[Any, str]:
    """Return a file system of pyarrow, and the path of the URI in it."""
    parts = urlsplit(uri)
    if parts.scheme != "s3":
        client, root = pyarrow.fs.FileSystem.from_uri(uri)
        return client, root.rstrip("/")
    if settings.checksums:  # the client knows it from the environment alone
        os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = settings.checksums
    options: dict[str, Any] = {"allow_delayed_open": True}
    if settings.endpoint:
        scheme, _, host = settings.endpoint.partition("://")
        options |= {"scheme": scheme, "endpoint_override": host.rstrip("/")}
    if settings.access_key:
        options |= {"access_key": settings.access_key, "secret_key": settings.secret_key}
        options |= {"session_token": settings.session_token}
    if settings.region:
        options["region"] = settings.region
    bucket = unquote(parts.netloc.rpartition("@")[2])
    return pyarrow.fs.S3FileSystem(**options), f"{bucket}{unquote(parts.path)}".rstrip("/")


def _exactly(file: Any, start: int, num_bytes: int) -> bytes:
    content: bytes = file.read_at(num_bytes, start)
    if len(content) != num_bytes:
        raise OSError(short(start, num_bytes, len(content)))
    return content
