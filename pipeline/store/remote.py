"""A store below a URI: what every kind of object store has in common.

Owns names, pieces of large reads, the file on this node that a large object is written into first, and what
is checked before and after. How one request is made is up to the kind of store.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import tempfile
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pipeline.publish import reserve
from pipeline.store.base import (
    PIECE_BYTES,
    Bytes,
    Entry,
    MissingObjectError,
    SpoolError,
    Store,
    StoreError,
    Writing,
)
from pipeline.store.local import short
from pipeline.store.retry import Fault, Retry
from pipeline.store.settings import StoreSettings, public_text

T = TypeVar("T")

_REQUESTS_AT_ONCE = 4
"""Of one large read; each is begun again where it was cut."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Version(NamedTuple):
    """Which content an object has: its size in bytes, and a mark that changes with the content."""

    num_bytes: int
    mark: str


class RemoteStore(Store):
    """A root below a URI of an object store.

    Clients are opened on first use in each process, so a store may be pickled and may be forked.
    """

    def __init__(self, uri: str, settings: StoreSettings | None = None) -> None:
        """Take the URI apart; nothing is asked.

        Raises:
            UsageError: it has no bucket, or a setting is not allowed.
        """
        self.settings = StoreSettings.of(uri) if settings is None else settings
        self.uri = uri
        parts = urlsplit(uri)
        self.bucket = unquote(parts.netloc.rpartition("@")[2])
        self.prefix = unquote(parts.path).strip("/")
        self._name = unquote(public_text(uri)).rstrip("/")
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._client: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._retry = Retry(self.judge, self.settings.patience_s)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.settings)

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def address(self, path: str) -> str:
        """Return what an error calls an object."""
        return f"{self}/{path}" if path else str(self)

    def below(self, folder: str) -> RemoteStore:
        """Return the store of a folder in this one, reached in the same way."""
        parts = urlsplit(self.uri)
        path = f"{parts.path.rstrip('/')}/{quote(folder)}"
        return type(self)(parts._replace(path=path).geturl(), self.settings)

    def removal(self) -> str:
        """Return the command that removes every object, of S3; else what to remove."""
        return (
            f"aws s3 rm --recursive {self}" if str(self).startswith("s3:") else f"all below {self}"
        )

    # ── one request each, made once ──

    @abstractmethod
    def open_client(self) -> Any:
        """Return a new client."""

    @abstractmethod
    def judge(self, error: Exception) -> Fault | None:
        """Say what a failed request means; None if the exception is not a request's."""

    @abstractmethod
    def ask_version(self, path: str) -> Version | None:
        """Return an object's size and mark, None where there is none."""

    @abstractmethod
    def ask_entry(self, path: str) -> Entry | None:
        """Return what a listing says of an object, None where there is none."""

    @abstractmethod
    def ask_bytes(self, path: str, piece: Piece) -> None:
        """Fill a piece from its first byte that is lacking on, as far as one request goes."""

    @abstractmethod
    def ask_write(self, path: str, content: Bytes) -> None:
        """Write a small object."""

    @abstractmethod
    def ask_delete(self, path: str) -> None:
        """Remove an object."""

    @abstractmethod
    def upload(self, path: str, file: BinaryIO) -> Upload:
        """Return what sends a large object out of `file`."""

    # ── reading ──

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        return self.version(path) is not None

    def entry(self, path: str) -> Entry:
        """Return what a listing says of one object."""
        found = self.persist(path, lambda: self.ask_entry(path))
        if found is None:
            raise MissingObjectError(self.address(path), "no such object")
        return found

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        found = self.version(path)
        if found is None:
            raise MissingObjectError(self.address(path), "no such object")
        return found.num_bytes

    def version(self, path: str) -> Version | None:
        """Return an object's size and mark, None where there is none.

        Raises:
            StoreError: the store does not answer.
        """
        return self.persist(path, lambda: self.ask_version(path))

    def read(self, path: str) -> bytes:
        """Return a whole object, in one request if it is of up to 16 MiB."""
        return self._read(path, Reading(self.address(path), 0, None))

    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on, in one request if up to 16 MiB."""
        if num_bytes == 0:
            if start > (size := self.size(path)):
                raise StoreError(self.address(path), short(start, 0, size - start))
            return b""
        return self._read(path, Reading(self.address(path), start, num_bytes))

    def _read(self, path: str, reading: Reading) -> bytes:
        pieces = reading.pieces()
        if reading.num_bytes is None:  # how long it is, its first piece tells
            self._fetch(path, pieces[0])
            pieces = reading.pieces()[1:]
        if len(pieces) == 1:
            self._fetch(path, pieces[0])
        elif pieces:
            list(self._threads().map(lambda piece: self._fetch(path, piece), pieces))
        return reading.content()

    def _fetch(self, path: str, piece: Piece) -> None:
        def ask() -> None:
            while not piece.is_whole:
                self.ask_bytes(path, piece)

        self.persist(path, ask, lambda: piece.done)

    def _threads(self) -> ThreadPoolExecutor:
        self.client()  # so that a parent process's are not used
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "dreamshards-store")
            return self._pool

    # ── writing ──

    @contextmanager
    def create(self, path: str) -> Iterator[Writing]:
        """Open an object for writing that takes its name only when the block ends without an exception.

        It is written into a file without a name on this node, from which whatever fails is sent again; large
        ones are sent part by part while they are made.
        """
        with _spool() as file:
            upload = self.upload(path, file)
            try:
                writing = _RemoteWriting(file, upload)
                yield writing
                num_bytes = writing.flushed()
                if self.holds(path, file, num_bytes):
                    upload.abandon()
                else:
                    upload.finish(num_bytes)
            except BaseException:
                upload.abandon()
                raise

    def write(self, path: str, content: Bytes) -> None:
        """Write a whole object, all or nothing."""
        if len(content) > PIECE_BYTES:
            with self.create(path) as file:
                file.write(content)
        else:
            self.persist(path, lambda: self.ask_write(path, content))

    def delete(self, path: str) -> None:
        """Remove an object; do nothing where there is none."""
        self.persist(path, lambda: self.ask_delete(path))

    def holds(self, path: str, file: BinaryIO, num_bytes: int) -> bool:
        """Tell whether an object is there already with the content of a file."""
        found = self.version(path)
        if found is None or found.num_bytes != num_bytes:
            return False
        return all(
            self.read_range(path, start, min(PIECE_BYTES, num_bytes - start))
            == os.pread(file.fileno(), PIECE_BYTES, start)
            for start in range(0, num_bytes, PIECE_BYTES)
        )

    def check_size(self, path: str, num_bytes: int) -> None:
        """Compare what the store keeps with what it was sent: some keep the framing of checksums too.

        Raises:
            StoreError: it differs.
        """
        found = self.version(path)
        if found is None or found.num_bytes != num_bytes:
            kept = "nothing" if found is None else f"{found.num_bytes:,} bytes"
            self.persist(path, lambda: self.ask_delete(path))
            raise StoreError(
                self.address(path),
                f"the store was sent {num_bytes:,} bytes and kept {kept}, which were removed; "
                "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required, or store.checksums in the recipe",
            )

    # ── a build at work ──

    def claim(self, work: str = "build") -> nullcontext[None]:
        """Do nothing: two writers of the same bytes do no harm."""
        return nullcontext()

    def free_bytes(self) -> int | None:
        """Return None: nobody knows."""
        return None

    # ── requests ──

    def client(self) -> Any:
        """Return the client of this process."""
        if self._process != os.getpid():  # that of a parent process must not be used
            self._forget()
        with self._lock:
            if self._client is None:
                self._client = self.open_client()
            return self._client

    def persist(self, path: str, ask: Callable[[], T], moved: Callable[[], int] = lambda: 0) -> T:
        """Return what a request returns, made again while its failures may pass; `path` is for the message.

        Raises:
            StoreError: it failed for good, or for longer than the store is waited for.
        """
        self.client()
        return self._retry(self.address(path), ask, moved)

    def key(self, path: str) -> str:
        """Return an object's name in its bucket."""
        return f"{self.prefix}/{path}" if self.prefix and path else self.prefix or path


