"""Sending one object to an S3 server: small in one request, large in equal parts while it is still made.

Owns the parts; each is sent again on its own until it has arrived. Nothing shows before the last request.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore import exceptions as boto

from pipeline.store.base import StoreError
from pipeline.store.s3_faults import code_of

if TYPE_CHECKING:
    from pipeline.store.s3 import S3Store

PART_BYTES = 8 << 20
"""The size of a part, the last one excepted, and of the largest object that is sent in one request."""
_UNIT_BYTES = 1 << 20
_MOST_PARTS = 10_000
_PARTS_AT_ONCE = 2
_MOST_STARTS = 3
"""How often an upload is begun again that someone aborted under our hands."""


def part_bytes(num_bytes: int) -> int:
    """Return the size of the parts of an object, whole MiB, so that they are no more than S3 allows."""
    needed = -(-num_bytes // _MOST_PARTS)
    return max(PART_BYTES, -(-needed // _UNIT_BYTES) * _UNIT_BYTES)


class _AbortedError(Exception):
    """Someone aborted the upload."""


class S3Upload:
    """One object on its way out of a file."""

    def __init__(self, store: S3Store, path: str, file: BinaryIO) -> None:
        self._store, self._path, self._file = store, path, file
        self._part_bytes = PART_BYTES
        self._upload: str | None = None
        self._parts: list[Future[dict[str, Any]]] = []
        self._threads: ThreadPoolExecutor | None = None
        self._stopped = False

    def expect(self, num_bytes: int) -> None:
        """Choose the size of the parts."""
        self._part_bytes = part_bytes(num_bytes)

    def advance(self, num_bytes: int) -> None:
        """Begin to send the parts that are whole; what went wrong with one is raised at the end."""
        while (
            len(self._parts) < _MOST_PARTS
            and (len(self._parts) + 1) * self._part_bytes <= num_bytes
        ):
            self._send(num_bytes)

    def finish(self, num_bytes: int) -> None:
        """Send what is left and give the object its name."""
        if self._upload is None and num_bytes <= PART_BYTES:
            content = os.pread(self._file.fileno(), num_bytes, 0)
            self._store.persist(self._path, lambda: self._store.ask_write(self._path, content))
            return
        if self._part_bytes * _MOST_PARTS < num_bytes:  # longer than expected
            self.abandon()
            self._part_bytes = part_bytes(num_bytes)
        for _ in range(_MOST_STARTS):
            try:
                self._finish(num_bytes)
                return
            except _AbortedError:
                self.abandon()
        raise StoreError(
            self._store.address(self._path),
            f"its upload was aborted {_MOST_STARTS} times by someone else; stop what removes uploads "
            "that are still at work (a lifecycle rule of the bucket, another `dreamshards gc`)",
        )

    def _finish(self, num_bytes: int) -> None:
        self.advance(num_bytes)
        if len(self._parts) * self._part_bytes < num_bytes:
            self._send(num_bytes)
        parts = [part.result() for part in self._parts]
        asked = 0

        def complete() -> None:
            nonlocal asked
            asked += 1
            try:
                self._ask("complete_multipart_upload", MultipartUpload={"Parts": parts})
            except _AbortedError:
                if asked == 1 or not self._store.holds(self._path, self._file, num_bytes):
                    raise  # else an earlier request had worked, and its answer was lost

        self._store.persist(self._path, complete)
        self._upload = None
        self._stop()
        self._store.check_size(self._path, num_bytes)

    def _send(self, num_bytes: int) -> None:
        """Begin to send the next part."""
        if self._upload is None or self._threads is None:
            ask = partial(self._store.client().create_multipart_upload, **self._object())
            self._upload = self._store.persist(self._path, ask)["UploadId"]
            self._threads = ThreadPoolExecutor(_PARTS_AT_ONCE, "dreamshards-upload")
        start = len(self._parts) * self._part_bytes
        stop = min(num_bytes, start + self._part_bytes)
        self._parts.append(self._threads.submit(self._part, len(self._parts) + 1, start, stop))

    def _part(self, number: int, start: int, stop: int) -> dict[str, Any]:
        content = os.pread(self._file.fileno(), stop - start, start)

        def ask() -> Any:
            if self._stopped:
                raise _AbortedError
            return self._ask("upload_part", PartNumber=number, Body=content)

        answer = self._store.persist(self._path, ask)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _object(self) -> dict[str, str]:
        return {"Bucket": self._store.bucket, "Key": self._store.key(self._path)}

    def _ask(self, operation: str, **arguments: Any) -> Any:
        call = getattr(self._store.client(), operation)
        try:
            return call(**self._object(), UploadId=self._upload, **arguments)
        except boto.ClientError as error:
            if code_of(error) == "NoSuchUpload":
                raise _AbortedError from error
            raise

    def abandon(self) -> None:
        """Stop sending, and abort the upload if one was begun."""
        self._stop()
        if self._upload is not None:
            with suppress(
                Exception
            ):  # where the store is out of reach, it is found and removed later
                self._ask("abort_multipart_upload")
            self._upload = None

    def _stop(self) -> None:
        self._stopped = True
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._threads, self._parts = None, []
        self._stopped = False
