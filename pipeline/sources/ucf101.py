"""UCF101 (Soomro, Zamir & Shah, 2012): videos of 101 actions, with the official lists of its three folds.

    path/UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi
    path/ucfTrainTestlist/classInd.txt, trainlist01.txt … testlist03.txt

The folds are by group: clips of one group are cut from one recording, so any other division leaks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.errors import DreamshardsError, UsageError, nearest
from pipeline.executor import Executor
from pipeline.progress import plural
from pipeline.source_sections import Ucf101Source
from pipeline.sources.folder_listing import Listing
from pipeline.sources.source import Skipped
from pipeline.sources.videos import VideoSource, open_videos

_VIDEOS = "UCF-101"
_LISTS = "ucfTrainTestlist"
_URL = "https://www.crcv.ucf.edu/data/UCF101.php"
_NUM_NAMED = 10


class _Entry(NamedTuple):
    """A line of a list: which video, and its class."""

    label: int
    name: str


def open_ucf101(config: Ucf101Source, executor: Executor) -> VideoSource:
    """Return the videos that the official list of a split and fold names, each decoded once.

    The classes are those of classInd.txt, in its order, which is not that of the folders' names: labels are
    its numbers less one. A video's class is its folder, for some files are spelled otherwise. Videos are
    ordered by class and name. The lists may lie beside the folder of the videos or inside.

    Raises:
        UsageError: folder or lists are missing, or a list is not of the official form.
        DreamshardsError: listed videos are missing or cannot be read, unless `on_unreadable` is skip.
    """
    videos, lists = _find(Path(config.path).expanduser().absolute())
    class_names = _read_classes(lists / "classInd.txt")
    path = lists / f"{config.split}list{config.fold:02d}.txt"
    listing = _listing(videos, class_names, _read_list(path, class_names))
    labels = {class_names.index(line.id.partition("/")[0]) for line in listing.broken}
    if listing.broken and (config.on_unreadable == "stop" or labels - set(listing.labels.tolist())):
        raise DreamshardsError(_missing_message(path, videos, listing))
    return open_videos(config, videos, listing, executor)


def _find(path: Path) -> tuple[Path, Path]:
    """Return the folder of the classes' folders, and that of the lists, below or at `path`."""
    videos = path / _VIDEOS
    if not videos.is_dir():
        if path.name != _VIDEOS or not path.is_dir():
            raise UsageError(
                f"source.path: no folder {_VIDEOS} in {str(path)!r}; fetch UCF101.rar from {_URL}, unpack it "
                "there, or set source.path to the folder that holds it"
            )
        videos = path
    places = [
        folder / inner
        for folder in dict.fromkeys((path, videos, videos.parent))
        for inner in (_LISTS, f"UCF101TrainTestSplits-RecognitionTask/{_LISTS}")
    ]
    for lists in places:
        if lists.is_dir():
            return videos, lists
    raise UsageError(
        f"source.path: no folder {_LISTS} in {str(path)!r}, nor in {str(videos)!r}; fetch "
        f"UCF101TrainTestSplits-RecognitionTask.zip from {_URL} and unpack it there"
    )


# ── the lists ──


def _read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers."""
    names: list[str] = []
    for where, words in _lines(path):
        if len(words) != 2 or words[0] != str(len(names) + 1) or words[1] in names:
            raise UsageError(
                f"{where}: got {' '.join(words)!r}; allowed: the number {len(names) + 1} and the name of "
                "another class; take the official file"
            )
        names.append(words[1])
    return tuple(names)


def _read_list(path: Path, class_names: Sequence[str]) -> list[_Entry]:
    """Return a list's videos by class and name; numbers that it gives must be those of classInd.txt."""
    labels = {name: label for label, name in enumerate(class_names)}
    found: dict[str, _Entry] = {}
    for where, words in _lines(path):
        name = words[0]
        class_name, _, file = name.partition("/")
        if len(words) > 2 or not file or "/" in file or file in (".", ".."):
            raise UsageError(
                f"{where}: got {' '.join(words)!r}; allowed: Class/video.avi, in lists for training with the "
                "class's number after it"
            )
        if class_name not in labels:
            raise UsageError(
                f"{where}: {name} is of the class {class_name!r}, which is not in classInd.txt"
                f"{nearest(class_name, labels)}; take both from the official archive"
            )
        label = labels[class_name]
        if words[1:] and words[1] != str(label + 1):
            raise UsageError(
                f"{where}: {name} has the number {words[1]}, but {class_name} is {label + 1} in "
                "classInd.txt; take both from the official archive"
            )
        if name in found:
            raise UsageError(f"{where}: {name} is named a second time; remove this line")
        found[name] = _Entry(label, name)
    return sorted(found.values())


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Return place and words of each line that is not empty; lines may end in CR LF.

    Raises:
        UsageError: no such file, not text, or no lines.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            f"source.path: cannot read {path}: {reason}; unpack "
            f"UCF101TrainTestSplits-RecognitionTask.zip from {_URL} again"
        ) from error
    numbered = enumerate(text.splitlines(), 1)
    lines = [(f"{path}, line {number}", line.split()) for number, line in numbered if line.strip()]
    if not lines:
        raise UsageError(f"source.path: {path} is empty; take the official file")
    return lines


# ── the videos ──


def _listing(videos: Path, class_names: tuple[str, ...], entries: Sequence[_Entry]) -> Listing:
    """Look for every video that a list names."""
    present: list[_Entry] = []
    stats: list[os.stat_result] = []
    broken: list[Skipped] = []
    for entry in entries:
        try:
            found = (videos / entry.name).stat()
        except OSError as error:
            broken.append(Skipped(entry.name, str(error.strerror)))
            continue
        if not stat.S_ISREG(found.st_mode):
            broken.append(Skipped(entry.name, "not a regular file"))
            continue
        present.append(entry)
        stats.append(found)
    return Listing(
        class_names=class_names,
        labels=np.array([entry.label for entry in present], np.int32),
        ids=pa.array([entry.name for entry in present], pa.string()),
        size_bytes=np.array([found.st_size for found in stats], np.int64),
        mtime_ns=np.array([found.st_mtime_ns for found in stats], np.int64),
        ctime_ns=np.array([found.st_ctime_ns for found in stats], np.int64),
        broken=tuple(broken),
        strays=(),
    )


def _missing_message(path: Path, videos: Path, listing: Listing) -> str:
    num = len(listing.broken)
    head = (
        f"{num:,} of the {plural(num + len(listing.ids), 'video')} that {path} names cannot be found below "
        f"{videos}; unpack UCF101.rar again, or leave them out with --set source.on_unreadable=skip"
    )
    named = [f"  {line.id}: {line.reason}" for line in listing.broken[:_NUM_NAMED]]
    if num > _NUM_NAMED:
        named.append(f"  and {num - _NUM_NAMED:,} more")
    return "\n".join([head, *named])
