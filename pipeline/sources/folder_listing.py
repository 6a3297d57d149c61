"""Listing a folder of pictures or videos, local or in an object store: which belong to which class.

Reads names, sizes and times only.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.sources.images import IMAGE_SUFFIXES
from pipeline.sources.source import Skipped
from pipeline.store import Entry, LocalStore, Root, Store, open_store, stays_below

COMPANION_SUFFIXES = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
        *(".md", ".html", ".log"),
        *(".ini", ".db"),  # desktop.ini, Thumbs.db
    )
)
"""Files that lie beside pictures and videos and never are one; ignored. Any other kind is a `stray`."""


class FileKind(NamedTuple):
    """What is looked for.

    Attributes:
        name: of one file, such as picture.
        suffixes: in lower case.
    """

    name: str
    suffixes: frozenset[str]

    def has(self, name: str) -> bool:
        """Tell whether a file of this name counts as one."""
        return os.path.splitext(name)[1].lower() in self.suffixes  # noqa: PTH122 - 4× faster than Path


PICTURES = FileKind("picture", IMAGE_SUFFIXES)


class Listing(NamedTuple):
    """The N pictures or videos of a folder, by class and then by id in code-point order.

    Attributes:
        class_names: sorted names of the sub-folders.
        labels: int32 [N].
        ids: string [N], paths below the folder with `/`.
        size_bytes, mtime_ns, ctime_ns: int64 [N], of the file behind a link; objects of a store have 0 as
            ctime.
        broken: links to nothing, devices and the like, under the name of one.
        strays: files that are neither that nor its companions.
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


_Found: TypeAlias = "os.DirEntry[str] | Entry"


def list_folder(root: Root, kind: FileKind = PICTURES) -> Listing:
    """List the files of a kind at any depth below each sub-folder of `root`.

    Names that start with a dot are ignored, files and folders alike. Links are followed.

    Raises:
        UsageError: no folder, no sub-folders, files of the kind outside them, a name that is not UTF-8 or
            leaves the folder, a link that leads back to a folder it lies in, a folder that cannot be listed.
        StoreError: the store does not answer.
    """
    store = open_store(root)
    unnameable: list[str] = []
    classes: Iterable[tuple[str, Iterable[tuple[str, _Found]]]]
    if isinstance(store, LocalStore):
        classes = _folders(store.folder, kind, unnameable)
    else:
        classes = _prefixes(store, kind)
    class_names, ids, stats = [], [], []
    broken: list[Skipped] = []
    strays: list[Skipped] = []
    for class_name, files in classes:
        class_names.append(class_name)
        rows = []  # of a local folder the only per-file objects, of one class at a time
        for name, entry in files:
            if not kind.has(name):
                suffix = Path(name).suffix.lower()
                if suffix not in COMPANION_SUFFIXES:
                    strays.append(Skipped(name, f"not a {kind.name}: {suffix or 'no suffix'}"))
                continue
            found = _stat(entry)
            if isinstance(found, str):
                broken.append(Skipped(name, found))
            else:
                rows.append((name, *found))
        rows.sort()
        ids.append(pa.array([row[0] for row in rows], pa.string()))
        stats.append(np.array([row[1:] for row in rows], np.int64).reshape(-1, 3))
    if unnameable:
        raise UsageError(
            "\n  ".join(
                [
                    f"source.path: names below {store} that are not UTF-8; rename them",
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


def strays_message(root: Store, strays: tuple[Skipped, ...], kind: FileKind) -> str:
    """Return what is wrong with a folder that holds other files."""
    suffixes = Counter(stray.reason.partition(": ")[2] for stray in strays)
    examples = {stray.reason.partition(": ")[2]: stray.id for stray in reversed(strays)}
    found = ", ".join(
        f"{suffixes[suffix]:,} {suffix} (such as {examples[suffix]})" for suffix in sorted(suffixes)
    )
    return (
        f"source.path: files below {root} that are no {kind.name}s: {found}; allowed: "
        f"{', '.join(sorted(kind.suffixes))}; convert them or move them away, or leave them out "
        "with --set source.on_unreadable=skip"
    )


def _check_layout(root: str, folders: Iterable[str], files: Sequence[str], kind: FileKind) -> None:
    """Refuse a root without sub-folders, or with files of the kind directly in it."""
    if not folders:
        inside = f" but {len(files):,} {kind.name}s directly in it" if files else ""
        raise UsageError(
            f"source.path: {root} has no sub-folders{inside}; allowed: one sub-folder per class "
            f"with its {kind.name}s inside"
        )
    if files:
        raise UsageError(
            f"source.path: {len(files):,} {kind.name}s lie directly in {root}, outside any class, "
            f"such as {_shown(min(files))}; move them into class folders or away"
        )


# ── in an object store ──


def visible_objects(store: Store, where: str) -> Iterator[Entry]:
    """Yield the objects of a store, less those with a name that starts with a dot, in no order.

    Args:
        store: in which `where`, a field of a recipe, looks.

    Raises:
        UsageError: an object's name is none that a file below a folder could have.
        StoreError: the store does not answer.
    """
    for entry in store.entries():
        if not stays_below(entry.path):
            raise UsageError(
                f"{where}: {store} holds an object named {entry.path!r}, which no file below a folder could "
                "be named; rename or remove it"
            )
        if not entry.path.startswith(".") and "/." not in entry.path:
            yield entry


def _prefixes(store: Store, kind: FileKind) -> list[tuple[str, list[tuple[str, Entry]]]]:
    """Return the classes in order, each with its objects by name."""
    classes: dict[str, list[tuple[str, Entry]]] = {}
    loose: list[str] = []
    for entry in visible_objects(store, "source.path"):
        class_name, slash, _ = entry.path.partition("/")
        if slash:
            classes.setdefault(class_name, []).append((entry.path, entry))
        elif kind.has(entry.path):
            loose.append(entry.path)
    _check_layout(str(store), classes, loose, kind)
    return sorted(classes.items())


# ── in a local folder ──


def _folders(
    root: Path, kind: FileKind, unnameable: list[str]
) -> Iterator[tuple[str, Iterator[tuple[str, os.DirEntry[str]]]]]:
    """Yield the classes in order, each with its files by name; collect names that are not UTF-8."""
    try:
        state = None if stat.S_ISDIR(root.stat().st_mode) else "is not a folder"
    except OSError as error:
        state = f"cannot be opened ({error.strerror})"
    if state is not None:
        raise UsageError(
            f"source.path: {root} {state}; allowed: a folder with one sub-folder of {kind.name}s per "
            "class"
        )
    folders, files = [], []
    for entry in _entries(root):
        if _is_folder(entry):
            folders.append(entry.name)
        elif kind.has(entry.name):
            files.append(entry.name)
    _check_layout(str(root), folders, files, kind)
    for class_name in sorted(folders):
        yield class_name, _files(root, class_name, kind, unnameable)


def _files(
    root: Path, class_name: str, kind: FileKind, unnameable: list[str]
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
            elif kind.has(child):
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


def _stat(entry: _Found) -> tuple[int, int, int] | str:
    """Return size, mtime and ctime of the file behind an entry, or why it cannot be read as one."""
    if isinstance(entry, Entry):
        return entry.num_bytes, entry.modified_ns, 0
    try:
        found = entry.stat()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return f"a link to nothing: {reason}" if entry.is_symlink() else reason
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _shown(name: str) -> str:
    """Return the name, bytes that are not UTF-8 as `\\xff`; a name equal to its own is UTF-8."""
    if name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")
