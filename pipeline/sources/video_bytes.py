"""How long a video file says it is: one that ends earlier was cut short, though what is left may decode.

AVI (RIFF chunks), MP4 and QuickTime (boxes of ISO/IEC 14496-12) and Matroska (elements of RFC 8794) say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

_HEAD_BYTES = 16
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp")
_EBML = b"\x1a\x45\xdf\xa3"


def declared_bytes(file: BinaryIO, size_bytes: int) -> int:
    """Return where a file ends by what its outermost parts say of their lengths; its length if they do not.

    Args:
        file: that can be searched.
        size_bytes: its length.
    """
    end = 0
    length_of: Callable[[bytes], int | None] = _no_bytes
    while end < size_bytes:
        file.seek(end)
        head = file.read(_HEAD_BYTES)
        if end == 0:
            length_of = _kind(head)
        length = length_of(head)
        if not length:  # unknown, or what was put behind the end
            return size_bytes
        end += length
    return end


def _kind(head: bytes) -> Callable[[bytes], int | None]:
    if head[:4] == b"RIFF":
        return _riff_bytes
    if head[4:8] in _BOXES:
        return _box_bytes
    return _element_bytes if head[:4] == _EBML else _no_bytes


def _no_bytes(head: bytes) -> int | None:
    return None


def _riff_bytes(head: bytes) -> int | None:
    """Return the length of a chunk of AVI, of which large files have several; padded to even."""
    size = int.from_bytes(head[4:8], "little")
    return 8 + size + size % 2 if head[:4] == b"RIFF" and size else None


def _box_bytes(head: bytes) -> int | None:
    """Return the length of a box; 0 in its place means to the end of the file."""
    if len(head) < 8:
        return 8
    if not head[4:8].isalnum():
        return None
    size = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:16], "big") if size == 1 else size


def _element_bytes(head: bytes) -> int | None:
    """Return the length of an element: ID and size are numbers whose leading zeros say how long they are."""
    id_bytes = 9 - head[0].bit_length()
    rest = head[id_bytes:]
    if id_bytes > 4 or not rest or not rest[0]:
        return None
    size_bytes = 9 - rest[0].bit_length()
    bits = 7 * size_bytes
    size = int.from_bytes(rest[:size_bytes], "big") & ((1 << bits) - 1)
    unknown = size == (1 << bits) - 1  # of a live recording
    return None if unknown else id_bytes + size_bytes + size
