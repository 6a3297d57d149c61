"""S3 and the servers that speak like it, through boto3.

Owns the requests, one attempt each. boto3 rather than pyarrow.fs: it lists page by page, knows half-written
uploads, tells each answer's ETag, keeps the bytes of an answer that was cut, says why a request was refused,
and reads and writes no slower.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, BinaryIO

import boto3
import botocore.config
import botocore.exceptions
from botocore import UNSIGNED

from pipeline.store.base import Bytes, Entry, Leftover, StoreError
from pipeline.store.remote import Piece, RemoteStore, Version
from pipeline.store.retry import Fault
from pipeline.store.s3_faults import code_of, fault_of, is_missing
from pipeline.store.s3_upload import S3Upload

_TIMEOUT_S = 30.0
"""A connection on which nothing has moved for so long is stalled."""
_CONNECTIONS = 32
_STEP_BYTES = 1 << 20
"""Of an answer, as many bytes are taken at a time as have come, and no more than this."""
_PAGE_KEYS = 1000
_OLD_S = 24 * 3600
"""A half-written upload of this age is nobody's any more."""
_OUT_OF_RANGE = "InvalidRange"


class S3Store(RemoteStore):
    """A root below s3://bucket/prefix."""

    def open_client(self) -> Any:
        """Return a new client that tries each request once."""
        settings = self.settings
        session = boto3.session.Session()
        credentials = {}
        if settings.access_key:
            credentials = {
                "aws_access_key_id": settings.access_key,
                "aws_secret_access_key": settings.secret_key,
                "aws_session_token": settings.session_token,
            }
        addressing = settings.addressing or ("path" if settings.endpoint else "auto")
        config = botocore.config.Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=_TIMEOUT_S,  # also how long sending a part may take
            read_timeout=_TIMEOUT_S,
            tcp_keepalive=True,
            max_pool_connections=_CONNECTIONS,
            request_checksum_calculation=settings.checksums or "when_required",
            response_checksum_validation="when_required",
            signature_version=UNSIGNED if settings.anonymous else None,
            s3={"addressing_style": addressing},
        )
        return session.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region or session.region_name or "us-east-1",
            verify=settings.ca_file,
            config=config,
            **credentials,
        )

    def judge(self, error: Exception) -> Fault | None:
        """Say what a failed request means."""
        return fault_of(error, self.bucket, self.settings)

    def _ask(self, operation: str, path: str, **arguments: Any) -> Any:
        call = getattr(self.client(), operation)
        return call(Bucket=self.bucket, Key=self.key(path), **arguments)

    # ── reading ──

    def ask_version(self, path: str) -> Version | None:
        """Return an object's size and ETag."""
        try:
            answer = self._ask("head_object", path)
        except botocore.exceptions.ClientError as error:
            if is_missing(error):
                return None
            raise
        return Version(answer["ContentLength"], answer.get("ETag", ""))

    def ask_entry(self, path: str) -> Entry | None:
        """Return what a listing says of an object; a HEAD tells its time in whole seconds only."""
        key = self.key(path)
        page = self.client().list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        found = page.get("Contents", ())
        return self._entry(found[0]) if found and found[0]["Key"] == key else None

    def ask_bytes(self, path: str, piece: Piece) -> None:
        """Fill a piece by one request; what has arrived when it fails is kept."""
        start, stop = piece.span
        try:
            answer = self._ask("get_object", path, Range=f"bytes={start}-{stop - 1}")
        except botocore.exceptions.ClientError as error:
            found = self.ask_version(path) if code_of(error) == _OUT_OF_RANGE else None
            if found is None or found.num_bytes > start:
                raise
            piece.reading.meet(found)  # empty, or shorter than what is asked for
            return
        with answer["Body"] as body:
            piece.reading.meet(self._version_of(path, answer, start))
            while room := piece.room(_STEP_BYTES):
                content = body.read1(len(room))
                if not content:
                    raise botocore.exceptions.IncompleteReadError(
                        actual_bytes=piece.done, expected_bytes=piece.done + len(room)
                    )
                room[: len(content)] = content
                piece.done += len(content)

    def _version_of(self, path: str, answer: Any, start: int) -> Version:
        place = answer.get("ContentRange", "")
        begin, _, total = place.removeprefix("bytes ").partition("/")
        if begin.partition("-")[0] == str(start) and total.isdecimal():
            return Version(int(total), answer.get("ETag", ""))
        if start == 0 and not place:  # all of it, from a server that does not know ranges
            return Version(answer["ContentLength"], answer.get("ETag", ""))
        raise StoreError(
            self.address(path),
            f"the server ignores ranges: asked for byte {start} on, got {place!r}",
        )

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every object below a folder, at any depth, a thousand to a request."""
        begin = f"{self.key(folder)}/" if self.key(folder) else ""
        more: dict[str, Any] = {}
        while True:
            asked = {"Bucket": self.bucket, "Prefix": begin, "MaxKeys": _PAGE_KEYS, **more}
            ask = partial(self.client().list_objects_v2, **asked)
            page = self.persist(folder, ask)
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):  # a folder, as some tools mark it
                    yield self._entry(found)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _entry(self, found: Any) -> Entry:
        modified_ns = round(found["LastModified"].timestamp() * 1e6) * 1000
        return Entry(self._path(found["Key"]), found["Size"], modified_ns)

    def _path(self, key: str) -> str:
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    # ── writing ──

    def ask_write(self, path: str, content: Bytes) -> None:
        """Write a small object by one request, and a second one where the answer leaves a doubt."""
        body = bytes(content)
        answer = self._ask("put_object", path, Body=body)
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if answer.get("ETag", "").strip('"') != digest:
            self.check_size(path, len(body))

    def ask_delete(self, path: str) -> None:
        """Remove an object."""
        self._ask("delete_object", path)

    def upload(self, path: str, file: BinaryIO) -> S3Upload:
        """Return what sends a large object, part by part."""
        return S3Upload(self, path, file)

    def check_writable(self) -> None:
        """Refuse early, and leaving nothing, a root that cannot be written: begin and abort an upload."""
        path = ".dreamshards-writable"
        answer = self.persist("", lambda: self._ask("create_multipart_upload", path))
        self.discard(Leftover(path, 0, answer["UploadId"]))

    def server_time(self) -> datetime | None:
        """Return the time that the server gives its answers, None where it gives none.

        Raises:
            StoreError: it does not answer, there is no such bucket, or it may not be listed.
        """
        ask = partial(self.client().list_objects_v2, Bucket=self.bucket, MaxKeys=1)
        headers = self.persist("", ask)["ResponseMetadata"]["HTTPHeaders"]
        return parsedate_to_datetime(headers["date"]) if "date" in headers else None

    # ── what is half-written ──

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the uploads that were begun and neither finished nor aborted."""
        more: dict[str, str] = {}
        prefix = f"{self.prefix}/" if self.prefix else ""
        while True:
            ask = partial(
                self.client().list_multipart_uploads, Bucket=self.bucket, Prefix=prefix, **more
            )
            page = self.persist("", ask)
            for found in page.get("Uploads", ()):
                begun = int(found["Initiated"].timestamp() * 1e9)
                yield Leftover(self._path(found["Key"]), begun, found["UploadId"])
            if not page.get("IsTruncated"):
                return
            more = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def discard(self, leftover: Leftover) -> None:
        """Abort an upload, which frees its parts."""

        def ask() -> None:
            try:
                self._ask("abort_multipart_upload", leftover.path, UploadId=leftover.token)
            except botocore.exceptions.ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

        self.persist(leftover.path, ask)

    def discard_unfinished(self) -> None:
        """Abort the uploads below the root that are older than a day; say so where that is not possible."""
        oldest_ns = time.time_ns() - int(_OLD_S * 1e9)
        try:
            for leftover in self.leftovers():
                if leftover.begun_ns < oldest_ns:
                    self.discard(leftover)
        except StoreError as error:  # the build does not depend on it
            print(f"uploads of killed builds are not looked for: {error}", file=sys.stderr)
