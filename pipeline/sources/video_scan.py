"""Decoding every listed video once, whole, and remembering what came out.

The result says of each video its size and length, its SHA-256, and the key frames that decoding may begin at;
or why it cannot be read.
"""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

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
from pipeline.sources.local_copy import local_copy
from pipeline.sources.video_files import UnreadableVideo, video_versions
from pipeline.sources.video_probe import Found, probe
from pipeline.store import Store

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)

SCAN_VERSION = 1
"""Raise it when what is found, or the columns, change: older scans are then made again."""

FILES_PER_JOB = 8
WHOLE_BYTES = 64 << 20
"""Files up to this size are read whole and checked against their SHA-256; larger ones by their size alone."""


class Keys(NamedTuple):
    """The key frames of N videos that decoding may begin at, but the first frames, where it always may.

    Attributes:
        bounds: int64 [N + 1], those of video i are [bounds[i], bounds[i + 1]).
        frames: int32 [K], numbers of frames, ascending in each video.
        pts: int64 [K], when they are shown, in units of their streams.
    """

    bounds: I64
    frames: I32
    pts: I64

    def take(self, rows: I64) -> Keys:
        """Return those of some videos, in the order of `rows`."""
        parts = [np.arange(self.bounds[row], self.bounds[row + 1]) for row in rows.tolist()]
        places = np.concatenate([np.zeros(0, np.int64), *parts])
        bounds = np.cumsum([0, *map(len, parts)])
        return Keys(bounds.astype(np.int64), self.frames[places], self.pts[places])


class VideoScan(NamedTuple):
    """What decoding N videos gave.

    Attributes:
        heights, widths: int32 [N], pixels as shown, 0 where unreadable.
        turns: int8 [N], how frames are turned before they are shown: codes of `video_files.orientation`.
        num_frames: int32 [N].
        rates: int64 [N, 2], frames a second on average: numerator and denominator.
        digests: uint8 [N, 32], SHA-256 of the bytes, 0 where the file could not be opened.
        keys: where decoding may begin.
        reasons: string [N], why a file is unreadable, null for the others.
    """

    heights: I32
    widths: I32
    turns: npt.NDArray[np.int8]
    num_frames: I32
    rates: I64
    digests: npt.NDArray[np.uint8]
    keys: Keys
    reasons: pa.StringArray


def scan_videos(root: Store, listing: Listing, executor: Executor) -> VideoScan:
    """Return the scan of the listed videos, from the cache when none of them changed since.

    The cache's key covers the files' ids, sizes and times, this module's version and the decoders'.

    Raises:
        DreamshardsError: PyAV is not installed, a file changed while it was read, or the machine failed to
            read it.
    """
    entry = entry_for(f"videos {SCAN_VERSION} {video_versions()}", root, listing)
    scan = _load(entry, listing.ids)
    if scan is None:
        scan = _scan(root, listing, executor)
        if scan.digests.any(axis=1).all():  # a file that could not be opened may open next time
            _keep(entry, listing.ids, scan)
    return scan


# ── jobs ──


class Result(NamedTuple):
    """What `run_job` found: of n videos each its digest, and what is in it or why it cannot be read."""

    start: int
    digests: npt.NDArray[np.uint8]
    found: list[Found | str]


def run_job(root: Store, job: Job) -> Result:
    """Read and decode the videos of one job below `root`."""
    digests = np.zeros((len(job.ids), 32), np.uint8)
    found: list[Found | str] = []
    contents = read_each(partial(_read, root), root, job.ids, job.size_bytes)
    for row, (name, (opened, reason)) in enumerate(zip(job.ids, contents, strict=True)):
        if opened is None:
            found.append(reason)
            continue
        file, got, digest = opened
        size_bytes = job.size_bytes[row]
        check_size(root.address(name), got, size_bytes)
        digests[row] = np.frombuffer(digest, np.uint8)
        if name in job.deadly:
            found.append(DEADLY)
            continue
        try:
            found.append(probe(file, size_bytes))
        except UnreadableVideo as error:
            found.append(error.reason)
    return Result(job.start, digests, found)


