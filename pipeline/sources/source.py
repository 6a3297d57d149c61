"""What a clean dataset is to the rest of the pipeline, and its two forms: one array, or files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.sources.ahead import Reader
from pipeline.sources.images import FULL_SIZE, Scaled, decode_scaled
from pipeline.sources.unchanged import read_unchanged
from pipeline.store import LocalStore, Store


class Skipped(NamedTuple):
    """A sample left out, and why."""

    id: str
    reason: str


class Source(Protocol):
    """A listed and checked clean dataset."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label → name."""

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """int32 [N], the class of each sample."""

    @property
    def ids(self) -> pa.StringArray:
        """String [N], names that a person recognises (file, row); those of clips are their video's."""

    @property
    def heights(self) -> npt.NDArray[np.int32]:
        """int32 [N], pixels, as samples are read."""

    @property
    def widths(self) -> npt.NDArray[np.int32]:
        """int32 [N], pixels, as samples are read."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over class names, ids, labels and content; no path, clock or host in it."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out under `on_unreadable: skip`, sorted by id."""


class PictureSource(Source, Protocol):
    """A clean dataset of pictures."""

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return sample `index` as uint8 [H, W, 3], RGB."""

    def read_scaled(self, index: int, scale: int) -> Scaled:
        """Return sample `index` at `scale` eighths of its size where that saves time, else at full size."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A dataset of equally large pictures held in memory. Build one with `of`.

    Attributes beyond those of `Source`:
        pixels: uint8 [N, H, W, 3], C-contiguous, RGB.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    ids: pa.StringArray
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    fingerprint: str
    skipped: tuple[Skipped, ...]
    pixels: npt.NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        *,
        class_names: Sequence[str],
        labels: npt.NDArray[np.int32],
        ids: pa.StringArray,
        pixels: npt.NDArray[np.uint8],
    ) -> ArraySource:
        """Make a source of pixels [N, H, W, 3]; sizes and fingerprint follow from the arguments."""
        num_samples, height, width, channels = pixels.shape
        assert channels == 3
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert labels.dtype == np.int32
        assert num_samples == len(labels) == len(ids)
        names = tuple(class_names)
        shape = np.array(pixels.shape, "<i8")
        return cls(
            class_names=names,
            labels=labels,
            ids=ids,
            heights=np.full(num_samples, height, np.int32),
            widths=np.full(num_samples, width, np.int32),
            fingerprint=digest_of("pixels", names, ids, labels.astype("<i4"), shape, pixels),
            skipped=(),
            pixels=pixels,
        )

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return sample `index` as a view, uint8 [H, W, 3], RGB."""
        pixels: npt.NDArray[np.uint8] = self.pixels[index]
        return pixels

    def read_scaled(self, index: int, scale: int) -> Scaled:
        """Return sample `index` at full size: there is nothing to decode."""
        return Scaled(self.read(index), FULL_SIZE)


@dataclass(frozen=True, eq=False)
class FileSource:
    """A dataset of picture files that were all read once. Build one with `of`.

    Attributes beyond those of `Source`:
        files: what the ids are paths below: an absolute folder, the same on every node, or an object store.
        size_bytes: int64 [N], of each file.
        digests: uint8 [N, 32], SHA-256 of each file's bytes.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    ids: pa.StringArray
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    fingerprint: str
    skipped: tuple[Skipped, ...]
    files: Reader
    size_bytes: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        *,
        class_names: Sequence[str],
        labels: npt.NDArray[np.int32],
        ids: pa.StringArray,
        heights: npt.NDArray[np.int32],
        widths: npt.NDArray[np.int32],
        skipped: tuple[Skipped, ...],
        store: Store,
        size_bytes: npt.NDArray[np.int64],
        digests: npt.NDArray[np.uint8],
    ) -> FileSource:
        """Make a source of N files; the fingerprint follows from the arguments."""
        assert not isinstance(store, LocalStore) or store.folder.is_absolute()
        assert digests.dtype == np.uint8
        assert digests.shape == (len(ids), 32)
        assert labels.dtype == np.int32
        assert len(ids) == len(labels) == len(heights) == len(widths) == len(size_bytes)
        names = tuple(class_names)
        return cls(
            class_names=names,
            labels=labels,
            ids=ids,
            heights=heights,
            widths=widths,
            fingerprint=digest_of("files", names, ids, labels.astype("<i4"), digests),
            skipped=skipped,
            files=Reader(store),
            size_bytes=size_bytes,
            digests=digests,
        )

    @property
    def root(self) -> Path:
        """The folder of a local dataset."""
        assert isinstance(self.files.store, LocalStore)
        return self.files.store.folder

    def expect(self, indices: npt.NDArray[np.int64]) -> int:
        """Begin to read samples that are needed next; return how many bytes, 0 where nothing is gained."""
        if isinstance(self.files.store, LocalStore):
            return 0
        names = self.ids.take(pa.array(indices)).to_pylist()
        return self.files.expect(names, self.size_bytes[indices].tolist())

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return sample `index`, decoded, uint8 [H, W, 3], RGB.

        Raises:
            DreamshardsError: the file is gone or is not the one that was scanned.
        """
        return self.read_scaled(index, FULL_SIZE).pixels

    def read_scaled(self, index: int, scale: int) -> Scaled:
        """Return sample `index`, decoded at `scale` eighths of its size if it is a plain JPEG.

        Raises:
            DreamshardsError: as `read`.
        """
        name = self.ids[index].as_py()
        size_bytes = int(self.size_bytes[index])
        data = read_unchanged(self.files, name, size_bytes, self.digests[index])
        return decode_scaled(data, name, scale)


def evenly(
    num_present: int,
    count: int | None,
    where: str,
    advice: str = "add pictures",
    things: str = "pictures",
) -> Sequence[int]:
    """Return the places of `count` of `num_present` pictures, evenly spread; of all for None.

    The i-th is ⌊i · num_present / count⌋.

    Raises:
        UsageError: there are fewer `things`; `where` says of what, `advice` what may be done but asking for
            less.
    """
    if count is None:
        return range(num_present)
    if num_present < count:
        raise UsageError(
            f"{where} holds {num_present:,} {things}, {count:,} are asked for; "
            f"lower the count to {num_present}, or {advice}"
        )
    return [place * num_present // count for place in range(count)]


def digest_of(tag: str, *parts: Sequence[str] | pa.StringArray | npt.NDArray[np.generic]) -> str:
    """Return the hex SHA-256 over `tag` and parts, each preceded by its length in bytes.

    `tag` separates uses. Strings count as their lengths in UTF-8 bytes (int64, little-endian) and
    then their bytes. Arrays are C-contiguous and already little-endian.
    """
    digest = hashlib.sha256()

    def add(part: bytes | memoryview | npt.NDArray[np.generic]) -> None:
        view = part.data if isinstance(part, np.ndarray) else memoryview(part)
        digest.update(view.nbytes.to_bytes(8, "little"))
        digest.update(view)

    add(tag.encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            add(part)
            continue
        strings = part if isinstance(part, pa.StringArray) else pa.array(part, pa.string())
        _, offsets, text = strings.buffers()
        bounds = np.frombuffer(offsets, np.int32)[strings.offset :][: len(strings) + 1]
        add(np.diff(bounds).astype("<i8"))
        add(memoryview(text or b"")[bounds[0] : bounds[-1]])
    return digest.hexdigest()
