"""What a preview shows, whichever way it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.coherence import Coherence

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class About:
    """What the dataset is, above everything shown of it.

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


# ── pictures ──


@dataclass(frozen=True)
class Cell:
    """One sample.

    Attributes:
        mixing: uint8 [S, S, 3], what it was mixed with, cropped, None where it met nothing.
        stored: uint8 [S, S, 3], decoded from the shard.
        lines: what was done to it, in order.
    """

    key: str
    mixing: U8 | None
    stored: U8
    lines: list[str]


@dataclass(frozen=True)
class Strip:
    """One source picture, uint8 [H, W, 3], and its sample of each epoch shown."""

    source_id: str
    class_name: str
    clean: U8
    cells: list[Cell]


@dataclass(frozen=True)
class Preview:
    """All that is shown of a dataset of pictures."""

    about: About
    strips: list[Strip]

    @property
    def num_tiles(self) -> int:
        """The pictures of a cell, side by side."""
        return 1 + (self.about.partner is not None)


# ── clips ──


@dataclass(frozen=True)
class Take:
    """One sample of a dataset of clips.

    Attributes:
        clean: uint8 [T, S, S, 3], after the base transform; [1, S, S, 3] where a picture became a clip.
        mixing: uint8 [T, S, S, 3], what its frames were mixed with, None where they met nothing; [1, S, S, 3]
            where they all met the same.
        stored: uint8 [T, S, S, 3], decoded from the shard.
        lines: what was done to it, in order.
    """

    key: str
    clean: U8
    mixing: U8 | None
    stored: U8
    lines: list[str]


@dataclass(frozen=True)
class Film:
    """One source clip, of which `whole` is a frame, uint8 [H, W, 3], and its sample of each epoch shown."""

    source_id: str
    class_name: str
    whole: U8
    takes: list[Take]


@dataclass(frozen=True)
class Mode:
    """One way to choose mixing pictures, on the clip that all modes share, and its coherence on several.

    Attributes:
        picture, draws: the choices, as a recipe names them.
        built: whether the dataset was made by these choices; others are rendered for comparison.
        mixing, result: uint8 [T, S, S, 3].
        lines: what was done to the clip, in order.
        changes: float64 [n, T − 1], for n clips how much the perturbation changes from each frame to the
            next; NaN where there is none.
        coherences: of those clips.
    """

    picture: str
    draws: str
    built: bool
    mixing: U8 | None
    result: U8
    lines: list[str]
    changes: F64
    coherences: list[Coherence]


@dataclass(frozen=True)
class Comparison:
    """The modes of V-PixMix on one clip: `clean`, uint8 [T, S, S, 3], of source `source_id`."""

    source_id: str
    class_name: str
    clean: U8
    modes: list[Mode]


@dataclass(frozen=True)
class ClipPreview:
    """All that is shown of a dataset of clips.

    Attributes:
        frames_per_s: the rate at which clips play.
        comparison: of the modes of V-PixMix, None for other families.
        no_videos: why there is no video beside the page for each sample, None where there is.
    """

    about: About
    frames_per_s: float
    films: list[Film]
    comparison: Comparison | None
    no_videos: str | None
