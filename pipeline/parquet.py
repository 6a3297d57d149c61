"""Reading our own Parquet files: whole, checked, and without threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(source: Path | BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a file, of some `columns` or all, the checksum of every page verified.

    No thread pool is touched: Arrow's may abort a process that ends soon after a threaded read
    (apache/arrow issues 34314 and 50482), which would turn a success into exit code −6.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: unreadable or damaged content.
    """
    options = {"page_checksum_verification": True, "pre_buffer": False}
    with pq.ParquetFile(source, **options) as file:
        return file.read(columns, use_threads=False)
