"""Listing an image folder: which files belong to which class. Reads names and `stat` only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.sources.images import is_image_name
from pipeline.sources.source import Skipped

COMPANION_SUFFIXES = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
        *(".md", ".html", ".log"),
        *(".ini", ".db"),  # desktop.ini, Thumbs.db
    )
)
"""Files that lie beside pictures and never are one; ignored. Any other kind is a `stray`."""


class Listing(NamedTuple):
    """The N picture files of a folder, by class and then by id in code-point order.

    Attributes:
        class_names: sorted names of the sub-folders.
        labels: int32 [N].
        ids: string [N], paths below the folder with `/`.
        size_bytes, mtime_ns, ctime_ns: int64 [N], of the file behind a link.
        broken: links to nothing, devices and the like, under the name of a picture.
        strays: files that are neither pictures nor companions of pictures.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    ids: pa.StringArray
    size_bytes: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    ctime_ns: npt.NDArray[np.int64]
    broken: tuple[Skipped, ...]
    strays: tuple[Skipped, ...]

    def take(self, places: Sequence[int]) -> Listing:
        """Return the listing of some of the N files; what is broken or stray stays."""
        rows = np.array(places, np.int64)
        return self._replace(
            labels=self.labels[rows],
            ids=self.ids.take(pa.array(rows)),
            size_bytes=self.size_bytes[rows],
            mtime_ns=self.mtime_ns[rows],
            ctime_ns=self.ctime_ns[rows],
        )


def list_folder(root: Path) -> Listing:
    """List the pictures at any depth below each sub-folder of `root`.

    Names that start with a dot are ignored, files and folders alike. Links are followed.

    Raises:
        UsageError: no folder, no sub-folders, pictures outside them, a name that is not UTF-8, a
            link that leads back to a folder it lies in, a folder that cannot be listed.
    """
    class_names = _class_names(root)
    ids, stats = [], []
    broken: list[Skipped] = []
    strays: list[Skipped] = []
    unnameable: list[str] = []
    for class_name in class_names:
        rows = []  # the only per-file objects, of one class at a time
        for name, entry in _files(root, class_name, unnameable):
            if not is_image_name(name):
                suffix = Path(name).suffix.lower()
                if suffix not in COMPANION_SUFFIXES:
                    strays.append(Skipped(name, f"not a picture: {suffix or 'no suffix'}"))
                continue
            found = _stat(entry)
            if isinstance(found, str):
                broken.append(Skipped(name, found))
            else:
                rows.append((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        rows.sort()
        ids.append(pa.array([row[0] for row in rows], pa.string()))
        stats.append(np.array([row[1:] for row in rows], np.int64).reshape(-1, 3))
    if unnameable:
        raise UsageError(
            "\n  ".join(
                [
                    f"source.path: names below {root} that are not UTF-8; rename them",
                    *sorted(unnameable),
                ]
            )
        )
    sizes, mtimes, ctimes = np.ascontiguousarray(np.concatenate(stats).T)
    return Listing(
        class_names=tuple(class_names),
        labels=np.repeat(np.arange(len(ids), dtype=np.int32), [len(part) for part in ids]),
        ids=pa.concat_arrays(ids),
        size_bytes=sizes,
        mtime_ns=mtimes,
        ctime_ns=ctimes,
        broken=tuple(sorted(broken)),
        strays=tuple(sorted(strays)),
    )


def _class_names(root: Path) -> list[str]:
    try:
        state = None if stat.S_ISDIR(root.stat().st_mode) else "is not a folder"
    except OSError as error:
        state = f"cannot be opened ({error.strerror})"
    if state is not None:
        raise UsageError(
            f"source.path: {root} {state}; allowed: a folder with one sub-folder of pictures per "
            "class"
        )
    folders, pictures = [], []
    for entry in _entries(root):
        if _is_folder(entry):
            folders.append(entry.name)
        elif is_image_name(entry.name):
            pictures.append(entry.name)
    if not folders:
        inside = f" but {len(pictures):,} pictures directly in it" if pictures else ""
        raise UsageError(
            f"source.path: {root} has no sub-folders{inside}; allowed: one sub-folder per class "
            "with its pictures inside"
        )
    if pictures:
        raise UsageError(
            f"source.path: {len(pictures):,} pictures lie directly in {root}, outside any class, "
            f"such as {_shown(min(pictures))}; move them into class folders or away"
        )
    return sorted(folders)


def _files(
    root: Path, class_name: str, unnameable: list[str]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield each file of a class with its id, in no order; collect names that are not UTF-8."""
    open_folders: list[tuple[str, frozenset[tuple[int, int]]]] = [(class_name, frozenset())]
    while open_folders:
        name, ancestors = open_folders.pop()
        if _shown(name) != name:
            unnameable.append(_shown(name))
            continue
        folder = root / name
        found = folder.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in ancestors:
            raise UsageError(
                f"source.path: {folder} is a link back to a folder it lies in; remove the link"
            )
        for entry in _entries(folder):
            child = f"{name}/{entry.name}"
            if _is_folder(entry):
                open_folders.append((child, ancestors | {identity}))
            elif _shown(child) == child:
                yield child, entry
            elif is_image_name(child):
                unnameable.append(_shown(child))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, less hidden names."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry
    except OSError as error:
        raise UsageError(f"source.path: cannot list {folder}: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _stat(entry: os.DirEntry[str]) -> os.stat_result | str:
    """Return the state of the file behind an entry, or why it cannot be read as one."""
    try:
        found = entry.stat()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return f"a link to nothing: {reason}" if entry.is_symlink() else reason
    return found if stat.S_ISREG(found.st_mode) else "not a regular file"


def _shown(name: str) -> str:
    """Return the name, bytes that are not UTF-8 as `\\xff`; a name equal to its own is UTF-8."""
    if name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")
