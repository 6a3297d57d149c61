"""How a sample's pixels become the bytes of one tar member, and back.

A new codec is one entry in `CODECS`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.shards.clip_codecs import MAX_BYTES, decode_mjpg, decode_mp4, encode_mjpg, encode_mp4

U8 = npt.NDArray[np.uint8]

PICTURE_FORMATS = ("JPEG", "PNG", "WEBP")
"""What Pillow may take a payload for: of its other readers one runs a program."""


class Encoding(NamedTuple):
    """What a lossy codec is told, each None for a codec that has no such choice.

    Attributes:
        quality: of JPEG and WebP, 1 to 100; None is Pillow's own default.
        chroma: of clips, "444" or "420".
        crf: the rate factor of H.264, 0 to 51.
    """

    quality: int | None = None
    chroma: str | None = None
    crf: int | None = None


class Codec(NamedTuple):
    """One encoding of uint8 [H, W, 3] pictures, of clips, uint8 [T, H, W, 3], or as npy of either.

    Attributes:
        encode: (samples [n, …], how) → uint8 [n, size] or n byte strings.
        decode: bytes → one sample, uint8.
        lossless: whether decode gives back the very pixels.
        prefix: of a codec that does not compress, the shape of a sample → the bytes before a picture's own.
        bits_per_pixel: what one sample is reckoned to take when shards are sized before anything is made.
    """

    encode: Callable[[U8, Encoding], U8 | Sequence[bytes]]
    decode: Callable[[bytes], U8]
    lossless: bool
    bits_per_pixel: float
    prefix: Callable[[tuple[int, ...]], bytes] | None = None


@lru_cache
def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an npy file of uint8 in C order; its length is a multiple of 64."""
    buffer = io.BytesIO()
    content = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _encode_npy(pictures: U8, how: Encoding) -> U8:
    header = np.frombuffer(npy_header(pictures.shape[1:]), np.uint8)
    num, pixels = len(pictures), math.prod(pictures.shape[1:])
    out = np.empty((num, len(header) + pixels), np.uint8)
    out[:, : len(header)] = header
    out[:, len(header) :] = pictures.reshape(num, pixels)
    return out


def _decode_npy(data: bytes) -> U8:
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its npy header is not of version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    pixels = memoryview(data)[file.tell() :]
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which only a pickle can load: allow_pickle is False"
        )
    if dtype != np.uint8 or fortran or math.prod(shape) != len(pixels):
        raise ValueError(f"its npy header says {dtype} {shape}, {len(pixels)} bytes follow")
    return np.frombuffer(pixels, np.uint8).reshape(shape).copy()


def _pillow_encoder(kind: str, **options: object) -> Callable[[U8, Encoding], Sequence[bytes]]:
    def encode(pictures: U8, how: Encoding) -> Sequence[bytes]:
        chosen = options if how.quality is None else {**options, "quality": how.quality}
        encoded = []
        for picture in pictures:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, kind, **chosen)
            encoded.append(buffer.getvalue())
        return encoded

    return encode


def _decode_pillow(data: bytes) -> U8:
    with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
        if 3 * math.prod(image.size) > MAX_BYTES:
            raise ValueError(f"its size is {image.size[0]}×{image.size[1]} pixels")
        return np.asarray(image.convert("RGB"))


def _encode_mjpgs(clips: U8, how: Encoding) -> Sequence[bytes]:
    assert how.quality is not None
    assert how.chroma is not None
    return [encode_mjpg(clip, how.quality, how.chroma) for clip in clips]


def _encode_mp4s(clips: U8, how: Encoding) -> Sequence[bytes]:
    assert how.crf is not None
    assert how.chroma is not None
    return [encode_mp4(clip, how.crf, how.chroma) for clip in clips]


CODECS: dict[str, Codec] = {
    "npy": Codec(_encode_npy, _decode_npy, True, 24, npy_header),
    # 4:4:4, since saturated fractals lose far more to 4:2:0 than its bytes are worth
    "jpg": Codec(_pillow_encoder("JPEG", subsampling=0), _decode_pillow, False, 5),
    "png": Codec(_pillow_encoder("PNG", compress_level=6), _decode_pillow, True, 18),
    "webp": Codec(_pillow_encoder("WEBP", method=4), _decode_pillow, False, 4),
    "mjpg": Codec(_encode_mjpgs, decode_mjpg, False, 6),
    "mp4": Codec(_encode_mp4s, decode_mp4, False, 2),
}


def record_bytes(codec: str, size: int, frames: int | None = None) -> int:
    """Return the bytes that one size×size sample is reckoned to take in a tar; exact for npy.

    `frames` are those of a clip.
    """
    pixels = (frames or 1) * size * size
    payload = int(pixels * CODECS[codec].bits_per_pixel / 8)
    if codec == "npy":
        shape = (size, size, 3) if frames is None else (frames, size, size, 3)
        payload = len(npy_header(shape)) + 3 * pixels
    return 512 + (payload + 511) // 512 * 512 + 1024
