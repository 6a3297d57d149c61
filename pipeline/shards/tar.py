"""Tar records of samples: `<key>.<codec>` then `<key>.cls`, USTAR, with nothing in them but the samples.

Records are laid out a batch at a time by a compiled kernel. With payloads of one size they have one stride,
so that a shard is one strided array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel, read_only

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


class InPlace(NamedTuple):
    """Payloads of one size that are written straight to where they lie in the tar.

    Attributes:
        num: how many.
        prefix: what begins each.
        size: bytes of the rest of each.
        fill: (content, first, stride): writes the rest of payload i to the bytes of `content`, uint8 [total],
            from first + i · stride on.
    """

    num: int
    prefix: bytes
    size: int
    fill: Callable[[U8, int, int], None]


Payloads = U8 | Sequence[bytes] | InPlace
"""uint8 [n, size], n byte strings, or n payloads to be written in place."""


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
_TEMPLATE_SUM = int(_TEMPLATE.sum())
_NO_SUFFIX, _LABEL_ENDING = np.frombuffer(b"", np.uint8), np.frombuffer(b".cls", np.uint8)
_NO_PAYLOADS = read_only(np.empty((0, 0), np.uint8))


def headers(names: U8, sizes: I64) -> U8:
    """Return USTAR headers, uint8 [n, 512], for ASCII names, uint8 [n, ≤ 100], and sizes below 8 GiB."""
    assert names.shape[1] <= _MAX_NAME
    assert sizes.max(initial=0) <= _MAX_SIZE
    out = np.empty((len(names), BLOCK), np.uint8)
    _put_headers(read_only(names), sizes, out)
    return out


@kernel
def _put_headers(names: U8, sizes: I64, out: U8) -> None:
    for i in range(len(names)):
        _put_header(names[i], _NO_SUFFIX, sizes[i], out[i])


@kernel
def _put_header(key: U8, suffix: U8, size: int, block: U8) -> None:
    """Write a header for the name `key` + `suffix` to `block`, uint8 [512]."""
    for i in range(BLOCK):
        block[i] = _TEMPLATE[i]
    checksum = _TEMPLATE_SUM
    for i in range(key.size):
        block[i] = key[i]
        checksum += key[i]
    for i in range(suffix.size):
        block[key.size + i] = suffix[i]
        checksum += suffix[i]
    for i in range(11):
        digit = 48 + ((size >> (3 * (10 - i))) & 7)
        block[124 + i] = digit
        checksum += digit
    for i in range(6):
        block[148 + i] = 48 + ((checksum >> (3 * (5 - i))) & 7)
    block[154] = 0  # the checksum ends in NUL and a space


def pack(
    keys: U8,
    suffix: str,
    payloads: Payloads,
    labels: npt.NDArray[np.int32],
) -> Records:
    """Lay out a batch of samples.

    Args:
        keys: uint8 [n, width], ASCII.
        suffix: the codec's file suffix, without the dot.
        payloads: n of them, in any form.
        labels: int32 [n], written as decimal text.
    """
    num = len(keys)
    assert keys.shape[1] + 1 + len(suffix) <= _MAX_NAME
    prefix, equal = b"", _NO_PAYLOADS
    if isinstance(payloads, InPlace):
        prefix = payloads.prefix
        sizes = np.full(num, len(prefix) + payloads.size, np.int64)
    elif isinstance(payloads, np.ndarray):
        equal = read_only(payloads)
        sizes = np.full(num, payloads.shape[1], np.int64)
    else:
        sizes = np.fromiter(map(len, payloads), np.int64, num)
    assert sizes.max(initial=0) <= _MAX_SIZE
    lengths = record_bytes(sizes)
    starts = np.cumsum(lengths) - lengths
    offsets = starts + BLOCK
    content = np.empty(int(lengths.sum()), np.uint8)
    ending, beginning = _ascii(f".{suffix}"), np.frombuffer(prefix, np.uint8)
    _lay_out(read_only(keys), ending, read_only(labels), starts, sizes, beginning, equal, content)
    if isinstance(payloads, InPlace):
        payloads.fill(content, BLOCK + len(prefix), int(lengths[0]) if num else 0)
    elif not isinstance(payloads, np.ndarray):
        for offset, payload in zip(offsets.tolist(), payloads, strict=True):
            content[offset : offset + len(payload)] = np.frombuffer(payload, np.uint8)
    return Records(content, starts, offsets, sizes)


def _ascii(text: str) -> U8:
    return np.frombuffer(text.encode(), np.uint8)


@kernel
def _lay_out(
    keys: U8,
    suffix: U8,
    labels: npt.NDArray[np.int32],
    starts: I64,
    sizes: I64,
    prefix: U8,
    payloads: U8,
    content: U8,
) -> None:
    """Write every record, of a payload only `prefix`, or the whole if `payloads` [n, size] holds them."""
    for i in range(len(keys)):
        offset = starts[i] + BLOCK
        _put_header(keys[i], suffix, sizes[i], content[starts[i] : offset])
        for j in range(prefix.size):
            content[np.uint64(offset + j)] = prefix[j]
        if payloads.size:
            for j in range(payloads.shape[1]):
                content[np.uint64(offset + j)] = payloads[i, j]
        end = offset + sizes[i]
        label_start = offset + (sizes[i] + BLOCK - 1) // BLOCK * BLOCK
        for j in range(label_start - end):
            content[np.uint64(end + j)] = 0
        text = content[label_start + BLOCK : label_start + 2 * BLOCK]
        num_digits = _put_decimal(labels[i], text)
        _put_header(keys[i], _LABEL_ENDING, num_digits, content[label_start : label_start + BLOCK])


@kernel
def _put_decimal(number: int, block: U8) -> int:
    """Write a number as text to `block`, uint8 [512], and zeros after it; return the length of the text."""
    for i in range(BLOCK):
        block[i] = 0
    rest = np.int64(abs(np.int64(number)))
    length = 1 if number >= 0 else 2
    while rest >= 10:
        rest //= 10
        length += 1
    rest = np.int64(abs(np.int64(number)))
    for i in range(length - 1, -1 if number >= 0 else 0, -1):
        block[i] = 48 + rest % 10
        rest //= 10
    if number < 0:
        block[0] = 45
    return length


def record_bytes(sizes: I64) -> I64:
    """Return the bytes of samples with payloads of these sizes: two headers, payload and label, padded."""
    return BLOCK + _padded(sizes) + 2 * BLOCK


def _padded(sizes: I64) -> I64:
    return (sizes + (BLOCK - 1)) // BLOCK * BLOCK
