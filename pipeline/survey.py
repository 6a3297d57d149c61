"""A mixing set at a glance: a table of measures for each of its kinds, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.pictures.picture_set import PictureSet, evenly, group_of
from pipeline.pictures.quality import ALIKE, Cells
from pipeline.preview.sheet import fit, tile_side

F64 = npt.NDArray[np.float64]

MAX_MEASURED = 2000
"""Pictures that a table rests on; of a larger set, every so many-th."""

_MAX_PAIRS = 1000  # pictures whose distances to each other are taken
_EMPTY_ENTROPY, _EMPTY_FLAT = 3.0, 0.5
_COLUMNS, _ROWS = 12, 8
_GAP = 4
_PAPER = "#ffffff"


class Row(NamedTuple):
    """Medians over the pictures of one kind, unless said otherwise; see `pipeline.pictures.quality`.

    Attributes:
        pictures: measured.
        empty: share that is nearly empty: less than 3 bits of entropy, or more than half of it flat.
        distance: between the descriptors of two pictures.
        alike: share of pairs that are nearer than `quality.ALIKE`.
    """

    kind: str
    pictures: int
    entropy: float
    flat: float
    variation: float
    correlation: float
    jpeg_bytes: float
    colour: float
    edges: float
    dimension: float
    black: float
    empty: float
    distance: float
    alike: float


_HEADS = {
    "kind": ("kind", ""),
    "pictures": ("pictures", ",d"),
    "entropy": ("entropy, bits", ".2f"),
    "flat": ("flat blocks", ".0%"),
    "variation": ("variation", ".1f"),
    "correlation": ("correlation", ".2f"),
    "jpeg_bytes": ("JPEG bytes", ",.0f"),
    "colour": ("colour", ".0f"),
    "edges": ("edges", ".0%"),
    "dimension": ("dimension", ".2f"),
    "black": ("black", ".1%"),
    "empty": ("near-empty", ".1%"),
    "distance": ("distance", ".2f"),
    "alike": ("alike", ".2%"),
}


def survey(pictures: PictureSet) -> list[Row]:
    """Measure a set: one row for each kind, and one for all where there are several."""
    places = evenly(len(pictures), min(len(pictures), MAX_MEASURED), "the set")
    names = [group_of(pictures.ids[place].as_py()) for place in places]
    measures = []
    descriptors = []
    for place in places:
        cells = Cells(pictures.picture(place))
        quality, look = cells.quality(), cells.look()
        jpeg_bytes = cells.jpeg_bits() * cells.light.size / 8
        measures.append((*quality[:4], jpeg_bytes, *look))
        descriptors.append(cells.descriptor)
    table, vectors = np.array(measures), np.array(descriptors)
    kinds = list(dict.fromkeys(names))
    rows = []
    for kind in kinds:
        chosen = np.array([name == kind for name in names])
        rows.append(_row(kind, table[chosen], vectors[chosen]))
    return rows if len(kinds) == 1 else [*rows, _row("all", table, vectors)]


def _row(kind: str, table: F64, vectors: F64) -> Row:
    empty = (table[:, 0] < _EMPTY_ENTROPY) | (table[:, 1] > _EMPTY_FLAT)
    distances = _distances(vectors)
    medians = np.median(table, axis=0).tolist()
    between = float(np.median(distances)) if distances.size else 0.0
    alike = float((distances < ALIKE).mean()) if distances.size else 0.0
    return Row._make((kind, len(table), *medians, float(empty.mean()), between, alike))


def _distances(vectors: F64) -> F64:
    """Return the distances of all pairs of up to `_MAX_PAIRS` descriptors, evenly chosen."""
    places = list(evenly(len(vectors), min(len(vectors), _MAX_PAIRS), "the set"))
    chosen = vectors[places]
    squares = (chosen**2).sum(axis=1)
    products = squares[:, None] + squares[None] - 2 * chosen @ chosen.T
    pairs = np.triu_indices(len(chosen), 1)
    distances: F64 = np.sqrt(np.maximum(products[pairs], 0.0))
    return distances


def format_table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines of an aligned Markdown table."""
    texts = [[head for head, _ in _HEADS.values()]]
    for row in rows:
        texts.append([format(getattr(row, name), spec) for name, (_, spec) in _HEADS.items()])
    widths = [max(len(line[column]) for line in texts) for column in range(len(_HEADS))]
    lines = [
        "| "
        + " | ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in texts
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if n else "-") for n, width in enumerate(widths))
    return [lines[0], rule + "|", *lines[1:]]


def draw_contact_sheet(pictures: PictureSet) -> Image.Image:
    """Draw up to 96 pictures, evenly chosen, in rows of 12."""
    places = evenly(len(pictures), min(len(pictures), _COLUMNS * _ROWS), "the set")
    shorter = int(min(pictures.heights.min(), pictures.widths.min()))
    side = tile_side(shorter)
    columns = min(_COLUMNS, len(places))
    rows = -(-len(places) // columns)
    step = side + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _PAPER)
    for number, place in enumerate(places):
        row, column = divmod(number, columns)
        sheet.paste(fit(pictures.picture(place), side), (_GAP + column * step, _GAP + row * step))
    return sheet
