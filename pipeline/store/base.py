"""What a store is to the rest of the pipeline, and the errors it raises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from pipeline.errors import DreamshardsError, PassingFault

Bytes = bytes | bytearray | memoryview

PIECE_BYTES = 16 << 20
"""A larger read is made of requests of this size; so much is held at once where a whole object passes by."""


class StoreError(DreamshardsError):
    """An object could not be read or written; `reason` says why, without its address."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address, self.reason = address, reason

    def __reduce__(self) -> tuple[Any, ...]:  # so that it passes between processes
        return type(self), (self.address, self.reason)


class MissingObjectError(StoreError):
    """There is no object of this name."""


class UnreachableError(StoreError, PassingFault):
    """A store did not answer, or answered that it cannot now, for as long as it was waited for."""


class SpoolError(PassingFault):
    """A node has no room for what it is about to send."""


class Entry(NamedTuple):
    """One object of a listing.

    Attributes:
        path: below the store, with `/`.
        num_bytes: its size.
        modified_ns: when it was last written, in nanoseconds since 1970, by the store's clock.
    """

    path: str
    num_bytes: int
    modified_ns: int


def stays_below(path: str) -> bool:
    """Tell whether a relative path, with `/`, could be that of a file below a folder, and of no other."""
    return not {"", ".", ".."}.intersection(path.split("/")) and "\0" not in path


class Leftover(NamedTuple):
    """What a writer left half-written, or is writing now: it has no name yet, but takes up room.

    Attributes:
        path: of the object it was to be, below the store; of a local file, the file it is in.
        begun_ns: when it was begun or last written, in nanoseconds since 1970.
        token: what the store knows it by.
    """

    path: str
    begun_ns: int
    token: str


class Writing(Protocol):
    """An object being written, from its first byte to its last."""

    def write(self, content: Any, /) -> int:
        """Add bytes, or an array of them."""
        ...

    def tell(self) -> int:
        """Return how many bytes were written."""
        ...

    def reserve(self, num_bytes: int) -> None:
        """Say how long it will be, before the first byte: room that is lacking is then known at once.

        Raises:
            OSError: there is no room.
        """
        ...

    def send(self) -> None:
        """Start to move what was written to where it will lie, and return at once."""
        ...


class Store(ABC):
    """A tree of objects. Paths are relative to it, with `/`.

    A store may be pickled, which does not connect it, and used by any number of threads. Its `str` is what a
    person calls it, without credentials and options.
    """

    @abstractmethod
    def address(self, path: str) -> str:
        """Return what an error calls an object."""

    @abstractmethod
    def below(self, folder: str) -> Store:
        """Return the store of a folder in this one."""

    def absolute(self) -> Store:
        """Return the same store for processes whose working folder may be another."""
        return self

    @abstractmethod
    def removal(self) -> str:
        """Return the command that removes all of it, or, where none is known, what to remove."""

    # ── reading ──

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Tell whether there is such an object.

        Raises:
            StoreError: the store does not answer.
        """

    @abstractmethod
    def entry(self, path: str) -> Entry:
        """Return what a listing says of one object.

        Raises:
            MissingObjectError: there is none.
            StoreError: the store does not answer.
        """

    def size(self, path: str) -> int:
        """Return an object's size in bytes.

        Raises:
            MissingObjectError: there is none.
            StoreError: the store does not answer.
        """
        return self.entry(path).num_bytes

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return a whole object.

        Raises:
            MissingObjectError: there is none.
            StoreError: it cannot be read.
        """

    @abstractmethod
    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on.

        Raises:
            MissingObjectError: there is no such object.
            StoreError: it cannot be read, or ends before.
        """

    def read_pieces(self, path: str, num_bytes: int) -> Iterator[bytes]:
        """Yield the content of an object of `num_bytes` bytes, in pieces of up to 16 MiB.

        Raises:
            StoreError: it cannot be read, or ends before.
        """
        for start in range(0, num_bytes, PIECE_BYTES):
            yield self.read_range(path, start, min(PIECE_BYTES, num_bytes - start))

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder; in an object store, any object below it.

        Raises:
            StoreError: the store does not answer, or there is no such bucket.
        """
        return next(iter(self.entries(path)), None) is not None

    @abstractmethod
    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every object below a folder, at any depth, page by page; none where there is no such folder.

        Raises:
            StoreError: the store does not answer, or there is no such bucket.
        """

    # ── writing ──

    @abstractmethod
    def create(self, path: str) -> AbstractContextManager[Writing]:
        """Open an object for writing that takes its name only when the block ends without an exception.

        Whatever goes wrong, nothing is left under `path` that was not there before. In an object store, an
        object of the same bytes that is there already is left as it is.

        Raises:
            PassingFault: no room on this node, or no answer of the store.
            DreamshardsError: it cannot be written.
        """

    @abstractmethod
    def write(self, path: str, content: Bytes) -> None:
        """Write a whole object, all or nothing.

        Raises:
            DreamshardsError: as `create`.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove an object; do nothing where there is none.

        Raises:
            StoreError: it cannot be removed.
        """

    # ── a build at work ──

    @abstractmethod
    def claim(self, work: str = "build") -> AbstractContextManager[None]:
        """Make the root where that is needed, and hold it against a second writer as far as it can be.

        An object store holds nobody off: there two writers of the same bytes are harmless. `work` is what is
        done there, for the message.

        Raises:
            DreamshardsError: another process holds it, or it cannot be made.
        """

    @abstractmethod
    def leftovers(self) -> Iterator[Leftover]:
        """Yield what is half-written now, page by page.

        Raises:
            StoreError: the store does not answer, cannot tell, or does not allow it.
        """

    @abstractmethod
    def discard(self, leftover: Leftover) -> None:
        """Remove one; do nothing where it is gone.

        Raises:
            StoreError: it cannot be removed.
        """

    @abstractmethod
    def discard_unfinished(self) -> None:
        """Remove what writers that were killed left half-written, as far as it is sure that they were.

        In a folder that is claimed it is all there is; in an object store, where other machines may be at
        work, what is older than a day.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Refuse early, and without leaving anything, a root that cannot be written.

        Raises:
            DreamshardsError: it cannot be.
        """

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return how much more it can take, None if nobody knows."""
