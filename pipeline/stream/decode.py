"""Turning encoded payloads into the pixels of a batch, checked, with errors that name the sample."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import simplejpeg
from isal import isal_zlib
from PIL import Image

from pipeline.errors import DreamshardsError
from pipeline.shards.clip_codecs import Payload, mjpg_into, mp4_into
from pipeline.shards.codecs import PICTURE_FORMATS
from pipeline.store import Store
from pipeline.stream.index import EpochIndex

U8 = npt.NDArray[np.uint8]


def sample_error(store: Store, index: EpochIndex, position: int, reason: str) -> DreamshardsError:
    """Return the error that one sample cannot be read."""
    tar = index.shards[index.shard_of(position)].tar
    return DreamshardsError(
        f"{store.address(tar)}: sample {index.key(position)} {reason}; "
        f"`dreamshards verify {store}` lists what is wrong"
    )


def position_error(store: Store, index: EpochIndex, position: int) -> IndexError:
    """Return the error that an epoch has no such position."""
    return IndexError(
        f"position {position} is not in epoch {index.epoch} of {store}; "
        f"allowed: 0 to {len(index) - 1}"
    )


def decode_payloads(
    store: Store,
    index: EpochIndex,
    positions: Sequence[int],
    payload_of: Callable[[int], Payload],
    check_crc: bool,
    out: U8,
) -> None:
    """Decode the samples of some positions into `out`, uint8 [n, H, W, 3], or [n, T, H, W, 3] of clips.

    The decoders release the GIL: several threads may each fill a part of a batch.

    Raises:
        DreamshardsError: a payload is not a sample of this shape, or with `check_crc`, altered.
    """
    decode = decoder_of(index.codec)
    for row, position in enumerate(positions):
        payload = payload_of(position)
        if check_crc:
            compare_crc(store, index, position, payload)
        try:
            decode(payload, out[row])
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            reason = f"is not a readable {index.codec} of {index.shape}: {error}"
            raise sample_error(store, index, position, reason) from error


def decoder_of(codec: str) -> Callable[[Payload, U8], None]:
    """Return what decodes one payload of a codec other than npy into a sample, uint8 of its shape.

    It raises ValueError or what Pillow raises where the payload is no sample of this shape.
    """
    return _DECODERS.get(codec, _pillow_into)


def compare_crc(store: Store, index: EpochIndex, position: int, payload: Payload) -> None:
    """Compare the CRC-32 of a payload with its manifest.

    Raises:
        DreamshardsError: it differs.
    """
    found, expected = isal_zlib.crc32(payload), int(index.crcs[position])
    if found != expected:
        reason = f"has CRC-32 {found:08x}, its manifest says {expected:08x}: the tar is altered"
        raise sample_error(store, index, position, reason)


def _jpeg_into(payload: Payload, out: U8) -> None:
    decoded = simplejpeg.decode_jpeg(payload, "RGB", buffer=out)
    if decoded.shape != out.shape:
        raise ValueError(f"its shape is {decoded.shape}")


def _pillow_into(payload: Payload, out: U8) -> None:
    with Image.open(io.BytesIO(payload), formats=PICTURE_FORMATS) as image:
        width, height = image.size
        if (height, width, 3) != out.shape:  # told before it is decoded: it may be a bomb
            raise ValueError(f"its shape is {(height, width, 3)}")
        out[:] = np.asarray(image.convert("RGB"))


_DECODERS: dict[str, Callable[[Payload, U8], None]] = {
    "jpg": _jpeg_into,
    "mjpg": mjpg_into,
    "mp4": mp4_into,
}
"""By codec; others are read with Pillow."""
