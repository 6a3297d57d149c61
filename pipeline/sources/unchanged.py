"""Reading a source's files again: each must still be the one that was scanned."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError, PassingFault
from pipeline.sources.ahead import Reader
from pipeline.store import StoreError


def read_unchanged(
    files: Reader, name: str, size_bytes: int, digest: npt.NDArray[np.uint8], *, whole: bool = True
) -> bytes:
    """Return the content of a file that was scanned.

    Args:
        files: where it lies.
        name: of the file.
        size_bytes: what the scan found.
        digest: uint8 [32], SHA-256 of its bytes, likewise.
        whole: False compares the size alone, and reads and returns nothing.

    Raises:
        PassingFault: the store is out of reach.
        DreamshardsError: the file is gone or is not the one that was scanned.
    """
    address = files.store.address(name)
    try:
        data = files.read(name) if whole else b""
        got = len(data) if whole else files.store.size(name)
    except PassingFault:
        raise
    except StoreError as error:
        raise DreamshardsError(
            f"cannot read {address}, which could be read when the dataset was scanned: "
            f"{error.reason}; put it back, then run the same command to go on"
        ) from error
    scanned = digest.tobytes().hex()
    found = hashlib.sha256(data).hexdigest() if whole else scanned
    if got != size_bytes or found != scanned:
        what = f"SHA-256 {found}" if got == size_bytes else _size(got, size_bytes)
        raise DreamshardsError(
            f"{address} changed since the dataset was scanned: got {what}; expected {size_bytes:,} bytes "
            f"with SHA-256 {scanned}; put the old file back, or start the build again in a new root"
        )
    return data


def _size(got: int, expected: int) -> str:
    return f"more than {expected:,} bytes" if got > expected else f"{got:,} bytes"
