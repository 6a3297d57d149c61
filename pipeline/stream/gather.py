"""Copying raw samples out of mapped tars into a batch: one compiled call, no per-sample Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.render.jit import kernel
from pipeline.render.memory import ask_for_line

OK, OUT_OF_RANGE, NOT_OPEN, WRONG_SIZE, WRONG_HEADER = range(5)
"""What became of a call: all copied, or what the first wrong position met."""

I64 = npt.NDArray[np.int64]

_BYTES = types.CPointer(types.uint8)
_CACHE_LINE_BYTES = 64
_PREFETCH_BYTES = 512
"""Of the next record, what is asked for ahead: past its beginning the processor follows by itself."""
_SEEK_END = 2
_lseek = types.ExternalFunction("lseek", types.int64(types.int32, types.int64, types.int32))
"""The C function: from the end it returns a file's size, at a quarter of the price of fstat in Python."""


@intrinsic  # type: ignore[untyped-decorator]
def _at(typing_context: Any, address: Any) -> Any:
    """Return an address as a pointer to bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return _BYTES(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _copy(typing_context: Any, target: Any, source: Any, num_bytes: Any) -> Any:
    """Copy bytes between pointers that do not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cgutils.raw_memcpy(builder, *arguments, itemsize=1)
        return context.get_dummy_value()

    return types.void(_BYTES, _BYTES, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(typing_context: Any, pointer: Any) -> Any:
    """Ask for a cache line that will be read soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ask_for_line(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(_BYTES), generate


@kernel
def gather(
    positions: I64,
    starts: I64,
    files: I64,
    offsets: I64,
    labels: npt.NDArray[np.int32],
    header: npt.NDArray[np.uint8],
    num_pixel_bytes: int,
    pixels_out: int,
    labels_out: int,
) -> tuple[int, int]:
    """Copy the pixels and labels of some positions, each file's size and each record's npy header checked.

    Args:
        positions: int64 [n], any order, repeats allowed.
        starts: int64 [num_shards + 1], the first position of each shard, then the number of samples.
        files: int64 [num_shards, 3]: address of the tar's content or 0, file descriptor or -1 for content
            that no file backs, expected size of the file in bytes.
        offsets: int64, where the payload of each position begins in its tar.
        labels: int32, of each position.
        header: uint8, what each payload begins with.
        num_pixel_bytes: what follows the header in a payload.
        pixels_out: address of n·num_pixel_bytes bytes.
        labels_out: address of n int64.

    Returns:
        (what became of it, the row of `positions` where it stopped).
    """
    num, num_header = len(positions), len(header)
    out = carray(_at(labels_out), num * 8).view(np.int64)
    checked = np.zeros(len(files), np.uint8)
    shard = 0
    num_ahead = min(num_header + num_pixel_bytes, _PREFETCH_BYTES)
    behind = np.int64(0)
    for row in range(num + 1):
        # one row ahead: look up and prefetch it, then copy the row before, whose bytes have come meanwhile
        ahead = np.int64(0)
        if row < num:
            position = positions[row]
            if position < 0 or position >= starts[-1]:
                return OUT_OF_RANGE, row
            if position < starts[shard] or position >= starts[shard + 1]:
                shard = np.searchsorted(starts, position, "right") - 1
            if checked[shard] == 0:
                checked[shard] = 1
                if files[shard, 0] == 0:
                    return NOT_OPEN, row
                file = np.int32(files[shard, 1])
                if file >= 0 and _lseek(file, 0, _SEEK_END) != files[shard, 2]:
                    return WRONG_SIZE, row
            ahead = files[shard, 0] + offsets[position]
            for place in range(0, num_ahead, _CACHE_LINE_BYTES):
                _prefetch(_at(ahead + place))
            out[row] = labels[position]
        if row > 0:
            found = carray(_at(behind), num_header)
            difference = np.uint8(0)
            for i in range(num_header):
                difference |= found[i] ^ header[i]
            if difference != 0:
                return WRONG_HEADER, row - 1
            target = pixels_out + (row - 1) * num_pixel_bytes
            _copy(_at(target), _at(behind + num_header), num_pixel_bytes)
        behind = ahead
    return OK, num
