"""The mixing set of one's own zoom videos: every video below a folder, decoded once, frame by frame."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnreadableFile
from pipeline.executor import Executor
from pipeline.picture_sections import ZoomVideoPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore
from pipeline.pictures.files import FilesJob, check_skipped, hashed, listed, read
from pipeline.pictures.picture_set import evenly
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.progress import human_bytes, plural
from pipeline.sources.deadly import DEADLY, surviving
from pipeline.sources.images import UnreadableImage, decoder_versions, resize_shorter_side
from pipeline.sources.source import Skipped
from pipeline.sources.video_bytes import declared_bytes
from pipeline.sources.video_files import (
    VIDEOS,
    OpenVideo,
    UnreadableVideo,
    orientation,
    video_versions,
)
from pipeline.sources.video_pixels import Look, whole_frame
from pipeline.store import Store, open_input, open_store

U8 = npt.NDArray[np.uint8]

MAX_VIDEO_BYTES = 1 << 30
"""Of one video's frames, resized: about 8 minutes of 128×227 pixels."""
_LARGE_SET_BYTES = 4 << 30  # every node of a cluster holds a copy in memory

_FORMAT = "zoom-videos-1"
"""Part of the key; a change of what is made from the same files takes a new name."""

logger = logging.getLogger(__name__)


class _Shared(NamedTuple):
    root: Store
    size: int


def make_zoom_video_set(config: ZoomVideoPictures, executor: Executor) -> ZoomSet:
    """Return the videos below `config.path`, sorted by relative path, which is the id.

    Of more than `config.count`, every so many-th is taken, evenly spread. Each has two frames or more,
    whose shorter side is resized to `size`.

    Raises:
        UsageError: no such folder, no videos in it or fewer than asked for; see `files.listed`.
        DreamshardsError: PyAV is not installed; unreadable videos under `on_unreadable: stop`, or
            nothing but unreadable ones; a file that changes while the set is being made.
    """
    size = config.size
    assert size is not None, "a resolved recipe has a size"
    root = open_store(config.path)
    ids = listed(root, VIDEOS)
    places = evenly(len(ids), config.count, f"mixing_set.path = {str(root)!r}")
    files = hashed(root, [ids[place] for place in places])
    content = [_FORMAT, decoder_versions(), video_versions(), size, files]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def make(store: ChunkStore) -> Iterator[Chunk]:
        jobs = [
            FilesJob(number, [file])
            for number, file in enumerate(files)
            if number not in store.numbers
        ]
        skipped = store.skipped[:]
        shared = _Shared(open_input(config.path), size)
        for chunk in surviving(executor, _decode_chunk, shared, jobs):
            skipped += chunk.skipped
            yield chunk
        check_skipped(sorted(skipped), config, len(files), "videos")

    stored = cached(key, len(files), make, "videos")
    check_skipped(stored.skipped, config, len(files), "videos")
    if stored.pixels.nbytes > _LARGE_SET_BYTES:
        logger.warning(
            "mixing set: %s, %s, which every node holds in memory; "
            "a smaller mixing_set.size or a mixing_set.count takes less",
            plural(len(stored), "zoom video"),
            human_bytes(stored.pixels.nbytes),
        )
    return ZoomSet.of(stored)


def _decode_chunk(shared: _Shared, job: FilesJob) -> Chunk:
    """Decode and resize one video; its frames go one below the other."""
    (file,) = job.files
    name = file.id
    try:
        if name in job.deadly:
            raise UnreadableFile(DEADLY)
        frames = decode_video(read(shared.root, file), name, shared.size)
    except (UnreadableFile, UnreadableImage) as error:
        return Chunk(
            number=job.number,
            pixels=np.empty(0, np.uint8),
            heights=[],
            widths=[],
            ids=[],
            skipped=(Skipped(name, error.reason),),
            details={"num_frames": []},
        )
    num, height, width, _ = frames.shape
    return Chunk(
        number=job.number,
        pixels=frames.reshape(-1),
        heights=[num * height],
        widths=[width],
        ids=[name],
        details={"num_frames": [float(num)]},
    )


def decode_video(data: bytes, name: str, size: int) -> U8:
    """Decode a video file's bytes to uint8 [n, h, w, 3], RGB, upright, the shorter side `size` pixels.

    Raises:
        UnreadableVideo: it is no video, damaged or cut short, has fewer than two frames, frames of several
            sizes, or more of them than `MAX_VIDEO_BYTES` hold.
        UnreadableImage: its frames are too narrow.
        DreamshardsError: PyAV is not installed.
    """
    if not data:
        raise UnreadableVideo("the file is empty")
    declared = declared_bytes(io.BytesIO(data), len(data))
    frames: list[U8] = []
    with OpenVideo(io.BytesIO(data), strict=True) as video:
        look = Look(0, video.centred)
        for decoded in video.frames():
            if not frames:
                look = look._replace(turn=orientation(decoded))
            frames.append(resize_shorter_side(whole_frame(decoded, look), size, name))
            _check(frames)
    if declared > len(data):
        raise UnreadableVideo(f"cut short: {len(data):,} of {declared:,} bytes are there")
    if len(frames) < 2:
        raise UnreadableVideo(f"{plural(len(frames), 'frame')}; a zoom has 2 or more")
    return np.stack(frames)


def _check(frames: list[U8]) -> None:
    """Refuse frames of another size than the first, and too many of them."""
    first, last = frames[0].shape, frames[-1].shape
    if last != first:
        raise UnreadableVideo(
            f"frame {len(frames) - 1} becomes {last[1]}×{last[0]}, the first {first[1]}×{first[0]}"
        )
    if len(frames) * frames[0].nbytes > MAX_VIDEO_BYTES:
        raise UnreadableVideo(
            f"{len(frames)} frames of {first[1]}×{first[0]} and more; allowed: "
            f"{human_bytes(MAX_VIDEO_BYTES)} of pixels; cut it into shorter ones, or lower mixing_set.size"
        )
