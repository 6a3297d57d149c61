"""Short videos of scikit-learn's handwritten digits in motion, the motion being the class; no download.

They are made once, encoded as cameras do it, and lie in the cache as files:

    <cache>/digit-videos/<split>-<key>/<motion>/digit-0012.mp4
                                       SHA256SUMS

The folder is written under a temporary name and renamed when whole. From then on it is read like any other
folder of videos, by every node of a cluster: there the cache must be a folder that they share.
"""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.pictures.draws import Draws
from pipeline.progress import PlainProgress
from pipeline.pyav import pyav_with_h264
from pipeline.source_sections import DigitVideosSource
from pipeline.sources.digit_motions import MOTIONS, SIZE, UNKNOWN, draw_places
from pipeline.sources.digit_scenes import draw_scene, render_scene, to_yuv420
from pipeline.sources.digits import NUM_TEST, NUM_TRAIN, digit_id, load_rows
from pipeline.sources.folder_listing import Listing
from pipeline.sources.source import digest_of
from pipeline.sources.video_files import video_versions
from pipeline.sources.videos import VideoSource, open_videos
from pipeline.store import LocalStore

logger = logging.getLogger(__name__)

U8 = npt.NDArray[np.uint8]

CONTENT_VERSION = 1
"""Raise it with anything that changes a video: those made before are then left alone."""

NUM_VIDEOS = {"train": 1000, "test": 300, "unknown": 140}
"""Of each split, each of another digit; every class has as many. Those of `unknown` are of the test set."""

FRAMES_PER_S = 25
KEY_FRAME_EVERY = 12

_PURPOSES = {split: int.from_bytes(f"dv-{split}"[:8].encode(), "big") for split in NUM_VIDEOS}
_SUMS = "SHA256SUMS"
_SMPTE_170M = 6  # the matrix of BT.601
_VIDEOS_PER_JOB = 50


class Job(NamedTuple):
    """Some of a split's videos: places [start, start + len(digits)), and their digits in grey."""

    start: int
    digits: U8


def open_digit_videos(config: DigitVideosSource, executor: Executor) -> VideoSource:
    """Return a split's videos of 32 frames of 48×48 px at 25 a second, H.264 in 4:2:0; ids are their files.

    `train` and `test` are of other digits, as in `digits`. Classes are the ten `MOTIONS`, of `unknown` the
    four of `UNKNOWN`.

    Raises:
        UsageError: more are asked for than there are.
        DreamshardsError: PyAV is not installed, or the cache cannot be written.
    """
    root = _made(config.split, executor)
    return open_videos(config, LocalStore(root), _listing(root, config.split), executor)


def class_names(split: str) -> tuple[str, ...]:
    """Return the classes of a split, sorted."""
    return tuple(UNKNOWN if split == "unknown" else MOTIONS)


def video_names(split: str) -> list[str]:
    """Return the file of each video below its split's folder, by place: up/digit-0012.mp4.

    Classes take turns, and digits come in an order drawn at random, so that no class favours some.
    """
    names = class_names(split)
    rows = _rows(split)
    return [f"{names[place % len(names)]}/{digit_id(row)}.mp4" for place, row in enumerate(rows)]


def make_frames(split: str, place: int, digit: U8) -> U8:
    """Return the frames of one video before they are encoded, uint8 [32, 48, 48, 3].

    Args:
        split: its split.
        place: of `video_names`.
        digit: its digit in grey, uint8 [D, D].
    """
    names = class_names(split)
    draws = Draws(CONTENT_VERSION, _PURPOSES[split], place, 0)
    places = draw_places(names[place % len(names)], draws)
    return render_scene(draw_scene(draws), places, digit)


def _rows(split: str) -> list[int]:
    """Return the digit of each video, by place: so many of the split's rows, in an order drawn at random."""
    rows = list(range(NUM_TRAIN) if split == "train" else range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))
    draws = Draws(CONTENT_VERSION, _PURPOSES[split], 0, 1)
    for place in range(NUM_VIDEOS[split]):  # Fisher and Yates
        other = place + draws.choice(len(rows) - place)
        rows[place], rows[other] = rows[other], rows[place]
    return rows[: NUM_VIDEOS[split]]


