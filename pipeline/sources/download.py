"""Fetching an official archive once, checked against its published MD5 before it is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import sys
import tarfile
import uuid
import zlib
from collections.abc import Collection
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline.errors import DreamshardsError
from pipeline.progress import PlainProgress
from pipeline.publish import fsync_folder

TIMEOUT_S = 60.0
"""Longest wait for the server to send anything."""

_CHUNK_BYTES = 1 << 20


def fetch_archive(url: str, md5: str, target: Path, names: Collection[str]) -> None:
    """Download a .tar.gz and publish `names` of its folder `target.name` as the folder `target`.

    Everything happens in a hidden folder beside `target`, removed on any failure. Other members (a
    readme) are left in the archive.

    Raises:
        DreamshardsError: the server, the MD5, the archive or the disk is at fault.
    """
    work = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        unpacked = work / target.name
        unpacked.mkdir(parents=True)
        archive = work / PurePosixPath(url).name
        print(f"fetching {url} into {target.parent}", file=sys.stderr, flush=True)
        found = _download(url, archive)
        if found != md5:
            raise DreamshardsError(
                f"{url}: got content with MD5 {found}; expected {md5}; it was deleted, nothing was "
                "unpacked; run the same command to fetch it again"
            )
        _unpack(archive, unpacked, names, url)
        _publish_folder(unpacked, target)
    except OSError as error:
        raise DreamshardsError(
            f"cannot write below {target.parent}: {error.strerror or error}; free some space there "
            "or set source.path to another folder, then run the same command"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(url: str, archive: Path) -> str:
    """Stream `url` into `archive`; return the MD5 of what came, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    received_bytes = 0
    with archive.open("xb") as file, closing(_connect(url)) as response:
        length = response.headers.get("Content-Length", "")
        total_bytes = int(length) if length.isdigit() else None
        total_mib = None if total_bytes is None else total_bytes >> 20
        progress = PlainProgress(f"fetching {archive.name}", total_mib, "MiB", interval_s=3)
        while chunk := _receive(response, url, received_bytes, total_bytes):
            file.write(chunk)
            digest.update(chunk)
            received_bytes += len(chunk)
            progress.show(received_bytes >> 20)
    return digest.hexdigest()


def _connect(url: str) -> Any:
    from urllib.request import urlopen  # slow to import and seldom needed

    try:
        return urlopen(url, timeout=TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        raise _no_download(url, str(error)) from error


def _receive(response: Any, url: str, received_bytes: int, total_bytes: int | None) -> bytes:
    """Return the next piece, empty at the true end only."""
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        reason = f"{error or type(error).__name__} after {received_bytes:,} bytes"
        raise _no_download(url, reason) from error
    if not chunk and total_bytes is not None and received_bytes < total_bytes:
        raise _no_download(
            url, f"the connection ended after {received_bytes:,} of {total_bytes:,} bytes"
        )
    return chunk


def _no_download(url: str, reason: str) -> DreamshardsError:
    return DreamshardsError(
        f"cannot fetch {url}: {reason}; nothing was kept; run the same command to try again, or "
        "fetch it another way, unpack it and set source.path to where it lies"
    )


def _unpack(archive: Path, folder: Path, names: Collection[str], url: str) -> None:
    """Write the members `folder.name/name` into `folder`, flushed; leave all others alone."""
    wanted = {f"{folder.name}/{name}": name for name in names}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DreamshardsError(
                        f"{url}: the archive holds {member.name!r}, a path outside its own folder; "
                        "nothing of it was kept"
                    )
                if str(path) not in wanted:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise DreamshardsError(
                        f"{url}: {member.name!r} in the archive is a link or device, not a file; "
                        "nothing of it was kept"
                    )
                _write(content, folder / wanted.pop(str(path)))
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise DreamshardsError(
            f"{url}: the archive does not unpack ({error}); nothing of it was kept"
        ) from error
    if wanted:
        raise DreamshardsError(
            f"{url}: the archive lacks {', '.join(sorted(wanted))}; nothing of it was kept"
        )
    fsync_folder(folder)


def _write(content: IO[bytes], path: Path) -> None:
    with path.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _publish_folder(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster; its files passed the same check
            raise
    fsync_folder(target.parent)
