"""Synthetic anomalies as a source: made once and held in memory, or of a large set made as they are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.executor import Executor
from pipeline.source_sections import SyntheticSource
from pipeline.sources.clips import ArrayClips
from pipeline.sources.images import FULL_SIZE, Scaled
from pipeline.sources.source import ArraySource, Skipped, digest_of

U8 = npt.NDArray[np.uint8]

CLASS_NAME = "anomaly"
MAX_BYTES = 512 << 20
"""Of a set that is held in memory; a larger one is made picture by picture as it is read."""

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class GeneratedSource:
    """A set whose pictures are made each time they are read.

    Attributes beyond those of `Source`:
        config: what makes them.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    ids: pa.StringArray
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    fingerprint: str
    skipped: tuple[Skipped, ...]
    config: SyntheticSource

    def read(self, index: int) -> U8:
        """Return sample `index` as uint8 [S, S, 3]."""
        picture: U8 = _make(self.config, index, index + 1)[0]
        return picture

    def read_scaled(self, index: int, scale: int) -> Scaled:
        """Return sample `index` at full size: there is nothing to decode."""
        return Scaled(self.read(index), FULL_SIZE)


def open_synthetic(
    config: SyntheticSource, executor: Executor
) -> ArraySource | GeneratedSource | ArrayClips:
    """Make `config.count` pictures, in memory up to `MAX_BYTES`; ids are law and index: blobs-000000.

    Either form has the same fingerprint, for which every picture is made once. With `config.frames` they are
    clips.

    Raises:
        UsageError: more clips than fit into `MAX_BYTES`.
    """
    if config.frames is not None:
        return _clips(config, config.frames)
    num, size = config.count, config.size
    each = 3 * size * size
    held = np.empty((num, size, size, 3), np.uint8) if num * each <= MAX_BYTES else None
    digests = np.empty((num, 32), np.uint8)
    step = max(1, _CHUNK_BYTES // each)
    for first in range(0, num, step):
        pictures = _make(config, first, min(first + step, num))
        for place, picture in enumerate(pictures, first):
            digests[place] = np.frombuffer(hashlib.sha256(picture.data).digest(), np.uint8)
        if held is not None:
            held[first : first + len(pictures)] = pictures
    names, ids = (CLASS_NAME,), pa.array([f"{config.law}-{place:06d}" for place in range(num)])
    labels, side = np.zeros(num, np.int32), np.full(num, size, np.int32)
    fingerprint = digest_of("synthetic", names, ids, labels.astype("<i4"), digests)
    if held is None:
        return GeneratedSource(names, labels, ids, side, side, fingerprint, (), config)
    return ArraySource(names, labels, ids, side, side, fingerprint, (), held)


def _clips(config: SyntheticSource, frames: int) -> ArrayClips:
    """Make clips in memory: clip i has pictures i · frames to i · frames + frames − 1 of the law."""
    num, size = config.count, config.size
    most = MAX_BYTES // (3 * size * size * frames)
    if num > most:
        raise UsageError(
            f"source.count = {num:,} clips of {frames}×{size}×{size} px do not fit in memory; "
            f"allowed: at most {most:,}"
        )
    pixels = _make(config, 0, num * frames).reshape(num, frames, size, size, 3)
    names, ids = (CLASS_NAME,), pa.array([f"{config.law}-{place:06d}" for place in range(num)])
    labels, shape = np.zeros(num, np.int32), np.array(pixels.shape, "<i8")
    fingerprint = digest_of("clips", names, ids, labels.astype("<i4"), shape, pixels)
    return ArrayClips.of(
        class_names=names, labels=labels, ids=ids, fingerprint=fingerprint, pixels=pixels
    )


def _make(config: SyntheticSource, first: int, stop: int) -> U8:
    # not at the top: what pictures are made with imports this package
    from pipeline.corruptions.anomalies import anomaly_pictures

    pictures: U8 = anomaly_pictures(config.law, stop - first, config.size, config.seed, first)
    return pictures