# ── reading in pieces ──


class Reading:
    """The bytes of an object that are asked for: one buffer, filled by pieces, all of one version."""

    def __init__(self, address: str, start: int, num_bytes: int | None) -> None:
        """Take what is asked for; `num_bytes` None is up to the end."""
        self._address, self._start, self.num_bytes = address, start, num_bytes
        self._version: Version | None = None
        self._lock = threading.Lock()
        self._buffer: io.BytesIO | None = None
        self.view = memoryview(b"")

    def pieces(self) -> list[Piece]:
        """Return the pieces it is fetched in; of an object of unknown size the first."""
        total = PIECE_BYTES if self.num_bytes is None else self.num_bytes
        return [
            Piece(self, start, min(start + PIECE_BYTES, total))
            for start in range(0, total, PIECE_BYTES)
        ]

    def meet(self, version: Version) -> None:
        """Take note of the version that a request is answered with, before any of its bytes.

        Raises:
            StoreError: another one than that of an earlier request, or it is too short.
        """
        with self._lock:
            if self._version is None:
                self._allocate(version)
            elif version != self._version:
                raise StoreError(
                    self._address,
                    f"changed while it was read: {self._version.num_bytes:,} bytes of version "
                    f"{self._version.mark}, then {version.num_bytes:,} of {version.mark}",
                )

    def _allocate(self, version: Version) -> None:
        there = max(0, version.num_bytes - self._start)
        if self.num_bytes is None:
            self.num_bytes = there
        if there < self.num_bytes:
            raise StoreError(self._address, short(self._start, self.num_bytes, there))
        self._buffer = io.BytesIO(bytes(self.num_bytes))  # gives its bytes away without a copy
        self.view, self._version = self._buffer.getbuffer(), version

    @property
    def start(self) -> int:
        """The first byte of the object that is asked for."""
        return self._start

    def content(self) -> bytes:
        """Return all bytes; only once every piece is whole."""
        self.view.release()
        return b"" if self._buffer is None else self._buffer.getvalue()


