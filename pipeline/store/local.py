"""A store in a local folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from pipeline.publish import (
    PARTIAL_NAME,
    check_writable,
    claimed,
    publish,
    publish_bytes,
    reserve,
    storage_error,
    written_behind,
)
from pipeline.store.base import (
    Bytes,
    Entry,
    Leftover,
    MissingObjectError,
    Store,
    StoreError,
    Writing,
)

T = TypeVar("T")


class LocalStore(Store):
    """A folder. What is being written lies in its `.partial` until it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def address(self, path: str) -> str:
        """Return what an error calls an object."""
        return str(self.folder / path)

    def below(self, folder: str) -> LocalStore:
        """Return the store of a folder in this one."""
        return LocalStore(self.folder / folder)

    def absolute(self) -> LocalStore:
        """Return the same store for processes whose working folder may be another."""
        return LocalStore(self.folder.absolute())

    def removal(self) -> str:
        """Return the command that removes the folder."""
        return f"rm -r {self}"

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        return (self.folder / path).exists()

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder, empty or not."""
        return (self.folder / path).is_dir()

    def entry(self, path: str) -> Entry:
        """Return what a listing says of one object."""
        found = self._asked(path, Path.stat)
        return Entry(path, found.st_size, found.st_mtime_ns)

    def read(self, path: str) -> bytes:
        """Return a whole object."""
        return self._asked(path, Path.read_bytes)

    def read_range(self, path: str, start: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes of an object from byte `start` on."""

        def ask(file: Path) -> bytes:
            with file.open("rb") as opened:
                opened.seek(start)
                return opened.read(num_bytes)

        content = self._asked(path, ask)
        if len(content) != num_bytes:
            raise StoreError(self.address(path), short(start, num_bytes, len(content)))
        return content

    def _asked(self, path: str, ask: Callable[[Path], T]) -> T:
        try:
            return ask(self.folder / path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingObjectError(self.address(path), str(error.strerror)) from error
        except OSError as error:
            raise StoreError(self.address(path), str(error.strerror)) from error

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every file below a folder, links to files too; links to folders are not followed."""
        for place, _, names in os.walk(self.folder / folder, onerror=self._unlisted):
            below = Path(place).relative_to(self.folder)
            for name in names:
                found = Path(place, name).stat()
                yield Entry((below / name).as_posix(), found.st_size, found.st_mtime_ns)

    def _unlisted(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise StoreError(str(error.filename), f"cannot be listed: {error.strerror}") from error

    @contextmanager
    def create(self, path: str) -> Iterator[Writing]:
        """Open an object for writing that takes its name only when the block ends without an exception."""
        with (
            publish(self.folder / path, self.folder / PARTIAL_NAME) as file,
            written_behind(file) as send,
        ):
            yield _LocalWriting(file, send)

    def write(self, path: str, content: Bytes) -> None:
        """Write a whole object, all or nothing."""
        publish_bytes(self.folder / path, content, self.folder / PARTIAL_NAME)

    def delete(self, path: str) -> None:
        """Remove an object; do nothing where there is none."""
        self._asked(path, lambda file: file.unlink(missing_ok=True))

    def claim(self, work: str = "build") -> AbstractContextManager[None]:
        """Make the folder and hold it against a second writer on this machine."""
        return claimed(self.folder, work)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the files in `.partial`."""
        for entry in self.entries(PARTIAL_NAME):
            yield Leftover(entry.path, entry.modified_ns, entry.path)

    def discard(self, leftover: Leftover) -> None:
        """Remove a file of `.partial`."""
        self.delete(leftover.token)

    def discard_unfinished(self) -> None:
        """Remove what writers that were killed left in `.partial`."""
        shutil.rmtree(self.folder / PARTIAL_NAME, ignore_errors=True)

    def check_writable(self) -> None:
        """Refuse early, and without touching it, a folder that cannot be written or made."""
        check_writable(self.folder)

    def free_bytes(self) -> int | None:
        """Return how much the disk can take."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise storage_error(self.folder, error) from error


class _LocalWriting:
    """A file in `.partial`, sent to the disk behind its writer."""

    def __init__(self, file: BinaryIO, send: Callable[[], None]) -> None:
        self._file, self.send = file, send
        self.write, self.tell = file.write, file.tell

    def reserve(self, num_bytes: int) -> None:
        reserve(self._file, num_bytes)


def short(start: int, num_bytes: int, found: int) -> str:
    """Return what is wrong with an object that ends early."""
    return (
        f"ends after {found} of the {num_bytes} bytes from byte {start} on; the object is truncated"
    )