def _read(root: Store, name: str) -> tuple[tuple[BinaryIO | Path, int, bytes] | None, str]:
    return attempt(root.address(name), partial(_content, root, name))


def _content(root: Store, name: str) -> tuple[BinaryIO | Path, int, bytes]:
    """Return a file's bytes, or its path if it is large, its length and its SHA-256."""
    if root.size(name) <= WHOLE_BYTES:
        data = root.read(name)
        return io.BytesIO(data), len(data), hashlib.sha256(data).digest()
    path = local_copy(root, name)
    with path.open("rb") as file:
        digest = _sha256_of(file)
        return path, file.tell(), digest


def _sha256_of(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.digest()


def _scan(root: Store, listing: Listing, executor: Executor) -> VideoScan:
    num = len(listing.ids)
    digests = np.zeros((num, 32), np.uint8)
    found: list[Found | str] = [""] * num
    for result in run_jobs(root, listing, executor, run_job, FILES_PER_JOB):
        rows = slice(result.start, result.start + len(result.found))
        digests[rows], found[rows] = result.digests, result.found
    reasons = {row: part for row, part in enumerate(found) if isinstance(part, str)}
    nothing = Found(0, 0, 0, 0, (0, 1), [])
    parts = [nothing if isinstance(part, str) else part for part in found]
    keys = np.array([key for part in parts for key in part.keys], np.int64).reshape(-1, 2)
    return VideoScan(
        heights=np.array([part.height for part in parts], np.int32),
        widths=np.array([part.width for part in parts], np.int32),
        turns=np.array([part.turn for part in parts], np.int8),
        num_frames=np.array([part.num_frames for part in parts], np.int32),
        rates=np.array([part.rate for part in parts], np.int64).reshape(-1, 2),
        digests=digests,
        keys=Keys(
            np.cumsum([0, *(len(part.keys) for part in parts)], dtype=np.int64),
            keys[:, 0].astype(np.int32),
            keys[:, 1].copy(),
        ),
        reasons=sparse(reasons, num),
    )


# ── cache ──


def _keep(entry: Path, ids: pa.StringArray, scan: VideoScan) -> None:
    bounds = pa.array(scan.keys.bounds, pa.int32())
    keep_columns(
        entry,
        {
            "id": ids,
            "height": scan.heights,
            "width": scan.widths,
            "turn": scan.turns,
            "num_frames": scan.num_frames,
            "rate_numerator": scan.rates[:, 0],
            "rate_denominator": scan.rates[:, 1],
            "sha256": digest_column(scan.digests),
            "key_frames": pa.ListArray.from_arrays(bounds, pa.array(scan.keys.frames)),
            "key_pts": pa.ListArray.from_arrays(bounds, pa.array(scan.keys.pts)),
            "reason": scan.reasons,
        },
    )


def _load(entry: Path, ids: pa.StringArray) -> VideoScan | None:
    """Return the scan kept in `entry`; None when there is none, or a damaged or foreign one."""
    columns = load_columns(entry, ids)
    if columns is None:
        return None

    def values(name: str, dtype: type[Number]) -> npt.NDArray[Number]:
        found: npt.NDArray[Number] = columns[name].to_numpy().astype(dtype, casting="no")
        return found

    try:
        frames, pts = columns["key_frames"], columns["key_pts"]
        rates = [values(f"rate_{part}", np.int64) for part in ("numerator", "denominator")]
        return VideoScan(
            heights=values("height", np.int32),
            widths=values("width", np.int32),
            turns=values("turn", np.int8),
            num_frames=values("num_frames", np.int32),
            rates=np.column_stack(rates),
            digests=digest_rows(columns["sha256"]),
            keys=Keys(
                frames.offsets.to_numpy().astype(np.int64),
                frames.values.to_numpy().astype(np.int32, casting="no"),
                pts.values.to_numpy().astype(np.int64, casting="no"),
            ),
            reasons=columns["reason"].cast(pa.string()),
        )
    except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException):
        return None