@dataclass
class Piece:
    """A part of a reading, of bytes [first, last) from its start, fetched by one request after another.

    Attributes:
        done: how many of its bytes have arrived.
        step: how many bytes to ask for at a time where what a failed step brought is lost, 0 as many as
            the store likes; fewer after a failure.
    """

    reading: Reading
    first: int
    last: int
    done: int = 0
    step: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lacking."""
        total = self.reading.num_bytes
        last = self.last if total is None else min(self.last, total)
        return total is not None and self.first + self.done >= last

    @property
    def span(self) -> tuple[int, int]:
        """The bytes [start, stop) of the object that are lacking; beyond its end where that is unknown."""
        start = self.reading.start
        return start + self.first + self.done, start + self.last

    def room(self, most: int) -> memoryview:
        """Return where the next bytes go, of up to `most`."""
        begin = self.first + self.done
        last = min(self.last, len(self.reading.view))
        return self.reading.view[begin : min(last, begin + most)]


# ── writing through a file ──


class Upload(Protocol):
    """Sends one object, out of the file that it is written into."""

    def expect(self, num_bytes: int) -> None:
        """Say how long it will be, if that is known before the first byte."""
        ...

    def advance(self, num_bytes: int) -> None:
        """Say that the file holds so many bytes now; return at once."""
        ...

    def finish(self, num_bytes: int) -> None:
        """Send what is left, give the object its name, and check that it is what was sent.

        Raises:
            StoreError: it cannot be sent.
        """
        ...

    def abandon(self) -> None:
        """Leave nothing behind in the store."""
        ...


class _RemoteWriting:
    """A nameless file on this node; gone with its process, however that ends."""

    def __init__(self, file: BinaryIO, upload: Upload) -> None:
        self._file, self._upload = file, upload
        self.tell = file.tell

    def write(self, content: Any, /) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            raise _no_room(error) from error

    def reserve(self, num_bytes: int) -> None:
        try:
            reserve(self._file, num_bytes)
        except OSError as error:
            raise _no_room(error) from error
        self._upload.expect(num_bytes)

    def flushed(self) -> int:
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error
        return self._file.tell()

    def send(self) -> None:
        self._upload.advance(self.flushed())


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    try:
        file = tempfile.TemporaryFile(prefix="dreamshards-")  # noqa: SIM115
    except OSError as error:
        raise _no_room(error) from error
    try:
        yield file
    finally:
        with suppress(OSError):  # what could not be written was told when it was
            file.close()


def _no_room(error: OSError) -> SpoolError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = "free some space there" if error.errno in _NO_ROOM else "make it writable"
    return SpoolError(
        f"node {socket.gethostname()} cannot write its temporary folder {tempfile.gettempdir()}: {reason}; "
        f"{advice}, or set TMPDIR to another folder of that node"
    )
