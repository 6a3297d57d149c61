"""Parts of a mixing set while it is being made, kept so that a stopped run goes on.

    <folder>/000000.npz      pixels, and the rest as JSON; a name that exists is whole
             lock            held by the process that fills the folder

Knows nothing of where pictures come from, nor of what becomes of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from pipeline.pictures.picture_set import Tally
from pipeline.sources.source import Skipped

_CHUNK_BYTES = 16 << 20


class Chunk(NamedTuple):
    """What one job made: some consecutive pictures of a set.

    Attributes:
        number: place of the chunk in the set, from 0 without gaps.
        pixels: uint8 [sum of 3·h·w], its pictures end to end.
        heights, widths: pixels, one per picture.
        ids: one per picture.
        skipped: what this chunk left out.
        tallies: how often its pictures were drawn, for generated ones.
        details: further numbers of its pictures, by name, for sets that have any.
    """

    number: int
    pixels: npt.NDArray[np.uint8]
    heights: list[int]
    widths: list[int]
    ids: list[str]
    skipped: tuple[Skipped, ...] = ()
    tallies: tuple[Tally, ...] = ()
    details: dict[str, list[float]] = {}  # noqa: RUF012 - never changed


def chunk_length(size: int) -> int:
    """Return how many pictures of about size×size a job makes: 64, or fewer to stay near 16 MiB."""
    return max(1, min(64, _CHUNK_BYTES // (3 * size * size)))


class ChunkStore:
    """The chunks of one set that are done, on disk; a context manager.

    While another process of this machine holds the folder, this one neither reads nor stores there,
    and works all the same.
    """

    def __init__(self, folder: Path) -> None:
        self.numbers: frozenset[int] = frozenset()
        """Of the chunks found whole when the store was entered."""
        self.num_pictures = 0
        """In these chunks, those left out included."""
        self.skipped: list[Skipped] = []
        """What these chunks left out."""
        self._folder = folder
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Claim the folder and read through what is there, dropping what is damaged.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = (self._folder / "lock").open("ab")
        # released when it is closed, or by the system however this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return self
        self._lock = lock
        found = []
        for path in sorted(self._folder.glob("*.npz")):
            try:
                chunk = self.load(int(path.stem))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink()
                continue
            found.append(chunk.number)
            self.num_pictures += len(chunk.ids) + len(chunk.skipped)
            self.skipped += chunk.skipped
        self.numbers = frozenset(found)
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the folder; what is stored stays."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self, number: int) -> Chunk:
        """Read a chunk; its checksums are compared."""
        with np.load(self._path(number), allow_pickle=False) as stored:
            pixels, text = stored["pixels"], stored["rest"].tobytes()
        rest = json.loads(text)
        return Chunk(
            number=number,
            pixels=pixels,
            heights=rest["heights"],
            widths=rest["widths"],
            ids=rest["ids"],
            skipped=tuple(Skipped(*item) for item in rest["skipped"]),
            tallies=tuple(Tally(*item) for item in rest["tallies"]),
            details=rest["details"],
        )

    def save(self, chunk: Chunk) -> None:
        """Store a chunk under its number, all or nothing.

        Raises:
            OSError: the disk is full or not writable.
        """
        if self._lock is None:
            return
        rest = json.dumps({name: getattr(chunk, name) for name in Chunk._fields[2:]}).encode()
        temporary = self._folder / f"{chunk.number:06d}.tmp"
        with temporary.open("wb") as file:
            np.savez(file, pixels=chunk.pixels, rest=np.frombuffer(rest, np.uint8))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path(chunk.number))

    def remove(self) -> None:
        """Remove the folder, once the set is whole."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"
