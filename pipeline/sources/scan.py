"""Decoding every file of an image folder once, and remembering what came out.

The result says of each file its size in pixels, its SHA-256 and, where it does not decode, the reason.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.executor import Executor
from pipeline.sources.ahead import read_each
from pipeline.sources.deadly import DEADLY
from pipeline.sources.file_scan import (
    Job,
    attempt,
    check_size,
    digest_column,
    digest_rows,
    entry_for,
    keep_columns,
    load_columns,
    run_jobs,
    sparse,
)
from pipeline.sources.folder_listing import Listing
from pipeline.sources.images import UnreadableImage, decode, decoder_versions
from pipeline.store import Store

SCAN_VERSION = 1
"""Raise it when `decode` or the columns change: older scans are then made again."""

FILES_PER_JOB = 64


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


def scan_folder(root: Store, listing: Listing, executor: Executor) -> Scan:
    """Return the scan of the listed files, from the cache when none of them changed since.

    The cache's key covers the files' ids, sizes and times, this module's version and those of the decoders.
    An entry that is damaged counts as absent.

    Raises:
        DreamshardsError: a file changed while it was read, or the machine failed to read it.
    """
    entry = entry_for(f"scan {SCAN_VERSION} {decoder_versions()}", root, listing)
    scan = _load(entry, listing.ids)
    if scan is None:
        scan = _scan(root, listing, executor)
        if scan.digests.any(axis=1).all():  # a file that could not be opened may open next time
            keep_columns(
                entry,
                {
                    "id": listing.ids,
                    "height": scan.heights,
                    "width": scan.widths,
                    "sha256": digest_column(scan.digests),
                    "reason": scan.reasons,
                },
            )
    return scan


class Result(NamedTuple):
    """What `run_job` found: arrays as in `Scan` and (row, reason) of the unreadable files."""

    start: int
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint8]
    failures: list[tuple[int, str]]


def run_job(root: Store, job: Job) -> Result:
    """Read and decode the files of one job below `root`."""
    heights, widths = np.zeros((2, len(job.ids)), np.int32)
    digests = np.zeros((len(job.ids), 32), np.uint8)
    failures = []
    contents = read_each(partial(_read, root), root, job.ids, job.size_bytes)
    for row, (name, (data, reason)) in enumerate(zip(job.ids, contents, strict=True)):
        if data is None:
            failures.append((job.start + row, reason))
            continue
        check_size(root.address(name), len(data), job.size_bytes[row])
        digests[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        if name in job.deadly:
            failures.append((job.start + row, DEADLY))
            continue
        try:
            heights[row], widths[row] = decode(data, name).shape[:2]
        except UnreadableImage as error:
            failures.append((job.start + row, error.reason))
    return Result(job.start, heights, widths, digests, failures)


def _read(root: Store, name: str) -> tuple[bytes | None, str]:
    return attempt(root.address(name), partial(root.read, name))


def _scan(root: Store, listing: Listing, executor: Executor) -> Scan:
    num_files = len(listing.ids)
    heights, widths = np.zeros((2, num_files), np.int32)
    digests = np.zeros((num_files, 32), np.uint8)
    reasons: dict[int, str] = {}
    for result in run_jobs(root, listing, executor, run_job, FILES_PER_JOB):
        rows = slice(result.start, result.start + len(result.heights))
        heights[rows], widths[rows] = result.heights, result.widths
        digests[rows] = result.digests
        reasons.update(result.failures)
    return Scan(heights, widths, digests, sparse(reasons, num_files))


def _load(entry: Path, ids: pa.StringArray) -> Scan | None:
    """Return the scan kept in `entry`; None when there is none, or a damaged or foreign one."""
    columns = load_columns(entry, ids)
    if columns is None:
        return None
    try:
        return Scan(
            heights=columns["height"].to_numpy().astype(np.int32, casting="no"),
            widths=columns["width"].to_numpy().astype(np.int32, casting="no"),
            digests=digest_rows(columns["sha256"]),
            reasons=columns["reason"].cast(pa.string()),
        )
    except (KeyError, ValueError, TypeError, pa.ArrowException):
        return None
