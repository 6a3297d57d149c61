"""Google's, Azure's and Hadoop's stores, through pyarrow.fs.

Owns the requests, one attempt each as far as the client allows that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs

from pipeline.store.base import Bytes, Entry, Leftover, StoreError
from pipeline.store.remote import Piece, RemoteStore, Version
from pipeline.store.retry import Fault
from pipeline.store.settings import public_text

_OF_GOOGLE = ("gs", "gcs")
_CLIENT_PATIENCE_S = 5
"""How long the client itself tries a request again."""
_STEP_BYTES, _SMALLEST_STEP_BYTES = 16 << 20, 64 << 10
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT", "FAILED_PRECONDITION")


class ArrowStore(RemoteStore):
    """A root below a URI that pyarrow.fs knows, such as gs://bucket/prefix.

    Reads are large ranges, never streams: a stream of pyarrow is a request for every 256 KiB.
    """

    def open_client(self) -> Any:
        """Return a new file system, and the path of the root in it."""
        parts, settings = urlsplit(self.uri), self.settings
        if parts.scheme in _OF_GOOGLE:
            options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=_CLIENT_PATIENCE_S)}
            if settings.endpoint:
                scheme, _, host = settings.endpoint.partition("://")
                options |= {"scheme": scheme, "endpoint_override": host}
            if settings.anonymous:
                options["anonymous"] = True
            return pyarrow.fs.GcsFileSystem(**options), f"{self.bucket}/{self.prefix}".rstrip("/")
        client, root = pyarrow.fs.FileSystem.from_uri(public_text(self.uri))
        return client, root.rstrip("/")

    def _place(self, path: str) -> tuple[Any, str]:
        client, root = self.client()
        return client, f"{root}/{path}" if path else root

    def judge(self, error: Exception) -> Fault | None:
        """Say what a failed request means, by its class and, as there is no other sign, its text."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return Fault("no such object", missing=True)
        if not isinstance(error, (OSError, pa.ArrowException)):
            return None
        reason = " ".join(str(error).split())[:300]
        refused = isinstance(error, (PermissionError, pa.ArrowInvalid, pa.ArrowNotImplementedError))
        if refused or any(word in reason for word in _REFUSED):
            return Fault(reason, "check the credentials and their permissions for this bucket")
        return Fault(reason, passing=True)

    # ── reading ──

    def ask_version(self, path: str) -> Version | None:
        """Return an object's size and the mark of its content."""
        found = self.ask_entry(path)
        return None if found is None else Version(found.num_bytes, str(found.modified_ns))

    def ask_entry(self, path: str) -> Entry | None:
        """Return what a listing says of an object."""
        client, place = self._place(path)
        info = client.get_file_info(place)
        if info.type != pyarrow.fs.FileType.File:
            return None
        return Entry(path, info.size, info.mtime_ns or 0)

    def ask_bytes(self, path: str, piece: Piece) -> None:
        """Fill a piece by ranges, which become smaller after one that failed."""
        version = self.ask_version(path)
        if version is None:
            raise FileNotFoundError(path)
        piece.reading.meet(version)
        client, place = self._place(path)
        with client.open_input_file(place) as file:
            while room := piece.room(piece.step or _STEP_BYTES):
                start = piece.span[0]
                try:
                    content = file.read_at(len(room), start)
                except OSError:
                    piece.step = max(_SMALLEST_STEP_BYTES, len(room) // 4)
                    raise
                if not content:
                    raise OSError(f"ends at byte {start}")
                room[: len(content)] = content
                piece.done += len(content)
        after = self.ask_version(path)
        if after is not None:
            piece.reading.meet(after)

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every object below a folder, at any depth; pyarrow lists them all at once."""

        def ask() -> list[Any]:
            client, place = self._place(folder)
            selector = pyarrow.fs.FileSelector(place, allow_not_found=True, recursive=True)
            found: list[Any] = client.get_file_info(selector)
            return found

        root, listed = self.client()[1], self.persist(folder, ask)
        if not listed:
            self._check_bucket()
        for info in listed:
            if info.type == pyarrow.fs.FileType.File:
                yield Entry(info.path.removeprefix(f"{root}/"), info.size, info.mtime_ns or 0)

    def _check_bucket(self) -> None:
        """Tell an empty place from a bucket that is not there, where the keys may ask that."""

        def ask() -> bool:
            with suppress(PermissionError):
                found = self.client()[0].get_file_info(self.bucket)
                return bool(found.type == pyarrow.fs.FileType.NotFound)
            return False

        if urlsplit(self.uri).scheme in _OF_GOOGLE and self.persist("", ask):
            raise StoreError(
                str(self),
                f"there is no bucket {self.bucket!r}; make it, for example with "
                f"`gcloud storage buckets create gs://{self.bucket}`, or correct its name",
            )

    # ── writing ──

    def ask_write(self, path: str, content: Bytes) -> None:
        """Write a small object."""
        client, place = self._place(path)
        with client.open_output_stream(place) as stream:
            stream.write(content)

    def ask_delete(self, path: str) -> None:
        """Remove an object."""
        client, place = self._place(path)
        with suppress(FileNotFoundError):
            client.delete_file(place)

    def upload(self, path: str, file: BinaryIO) -> _Upload:
        """Return what sends a large object once it is whole."""
        return _Upload(self, path, file)

    def check_writable(self) -> None:
        """Refuse early, and without leaving anything, a root that cannot be written: write and delete."""
        self.write(".dreamshards-writable", b"")
        self.delete(".dreamshards-writable")

    # ── what is half-written ──

    def leftovers(self) -> Iterator[Leftover]:
        """Yield nothing: these stores drop by themselves, after some days, what was not finished."""
        return iter(())

    def discard(self, leftover: Leftover) -> None:
        """Refuse: there is nothing to remove.

        Raises:
            StoreError: always.
        """
        raise StoreError(self.address(leftover.path), "this store has no half-written objects")

    def discard_unfinished(self) -> None:
        """Do nothing: the store does it."""


class _Upload:
    """One object on its way out of a file, through a stream of pyarrow."""

    def __init__(self, store: ArrowStore, path: str, file: BinaryIO) -> None:
        self._store, self._path, self._file = store, path, file

    def expect(self, num_bytes: int) -> None:
        """Need nothing."""

    def advance(self, num_bytes: int) -> None:
        """Send nothing before the object is whole."""

    def finish(self, num_bytes: int) -> None:
        """Send the object."""

        def ask() -> None:
            client, place = self._store._place(self._path)
            with client.open_output_stream(place) as stream:
                stream.write(content)  # whole, as the end of the block would publish a half

        if num_bytes:
            mapped = pa.memory_map(f"/proc/self/fd/{self._file.fileno()}")
            content = mapped.read_buffer(num_bytes)
        else:
            content = b""
        self._store.persist(self._path, ask)
        self._store.check_size(self._path, num_bytes)

    def abandon(self) -> None:
        """Leave nothing: what is not finished has no name."""
