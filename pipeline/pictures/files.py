"""Files that a mixing set is made of, below a folder or in an object store: listed, hashed, read, and those
that cannot be.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.ahead import ahead
from pipeline.cache import cache_folder
from pipeline.errors import DreamshardsError, PassingFault, UnreadableFile, UsageError
from pipeline.picture_sections import FolderPictures, ZoomVideoPictures
from pipeline.progress import PlainProgress
from pipeline.sources.ahead import read_each
from pipeline.sources.file_scan import keep_columns, load_columns
from pipeline.sources.folder_listing import FileKind, visible_objects
from pipeline.sources.source import Skipped, digest_of
from pipeline.store import LocalStore, Store, StoreError, open_store

_HASH_THREADS = 16
_BLOCK_BYTES = 1 << 20

# Anything else is wrong with the machine and must not make a file count as unreadable.
_FAULTS_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO)


class File(NamedTuple):
    """A file of a mixing set.

    Attributes:
        id: path below the folder, with `/`.
        sha256: hex, or empty when the file could not be read.
    """

    id: str
    sha256: str


class FilesJob(NamedTuple):
    """The files of one chunk of a set.

    Attributes:
        number: of the chunk.
        deadly: files that are not to be decoded.
    """

    number: int
    files: list[File]
    deadly: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The files' ids."""
        return [file.id for file in self.files]

    def only(self, name: str) -> FilesJob:
        """Return a job of one of them."""
        return FilesJob(self.number, [file for file in self.files if file.id == name])

    def sparing(self, names: frozenset[str]) -> FilesJob:
        """Return the same job, which decodes none of `names`."""
        return self._replace(deadly=names)


def listed(root: Store, kind: FileKind) -> list[str]:
    """Return the relative paths, with `/`, of all files of a kind at any depth, sorted.

    Names that start with a dot are ignored, files and folders alike; links are followed.

    Raises:
        UsageError: no such folder, no such files in it, a name that is not UTF-8 or leaves the folder, a
            link that leads back to a folder it lies in, a folder that cannot be listed.
        StoreError: the store does not answer.
    """
    where = f"mixing_set.path = {str(root)!r}"
    if isinstance(root, LocalStore):
        if not root.folder.is_dir():
            found = "is a file, not a folder" if root.folder.exists() else "does not exist"
            raise UsageError(f"{where} {found}; allowed: a folder of {kind.name}s")
        ids = sorted(_below(root.folder, "", (), kind))
    else:
        objects = visible_objects(root, "mixing_set.path")
        ids = sorted(entry.path for entry in objects if kind.has(entry.path))
    if not ids:
        raise UsageError(
            f"{where} holds no {kind.name}s at any depth; accepted: "
            f"{', '.join(sorted(kind.suffixes))}"
        )
    for name in ids:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: the file name {os.fsencode(name)!r} is not UTF-8; rename the file"
            ) from error
    return ids


def _below(
    root: Path, place: str, ancestors: tuple[tuple[int, int], ...], kind: FileKind
) -> Iterator[str]:
    """Yield the files of the folder `place`, empty or ending in `/`, and of those in it."""
    folder = root / place
    try:
        found = folder.stat()
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"mixing_set.path: cannot list {folder}: {error.strerror}") from error
    identity = (found.st_dev, found.st_ino)
    if identity in ancestors:
        raise UsageError(
            f"mixing_set.path: {folder} is a link back to a folder it lies in; remove the link"
        )
    for entry in visible:
        if Path(entry).is_dir():  # a link that leads to itself is none, and shows up as unreadable
            yield from _below(root, f"{place}{entry.name}/", (*ancestors, identity), kind)
        elif kind.has(entry.name):
            yield place + entry.name


def hashed(root: Store, ids: Sequence[str]) -> list[File]:
    """Read every file once, for the key of the set; objects that did not change since are not read again."""
    entry = None if isinstance(root, LocalStore) else _entry_for(root, ids)
    kept = None if entry is None else load_columns(entry, pa.array(ids, pa.string()))
    if kept is not None and "sha256" in kept:
        return [File(*row) for row in zip(ids, kept["sha256"].to_pylist(), strict=True)]
    progress = PlainProgress("mixing set: checking", len(ids), "files")
    files = []
    # both reading and hashing release the GIL
    for name, sha256 in zip(
        ids, ahead(partial(_sha256, root), ids, 2 * _HASH_THREADS, _HASH_THREADS), strict=True
    ):
        files.append(File(name, sha256))
        progress.show(len(files))
    if entry is not None:
        digests = pa.array([file.sha256 for file in files], pa.string())
        keep_columns(entry, {"id": pa.array(ids, pa.string()), "sha256": digests})
    return files


def _entry_for(root: Store, ids: Sequence[str]) -> Path:
    """Return where the digests of some objects are kept: by where they lie, ids, sizes and times."""
    found = {entry.path: (entry.num_bytes, entry.modified_ns) for entry in root.entries()}
    stats = np.array([found.get(name, (-1, -1)) for name in ids], "<i8")
    return cache_folder("scans") / f"{digest_of(f'objects {root}', ids, stats)}.parquet"


def _sha256(root: Store, name: str) -> str:
    """Return the SHA-256 of a file, or nothing: it is reported when its turn to be decoded comes."""
    if not isinstance(root, LocalStore):
        return hashlib.sha256(root.read(name)).hexdigest()
    digest = hashlib.sha256()
    try:
        with (root.folder / name).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def read(root: Store, file: File) -> bytes:
    """Return the content of a file that was hashed.

    Raises:
        UnreadableFile: it is gone or closed to this user.
        PassingFault: the store is out of reach.
        DreamshardsError: it changed since, or something else than the file is wrong.
    """
    try:
        data = root.read(file.id)
    except PassingFault:
        raise
    except StoreError as error:
        if getattr(error.__cause__, "errno", None) not in _FAULTS_OF_THE_FILE:
            raise DreamshardsError(
                f"cannot read {error.address}: {error.reason}; this is no fault of the file; set it right, "
                "then run the same command"
            ) from error
        raise UnreadableFile(error.reason) from error
    if file.sha256 and hashlib.sha256(data).hexdigest() != file.sha256:
        raise DreamshardsError(
            f"{root.address(file.id)} changed while the mixing set was being made; run again"
        )
    return data


def read_all(root: Store, files: Sequence[File]) -> Iterator[bytes | UnreadableFile]:
    """Yield the content of each file, or why it cannot be read.

    Raises:
        DreamshardsError: as `read`.
    """
    return read_each(partial(_read_or_reason, root), root, files)


def _read_or_reason(root: Store, file: File) -> bytes | UnreadableFile:
    try:
        return read(root, file)
    except UnreadableFile as error:
        return error


def check_skipped(
    skipped: Sequence[Skipped],
    config: FolderPictures | ZoomVideoPictures,
    num_files: int,
    noun: str,
) -> None:
    """Raise unless the recipe allows to leave these out and something remains.

    Raises:
        DreamshardsError: it does not, or nothing does; names each file and its reason.
    """
    if not skipped or (config.on_unreadable == "skip" and len(skipped) < num_files):
        return
    if len(skipped) == num_files:
        advice = "not one can be used; mend them or name another folder"
    else:
        advice = "mend or remove them, or leave them out with --set mixing_set.on_unreadable=skip"
    lines = [f"  {name}: {reason}" for name, reason in skipped]
    raise DreamshardsError(
        "\n".join(
            [
                f"{len(skipped)} of {num_files} {noun} in mixing_set.path = {str(open_store(config.path))!r} "
                f"are unreadable; {advice}",
                *lines,
            ]
        )
    )
