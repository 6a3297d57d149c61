"""Decoding every file of an image folder once, and remembering what came out.

Owns the scan's jobs and its cache. The result says of each file its size in pixels, its SHA-256
and, where it does not decode, the reason.
"""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.parquet import read_parquet
from pipeline.progress import PlainProgress
from pipeline.publish import publish
from pipeline.sources.folder_listing import Listing
from pipeline.sources.images import UnreadableImage, decode, decoder_versions
from pipeline.sources.source import digest_of

SCAN_VERSION = 1
"""Raise it when `decode` or the columns change: older scans are then made again."""

FILES_PER_JOB = 64

# These concern one file. Any other failure to read concerns the machine, or a file that was there a
# moment ago, and must not end in a dataset without that file.
_FAULTS_OF_THE_FILE = (errno.EACCES, errno.EPERM)


class Scan(NamedTuple):
    """What decoding N files gave.

    Attributes:
        heights, widths: int32 [N], pixels, 0 where unreadable.
        digests: uint8 [N, 32], SHA-256 of the bytes, 0 where the file could not be opened.
        reasons: string [N], why a file is unreadable, null for the others.
    """

    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint8]
    reasons: pa.StringArray


def scan_folder(root: Path, listing: Listing, executor: Executor) -> Scan:
    """Return the scan of the listed files, from the cache when none of them changed since.

    The cache's key covers each file's id, size and times of change (mtime, and ctime, which no tool
    sets back), this module's version and those of the decoders. An entry that is damaged counts as absent.

    Raises:
        DreamshardsError: a file changed while it was read, or the machine failed to read it.
    """
    key = digest_of(
        f"scan {SCAN_VERSION} {decoder_versions()}",
        listing.ids,
        np.stack([listing.size_bytes, listing.mtime_ns, listing.ctime_ns]).astype("<i8"),
    )
    entry = cache_folder("scans") / f"{key}.parquet"
    scan = _load(entry, listing.ids)
    if scan is None:
        scan = _scan(root, listing, executor)
        if scan.digests.any(axis=1).all():  # a file that could not be opened may open next time
            _keep(entry, listing.ids, scan)
    return scan


# ── jobs ──


class Job(NamedTuple):
    """Some of the listed files, from row `start` on."""

    start: int
    ids: list[str]
    size_bytes: list[int]


class Result(NamedTuple):
    """What `run_job` found: arrays as in `Scan` and (row, reason) of the unreadable files."""

    start: int
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint8]
    failures: list[tuple[int, str]]


def run_job(root: str, job: Job) -> Result:
    """Read and decode the files of one job below the folder `root`."""
    heights, widths = np.zeros((2, len(job.ids)), np.int32)
    digests = np.zeros((len(job.ids), 32), np.uint8)
    failures = []
    for row, (name, size_bytes) in enumerate(zip(job.ids, job.size_bytes, strict=True)):
        path = Path(root, name)
        try:
            data = path.read_bytes()
        except OSError as error:
            if error.errno not in _FAULTS_OF_THE_FILE:
                raise DreamshardsError(
                    f"cannot read {path}: {error.strerror}; put that right, then run the same "
                    "command"
                ) from error
            failures.append((job.start + row, str(error.strerror)))
            continue
        if len(data) != size_bytes:
            raise DreamshardsError(
                f"{path} changed while the folder was scanned: got {len(data):,} bytes, expected "
                f"{size_bytes:,}; run the same command when nothing writes there"
            )
        digests[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        try:
            heights[row], widths[row] = decode(data, name).shape[:2]
        except UnreadableImage as error:
            failures.append((job.start + row, error.reason))
    return Result(job.start, heights, widths, digests, failures)


def _jobs(listing: Listing) -> Iterator[Job]:
    for start in range(0, len(listing.ids), FILES_PER_JOB):
        sizes = listing.size_bytes[start : start + FILES_PER_JOB].tolist()
        yield Job(start, listing.ids.slice(start, FILES_PER_JOB).to_pylist(), sizes)


def _scan(root: Path, listing: Listing, executor: Executor) -> Scan:
    num_files = len(listing.ids)
    heights, widths = np.zeros((2, num_files), np.int32)
    digests = np.zeros((num_files, 32), np.uint8)
    reasons: dict[int, str] = {}
    progress = PlainProgress(f"scanning {root}", num_files, "files")
    done = 0
    for result in executor.map(run_job, str(root), _jobs(listing)):
        rows = slice(result.start, result.start + len(result.heights))
        heights[rows], widths[rows] = result.heights, result.widths
        digests[rows] = result.digests
        reasons.update(result.failures)
        done += len(result.heights)
        progress.show(done)
    if done != num_files:
        raise DreamshardsError(
            f"the scan of {root} ended after {done:,} of {num_files:,} files; run the same command"
        )
    return Scan(heights, widths, digests, _sparse(reasons, num_files))


def _sparse(reasons: dict[int, str], num_files: int) -> pa.StringArray:
    """Return string [num_files], null but for the rows in `reasons`."""
    rows = np.full(num_files, -1, np.int64)
    rows[list(reasons)] = np.arange(len(reasons))
    indices = pa.array(rows, pa.int64(), mask=rows < 0)
    return pa.array(list(reasons.values()), pa.string()).take(indices)


# ── cache ──


def _load(entry: Path, ids: pa.StringArray) -> Scan | None:
    """Return the scan kept in `entry`; None when there is none, or a damaged or foreign one."""
    try:
        table = read_parquet(entry)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        if not columns["id"].equals(ids):
            return None
        digests = np.frombuffer(columns["sha256"].buffers()[1], np.uint8)
        return Scan(
            heights=columns["height"].to_numpy().astype(np.int32, casting="no"),
            widths=columns["width"].to_numpy().astype(np.int32, casting="no"),
            digests=digests.reshape(len(ids), 32),
            reasons=columns["reason"].cast(pa.string()),
        )
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None


def _keep(entry: Path, ids: pa.StringArray, scan: Scan) -> None:
    digests = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(32), len(ids), [None, pa.py_buffer(scan.digests)]
    )
    table = pa.table(
        {
            "id": ids,
            "height": scan.heights,
            "width": scan.widths,
            "sha256": digests,
            "reason": scan.reasons,
        }
    )
    try:
        with publish(entry) as file:
            pq.write_table(table, file, write_page_checksum=True)
    except DreamshardsError as error:  # the scan itself is good: go on with it
        print(
            f"the scan is not kept for the next run: cannot write {entry}: {error.__cause__}; "
            "set DREAMSHARDS_CACHE to a folder that can be written",
            file=sys.stderr,
        )
