"""What scans of listed files share: jobs, files that cannot be read, and a table kept between runs.

Knows nothing of what is in the files.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError, PassingFault
from pipeline.executor import Executor
from pipeline.parquet import read_parquet
from pipeline.progress import PlainProgress
from pipeline.publish import publish
from pipeline.sources.deadly import surviving
from pipeline.sources.folder_listing import Listing
from pipeline.sources.source import digest_of
from pipeline.store import LocalStore, Store, StoreError

# These concern one file. Any other failure to read concerns the machine, or a file that was there a
# moment ago, and must not end in a dataset without that file.
_FAULTS_OF_THE_FILE = (errno.EACCES, errno.EPERM)

Content = TypeVar("Content")


class Job(NamedTuple):
    """Some of the listed files, from row `start` on.

    Attributes:
        deadly: those that are not to be decoded.
    """

    start: int
    ids: list[str]
    size_bytes: list[int]
    deadly: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The files' ids."""
        return self.ids

    def only(self, name: str) -> Job:
        """Return a job of one of them."""
        row = self.ids.index(name)
        return Job(self.start + row, [name], [self.size_bytes[row]])

    def sparing(self, names: frozenset[str]) -> Job:
        """Return the same job, which decodes none of `names`."""
        return self._replace(deadly=names)


class _Result(Protocol):
    """What a job returns.

    Attributes:
        start: row of its first file.
        digests: uint8 [n, 32], of its n files.
    """

    @property
    def start(self) -> int: ...

    @property
    def digests(self) -> npt.NDArray[np.uint8]: ...


Result = TypeVar("Result", bound=_Result)


def run_jobs(
    root: Store,
    listing: Listing,
    executor: Executor,
    run_job: Callable[[Store, Job], Result],
    files_per_job: int,
) -> Iterator[Result]:
    """Yield what `run_job` returns for every part of the listing, in completion order, with a progress line.

    Raises:
        DreamshardsError: results are missing at the end, or what a job raises.
    """
    num_files, done = len(listing.ids), 0
    progress = PlainProgress(f"scanning {root}", num_files, "files")
    jobs = _jobs(listing, files_per_job)
    for result in surviving(executor, run_job, root, jobs):
        yield result
        done += len(result.digests)
        progress.show(done)
    if done != num_files:
        raise DreamshardsError(
            f"the scan of {root} ended after {done:,} of {num_files:,} files; run the same command"
        )


def _jobs(listing: Listing, files_per_job: int) -> Iterator[Job]:
    for start in range(0, len(listing.ids), files_per_job):
        sizes = listing.size_bytes[start : start + files_per_job].tolist()
        yield Job(start, listing.ids.slice(start, files_per_job).to_pylist(), sizes)


def attempt(address: str, read: Callable[[], Content]) -> tuple[Content | None, str]:
    """Return what `read` returns and no reason, or None and why the file cannot be opened.

    Raises:
        PassingFault: the store is out of reach.
        DreamshardsError: the machine or the store failed to read it.
    """
    try:
        return read(), ""
    except PassingFault:
        raise
    except (OSError, StoreError) as error:
        fault = error.__cause__ if isinstance(error, StoreError) else error
        reason = str(getattr(fault, "strerror", None) or getattr(error, "reason", error))
        if getattr(fault, "errno", None) not in _FAULTS_OF_THE_FILE:
            raise DreamshardsError(
                f"cannot read {address}: {reason}; put that right, then run the same command"
            ) from error
        return None, reason


def check_size(address: str, got: int, expected: int) -> None:
    """Refuse a file that is not as long as when it was listed.

    Raises:
        DreamshardsError: it changed.
    """
    if got != expected:
        raise DreamshardsError(
            f"{address} changed while the folder was scanned: got {got:,} bytes, expected "
            f"{expected:,}; run the same command when nothing writes there"
        )


def sparse(reasons: dict[int, str], num_files: int) -> pa.StringArray:
    """Return string [num_files], null but for the rows in `reasons`."""
    rows = np.full(num_files, -1, np.int64)
    rows[list(reasons)] = np.arange(len(reasons))
    indices = pa.array(rows, pa.int64(), mask=rows < 0)
    return pa.array(list(reasons.values()), pa.string()).take(indices)


# ── cache ──


def entry_for(tag: str, root: Store, listing: Listing) -> Path:
    """Return where the scan of some files is kept.

    The key covers `tag`, which names all that decides what a scan finds, and each file's id, size and times
    of change (mtime, and ctime, which no tool sets back). Objects have but one time, of whole seconds in
    most stores: two sets written at once may agree in all of these, so their store counts too.
    """
    if not isinstance(root, LocalStore):
        tag += f" {root}"
    stats = np.stack([listing.size_bytes, listing.mtime_ns, listing.ctime_ns]).astype("<i8")
    return cache_folder("scans") / f"{digest_of(tag, listing.ids, stats)}.parquet"


def load_columns(entry: Path, ids: pa.StringArray) -> dict[str, pa.Array] | None:
    """Return the columns kept in `entry` for just these ids; None where there are none, or damaged ones."""
    try:
        table = read_parquet(entry)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        return columns if columns["id"].equals(ids) else None
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None


def keep_columns(entry: Path, columns: dict[str, pa.Array | npt.NDArray[np.generic]]) -> None:
    """Write columns to `entry`; where that fails say so, for the scan itself is good."""
    try:
        with publish(entry) as file:
            pq.write_table(pa.table(columns), file, write_page_checksum=True)
    except DreamshardsError as error:
        print(
            f"the scan is not kept for the next run: cannot write {entry}: {error.__cause__}; "
            "set DREAMSHARDS_CACHE to a folder that can be written",
            file=sys.stderr,
        )


def digest_column(digests: npt.NDArray[np.uint8]) -> pa.Array:
    """Return uint8 [N, 32] as fixed-size binaries."""
    buffers = [None, pa.py_buffer(digests)]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(digests), buffers)


def digest_rows(column: pa.Array) -> npt.NDArray[np.uint8]:
    """Return fixed-size binaries as uint8 [N, 32]."""
    return np.frombuffer(column.buffers()[1], np.uint8).reshape(len(column), 32)
