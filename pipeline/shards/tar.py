"""Tar records of samples: `<key>.<codec>` then `<key>.cls`, USTAR, with nothing in them but the samples.

Records are laid out a batch at a time: headers by whole-array assignments, payloads where the offsets say.
With payloads of one size the records have one stride, so that a shard is one strided array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)
LABEL_SUFFIX = "cls"

_MAX_NAME = 100
_MAX_SIZE = 8**11 - 1
"""What USTAR's name and size fields hold, in bytes."""


class Records(NamedTuple):
    """A batch of samples as tar records.

    Attributes:
        content: uint8, the bytes to append.
        starts: int64 [n], where each sample's records begin in `content`.
        offsets: int64 [n], where each payload begins in `content`.
        sizes: int64 [n], bytes of each payload.
    """

    content: U8
    starts: I64
    offsets: I64
    sizes: I64


def _template() -> U8:
    header = np.zeros(BLOCK, np.uint8)

    def put(offset: int, text: bytes) -> None:
        header[offset : offset + len(text)] = np.frombuffer(text, np.uint8)

    put(100, b"0000644\x00")  # mode
    put(108, b"0000000\x00")  # uid
    put(116, b"0000000\x00")  # gid
    put(136, b"00000000000\x00")  # mtime
    put(148, b" " * 8)  # checksum, counted as spaces
    put(156, b"0")  # regular file
    put(257, b"ustar\x0000")
    return header


_TEMPLATE = _template()


def headers(names: U8, sizes: I64) -> U8:
    """Return USTAR headers, uint8 [n, 512], for ASCII names, uint8 [n, ≤ 100], and sizes below 8 GiB."""
    assert names.shape[1] <= _MAX_NAME
    assert sizes.max(initial=0) <= _MAX_SIZE
    out = np.tile(_TEMPLATE, (len(names), 1))
    out[:, : names.shape[1]] = names
    _put_octal(out, 124, 11, sizes)
    _put_octal(out, 148, 6, out.sum(axis=1, dtype=np.int64))
    out[:, 154] = 0  # the checksum ends in NUL and a space
    return out


def _put_octal(out: U8, offset: int, num_digits: int, values: I64) -> None:
    for digit in range(num_digits):
        shift = 3 * (num_digits - 1 - digit)
        out[:, offset + digit] = ((values >> shift) & 7) + ord("0")


def pack(
    keys: U8, suffix: str, payloads: U8 | Sequence[bytes], labels: npt.NDArray[np.int32]
) -> Records:
    """Lay out a batch of samples.

    Args:
        keys: uint8 [n, width], ASCII.
        suffix: the codec's file suffix, without the dot.
        payloads: uint8 [n, size] of one size, or n byte strings.
        labels: int32 [n], written as decimal text.
    """
    num = len(keys)
    texts = labels.astype("S11")
    label_sizes = np.char.str_len(texts).astype(np.int64)
    if isinstance(payloads, np.ndarray):
        sizes = np.full(num, payloads.shape[1], np.int64)
    else:
        sizes = np.fromiter(map(len, payloads), np.int64, num)
    lengths = record_bytes(sizes)
    starts = np.cumsum(lengths) - lengths
    content = np.zeros(int(lengths.sum()), np.uint8)
    offsets = starts + BLOCK
    label_starts = offsets + _padded(sizes)
    _put_rows(content, starts, headers(_names(keys, suffix), sizes))
    _put_rows(content, label_starts, headers(_names(keys, LABEL_SUFFIX), label_sizes))
    text_rows = texts.view(np.uint8).reshape(num, texts.itemsize)
    _put_rows(content, label_starts + BLOCK, text_rows)
    if isinstance(payloads, np.ndarray):
        _put_rows(content, offsets, payloads)
    else:
        for offset, payload in zip(offsets.tolist(), payloads, strict=True):
            content[offset : offset + len(payload)] = np.frombuffer(payload, np.uint8)
    return Records(content, starts, offsets, sizes)


def record_bytes(sizes: I64) -> I64:
    """Return the bytes of samples with payloads of these sizes: two headers, payload and label, padded."""
    return BLOCK + _padded(sizes) + 2 * BLOCK


def _names(keys: U8, suffix: str) -> U8:
    tail = np.frombuffer(f".{suffix}".encode(), np.uint8)
    return np.concatenate([keys, np.tile(tail, (len(keys), 1))], axis=1)


def _padded(sizes: I64) -> I64:
    return (sizes + (BLOCK - 1)) // BLOCK * BLOCK


def _put_rows(content: U8, starts: I64, rows: U8) -> None:
    """Write row i of `rows` to `content` from starts[i]; one strided assignment where strides are equal."""
    if len(starts) == 0:
        return
    strides = np.diff(starts)
    if len(starts) == 1 or (strides == strides[0]).all():
        stride = int(strides[0]) if len(starts) > 1 else rows.shape[1]
        view = np.lib.stride_tricks.as_strided(content[starts[0] :], rows.shape, (stride, 1))
        view[:] = rows
        return
    for start, row in zip(starts.tolist(), rows, strict=True):
        content[start : start + len(row)] = row
