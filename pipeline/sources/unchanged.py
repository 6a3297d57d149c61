"""Reading a source's files again: each must still be the one that was scanned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError


def read_unchanged(
    path: Path, size_bytes: int, digest: npt.NDArray[np.uint8], *, whole: bool = True
) -> bytes:
    """Return the content of a file that was scanned.

    Args:
        size_bytes: what the scan found.
        digest: uint8 [32], SHA-256 of its bytes, likewise.
        whole: False compares the size alone, and reads and returns nothing.

    Raises:
        DreamshardsError: the file is gone or is not the one that was scanned.
    """
    data = b""
    try:
        if whole:
            with path.open("rb") as file:
                data = file.read(size_bytes + 1)
        got = len(data) if whole else path.stat().st_size
    except OSError as error:
        raise DreamshardsError(
            f"cannot read {path}, which could be read when the dataset was scanned: "
            f"{error.strerror}; put it back, then run the same command to go on"
        ) from error
    scanned = digest.tobytes().hex()
    found = hashlib.sha256(data).hexdigest() if whole else scanned
    if got != size_bytes or found != scanned:
        what = f"SHA-256 {found}" if got == size_bytes else _size(got, size_bytes)
        raise DreamshardsError(
            f"{path} changed since the dataset was scanned: got {what}; expected {size_bytes:,} bytes "
            f"with SHA-256 {scanned}; put the old file back, or start the build again in a new root"
        )
    return data


def _size(got: int, expected: int) -> str:
    return f"more than {expected:,} bytes" if got > expected else f"{got:,} bytes"
