"""UCF101 (Soomro, Zamir & Shah, 2012): videos of 101 actions, with the official lists of its three folds.

    path/UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi
    path/ucfTrainTestlist/classInd.txt, trainlist01.txt … testlist03.txt

The folds are by group: clips of one group are cut from one recording, so any other division leaks.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from functools import partial
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
from pipeline.store import LocalStore, Store, StoreError, open_input, stays_below

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
    videos, lists = _find(open_input(config.path))
    class_names = _read_classes(lists, "classInd.txt")
    name = f"{config.split}list{config.fold:02d}.txt"
    listing = _listing(videos, class_names, _read_list(lists, name, class_names))
    labels = {class_names.index(line.id.partition("/")[0]) for line in listing.broken}
    if listing.broken and (config.on_unreadable == "stop" or labels - set(listing.labels.tolist())):
        raise DreamshardsError(_missing_message(lists.address(name), videos, listing))
    return open_videos(config, videos, listing, executor)


def _find(place: Store) -> tuple[Store, Store]:
    """Return what holds the classes' folders, and what holds the lists, below or at `place`."""
    named = str(place).rpartition("/")[2] == _VIDEOS
    if place.has_folder(_VIDEOS):
        videos = place.below(_VIDEOS)
    elif named and place.has_folder(""):
        videos = place
    else:
        raise UsageError(
            f"source.path: no folder {_VIDEOS} in {str(place)!r}; fetch UCF101.rar from {_URL}, unpack it "
            "there, or set source.path to the folder that holds it"
        )
    beside = [LocalStore(videos.folder.parent)] if isinstance(videos, LocalStore) else []
    for folder in (place, videos, *beside):
        for inner in (_LISTS, f"UCF101TrainTestSplits-RecognitionTask/{_LISTS}"):
            if folder.has_folder(inner):
                return videos, folder.below(inner)
    raise UsageError(
        f"source.path: no folder {_LISTS} in {str(place)!r}, nor in {str(videos)!r}; fetch "
        f"UCF101TrainTestSplits-RecognitionTask.zip from {_URL} and unpack it there"
    )


# ── the lists ──


def _read_classes(lists: Store, file: str) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers."""
    names: list[str] = []
    for where, words in _lines(lists, file):
        new = len(words) == 2 and words[0] == str(len(names) + 1) and words[1] not in names
        if not new or "/" in words[1] or not stays_below(words[1]):
            raise UsageError(
                f"{where}: got {' '.join(words)!r}; allowed: the number {len(names) + 1} and the name of "
                "another class; take the official file"
            )
        names.append(words[1])
    return tuple(names)


def _read_list(lists: Store, list_name: str, class_names: Sequence[str]) -> list[_Entry]:
    """Return a list's videos by class and name; numbers that it gives must be those of classInd.txt."""
    labels = {name: label for label, name in enumerate(class_names)}
    found: dict[str, _Entry] = {}
    for where, words in _lines(lists, list_name):
        name = words[0]
        class_name, _, file = name.partition("/")
        if len(words) > 2 or not file or "/" in file or not stays_below(name):
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


def _lines(lists: Store, name: str) -> list[tuple[str, list[str]]]:
    """Return place and words of each line that is not empty; lines may end in CR LF.

    Raises:
        UsageError: no such file, not text, or no lines.
    """
    path = lists.address(name)
    try:
        text = lists.read(name).decode()
    except (StoreError, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, StoreError) else "it is not text"
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


def _listing(videos: Store, class_names: tuple[str, ...], entries: Sequence[_Entry]) -> Listing:
    """Look for every video that a list names."""
    present: list[_Entry] = []
    stats: list[tuple[int, int, int]] = []
    broken: list[Skipped] = []
    find = _finder(videos)
    for entry in entries:
        found = find(entry.name)
        if isinstance(found, str):
            broken.append(Skipped(entry.name, found))
            continue
        present.append(entry)
        stats.append(found)
    columns = np.array(stats, np.int64).reshape(-1, 3).T
    sizes, mtimes, ctimes = np.ascontiguousarray(columns)
    return Listing(
        class_names=class_names,
        labels=np.array([entry.label for entry in present], np.int32),
        ids=pa.array([entry.name for entry in present], pa.string()),
        size_bytes=sizes,
        mtime_ns=mtimes,
        ctime_ns=ctimes,
        broken=tuple(broken),
        strays=(),
    )


def _finder(videos: Store) -> Callable[[str], tuple[int, int, int] | str]:
    """Return what says of a video its size, mtime and ctime (0 in an object store), or what is wrong."""
    if isinstance(videos, LocalStore):
        return partial(_stat, videos.folder)
    objects = {entry.path: (entry.num_bytes, entry.modified_ns, 0) for entry in videos.entries()}
    return lambda name: objects.get(name, "no such object")


def _stat(folder: Path, name: str) -> tuple[int, int, int] | str:
    try:
        found = (folder / name).stat()
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _missing_message(path: str, videos: Store, listing: Listing) -> str:
    num = len(listing.broken)
    head = (
        f"{num:,} of the {plural(num + len(listing.ids), 'video')} that {path} names cannot be found below "
        f"{videos}; unpack UCF101.rar again, or leave them out with --set source.on_unreadable=skip"
    )
    named = [f"  {line.id}: {line.reason}" for line in listing.broken[:_NUM_NAMED]]
    if num > _NUM_NAMED:
        named.append(f"  and {num - _NUM_NAMED:,} more")
    return "\n".join([head, *named])
