"""What a preview shows, whichever way it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cell:
    """One sample.

    Attributes:
        mixing: uint8 [S, S, 3], what it was mixed with, cropped, None where it met nothing.
        stored: uint8 [S, S, 3], decoded from the shard; the first frame of a clip.
        later: its middle and last frame, likewise; of a picture nothing.
        lines: what was done to it, in order.
    """

    key: str
    mixing: U8 | None
    stored: U8
    lines: list[str]
    later: tuple[U8, ...] = ()


@dataclass(frozen=True)
class Strip:
    """One source picture, uint8 [H, W, 3], and its sample of each epoch shown."""

    source_id: str
    class_name: str
    clean: U8
    cells: list[Cell]


@dataclass(frozen=True)
class Preview:
    """All that is shown.

    Attributes:
        size: side of the samples, in pixels.
        partner: what samples are mixed with: "mixing picture", "second picture", None for nothing.
        facts: what the dataset is, as (name, value).
        meanings: what the captions mean, as (word, meaning).
    """

    name: str
    subtitle: str
    size: int
    partner: str | None
    facts: list[tuple[str, str]]
    meanings: list[tuple[str, str]]
    strips: list[Strip]

    @property
    def stored_names(self) -> list[str]:
        """What the stored pictures of a cell are: one, or the frames shown of a clip."""
        clips = bool(self.strips and self.strips[0].cells and self.strips[0].cells[0].later)
        return ["first frame", "middle frame", "last frame"] if clips else ["stored"]

    @property
    def num_tiles(self) -> int:
        """The pictures of a cell, side by side."""
        return len(self.stored_names) + (self.partner is not None)