def _listing(root: Path, split: str) -> Listing:
    """Return the split's files by class and id, as `list_folder` has it."""
    ids, names = sorted(video_names(split)), class_names(split)
    stats = [(root / name).stat() for name in ids]
    return Listing(
        class_names=names,
        labels=np.array([names.index(name.partition("/")[0]) for name in ids], np.int32),
        ids=pa.array(ids, pa.string()),
        size_bytes=np.array([found.st_size for found in stats], np.int64),
        mtime_ns=np.array([found.st_mtime_ns for found in stats], np.int64),
        ctime_ns=np.array([found.st_ctime_ns for found in stats], np.int64),
        broken=(),
        strays=(),
    )


# ── making them ──


def make_videos(split: str, job: Job) -> list[tuple[str, bytes]]:
    """Return name and content of each of a job's videos.

    Raises:
        DreamshardsError: PyAV is not installed, or lacks the encoder.
    """
    av = pyav_with_h264("making the embedded videos")
    names = video_names(split)
    made = []
    for place, digit in enumerate(job.digits, job.start):
        planes = to_yuv420(make_frames(split, place, digit))
        made.append((names[place], _encode(av, planes)))
    return made


def _encode(av: ModuleType, planes: U8) -> bytes:
    """Return an mp4 of frames in yuv420p, with two B-frames between others; same versions, same bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        # What x264 writes depends on the number of threads, on the CPU's algorithms and, with its tree of
        # macroblocks, on memory never written.
        structure = (
            f"keyint={KEY_FRAME_EVERY}:scenecut=0:bframes=2:b-adapt=0:cpu-independent=1:mbtree=0"
        )
        options = {"crf": "18", "preset": "veryfast", "threads": "1", "x264-params": structure}
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = _SMPTE_170M
        for picture in planes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode())
    return file.getvalue()


# ── the cache ──


def _made(split: str, executor: Executor) -> Path:
    """Return the folder of a split's videos, making them if they are not there as they were made."""
    versions = sorted(video_versions().items())
    key = digest_of(f"digit-videos {CONTENT_VERSION} {versions}", video_names(split))[:16]
    folder = cache_folder("digit-videos").absolute()
    root = folder / f"{split}-{key}"
    broken = _fault(root, split)
    if broken is None:
        return root
    if root.exists():
        logger.warning("videos in the cache are broken, making them again: %s: %s", root, broken)
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".tmp", dir=folder))
        _write(temporary, split, executor)
        _publish(temporary, root, split)
    except OSError as error:
        raise DreamshardsError(
            f"cannot store videos in {folder}: {error.strerror or error}; free some space there or set "
            "DREAMSHARDS_CACHE to another folder, then run the same command"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return root


def _write(folder: Path, split: str, executor: Executor) -> None:
    """Make a split's videos into a folder; their checksums, by which damage is found, come last."""
    for name in class_names(split):
        (folder / name).mkdir()
    progress = PlainProgress(f"making digit-videos, {split}", NUM_VIDEOS[split], "videos")
    sums = {}
    for made in executor.map(make_videos, split, _jobs(split)):
        for name, content in made:
            (folder / name).write_bytes(content)
            sums[name] = hashlib.sha256(content).hexdigest()
        progress.show(len(sums))
    lines = [f"{sums[name]}  {name}\n" for name in sorted(sums)]
    (folder / _SUMS).write_text("".join(lines))
    folder.chmod(0o755)  # of temporary folders others cannot read


def _jobs(split: str) -> Iterator[Job]:
    digits, _ = load_rows(_rows(split))
    for start in range(0, len(digits), _VIDEOS_PER_JOB):
        yield Job(start, digits[start : start + _VIDEOS_PER_JOB])


def _publish(temporary: Path, root: Path, split: str) -> None:
    """Give a finished folder its name, unless another process was first; what is broken makes way."""
    aside = temporary.with_suffix(".broken")
    for _ in range(8):
        try:
            temporary.rename(root)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        if _fault(root, split) is None:
            return
        with suppress(FileNotFoundError):
            root.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)  # if it was a file
    raise DreamshardsError(f"cannot replace the broken videos in {root}; delete it and run again")


def _fault(root: Path, split: str) -> str | None:
    """Return in what a folder differs from what was published under its name, or None."""
    try:
        sums = dict(line.split("  ", 1)[::-1] for line in (root / _SUMS).read_text().splitlines())
        if sorted(sums) != sorted(video_names(split)):
            return f"{_SUMS} names other videos"
        for name, digest in sums.items():
            if hashlib.sha256((root / name).read_bytes()).hexdigest() != digest:
                return f"{name} was altered"
    except (OSError, ValueError) as error:
        return str(error)
    return None
