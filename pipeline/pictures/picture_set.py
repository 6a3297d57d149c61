"""What a mixing set is to the rest of the pipeline: flat pixels that a node's workers share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError
from pipeline.sources import source
from pipeline.sources.source import Skipped


class Tally(NamedTuple):
    """How often the pictures of one generator were drawn.

    Attributes:
        kind: of the generator.
        kept: pictures in the set.
        drawn: pictures made, those that were drawn again included.
        dull: draws that the gate refused.
        alike: draws that looked like another picture of their chunk.
        forced: pictures kept although every draw was refused, the best of them each.
    """

    kind: str
    kept: int
    drawn: int
    dull: int
    alike: int
    forced: int


def merged(tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    """Add up the tallies of each kind, in order of first appearance."""
    sums: dict[str, Tally] = {}
    for tally in tallies:
        before = sums.get(tally.kind, Tally(tally.kind, 0, 0, 0, 0, 0))
        counts = (a + b for a, b in zip(before[1:], tally[1:], strict=True))
        sums[tally.kind] = Tally(tally.kind, *counts)
    return tuple(sums.values())


@dataclass(frozen=True, eq=False)
class PictureSet:
    """N mixing pictures of any sizes, end to end in one array.

    Attributes:
        pixels: uint8 [total], RGB; picture i is pixels[offsets[i] : offsets[i] + 3·h·w] as
            [h, w, 3].
        offsets: int64 [N].
        heights, widths: int32 [N], pixels.
        ids: string [N], file names below the folder, or the generator's names.
        digest: hex SHA-256 over sizes, ids, details and pixels: the identity of the set.
        skipped: the files left out under `on_unreadable: skip`.
        tallies: how often generated pictures were drawn, one for each kind.
        details: further numbers of each picture, float64 [N] by name, for sets that have any.
    """

    pixels: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    ids: pa.StringArray
    digest: str
    skipped: tuple[Skipped, ...] = ()
    tallies: tuple[Tally, ...] = ()
    details: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """Return picture `index` as uint8 [h, w, 3]."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def verify(self) -> None:
        """Recompute the digest from the pixels.

        Raises:
            DreamshardsError: it differs: the pixels are not those that were stored.
        """
        hashed = hashlib.sha256()
        for index in range(len(self)):
            hashed.update(np.ascontiguousarray(self.picture(index)).data)
        ids, details = self.ids.to_pylist(), self.details.values()
        found = set_digest(hashed, ids, self.heights, self.widths, *details)
        if found != self.digest:
            raise DreamshardsError(
                f"the mixing set is damaged: expected digest {self.digest}, found {found}; "
                "delete its folder in the cache, it will be made again"
            )


def set_digest(
    pixels: hashlib._Hash,
    ids: Sequence[str],
    heights: Sequence[int] | npt.NDArray[Any],
    widths: Sequence[int] | npt.NDArray[Any],
    *details: Sequence[float] | npt.NDArray[Any],
) -> str:
    """Return the digest of a set, given the SHA-256 state after all its pixels in order."""
    numbers = [map(float, column) for column in details]
    columns = ids, map(int, heights), map(int, widths), *numbers
    table = [list(row) for row in zip(*columns, strict=True)]
    text = json.dumps(table, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(pixels.digest() + text.encode()).hexdigest()


def group_of(name: str) -> str:
    """Return what an id says of its part of a set: flame-000012 → flame, art/x.png → art, else pictures."""
    head, slash, _ = name.partition("/")
    generated = re.fullmatch(r"([a-z-]+)-\d{6,}", name)
    return head if slash else generated[1] if generated else "pictures"


def evenly(num_present: int, count: int | None, where: str) -> Sequence[int]:
    """Return the places of `count` of `num_present` pictures, evenly spread; of all for None.

    Raises:
        UsageError: there are fewer; `where` says of what.
    """
    return source.evenly(num_present, count, where, "the weight of this part, or add pictures")
