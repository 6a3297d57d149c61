"""Drawing a preview as one picture: a strip for each source, in it a cell for each epoch.

Of clips a cell has a row of frames for the clean clip, for what it met and for the sample stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.preview.content import About, Cell, ClipPreview, Film, Preview, Strip, Take
from pipeline.preview.text import (
    EMPTY,
    HEAD,
    INK,
    PAPER,
    QUIET,
    RULE,
    TEXT,
    TITLE,
    Line,
    font,
    text_height,
    write,
)

U8 = npt.NDArray[np.uint8]

MAX_STRIPS = 48
"""A taller sheet is one that viewers refuse; the page shows every strip."""

NUM_FRAMES = 6
"""Frames of a clip on the sheet, evenly spread from its first to its last."""

_SMALL_TILE, _LARGE_TILE = 112, 160
"""Sides of tiles in pixels: what small samples are enlarged to, about, and what large ones get."""

_MARGIN, _PADDING, _GAP, _TILE_GAP = 20, 14, 22, 6
_MIN_CELL = 220
"""Width in pixels that most captions need for one line."""


class _Drawn(NamedTuple):
    """A cell as it is drawn: rows of tiles, what they are, and its words; None is an empty tile."""

    rows: list[list[U8 | None]]
    key: str
    lines: list[str]


class _Layout(NamedTuple):
    """Where things lie across the sheet, in pixels.

    Attributes:
        side: of a tile.
        heads: what the columns of a cell's tiles are.
        num_rows: of tiles in a cell.
        clean_width, cell_width: of the first column and of the others.
        lefts: left edge of each cell.
    """

    side: int
    heads: list[str]
    num_rows: int
    clean_width: int
    cell_width: int
    lefts: list[int]
    width: int


def tile_side(size: int) -> int:
    """Return the side at which samples of `size` px are shown: a multiple of it, or at most 160 px."""
    return min(size * max(1, round(_SMALL_TILE / size)), _LARGE_TILE)


def fit(picture: U8, side: int) -> Image.Image:
    """Return a picture within side × side: enlarged by a whole factor, pixels as squares, or reduced."""
    image = Image.fromarray(picture)
    longer = max(image.size)
    if longer > side:
        width, height = (max(1, round(length * side / longer)) for length in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)
    factor = side // longer
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)


def frame_numbers(num_frames: int, most: int = NUM_FRAMES) -> list[int]:
    """Return up to `most` different frame numbers of a clip, evenly spread from its first to its last."""
    num = min(most, num_frames)
    return [i * (num_frames - 1) // max(1, num - 1) for i in range(num)]


def draw_sheet(preview: Preview | ClipPreview) -> Image.Image:
    """Draw the sheet, RGB; of more than `MAX_STRIPS` strips, every n-th."""
    about = preview.about
    partner = [about.partner] if about.partner else []
    strips: list[tuple[Strip | Film, U8, list[_Drawn]]]
    if isinstance(preview, Preview):
        strips = [(s, s.clean, [_picture_cell(c, about) for c in s.cells]) for s in preview.strips]
        heads, num_rows, first = [*partner, "stored sample"], 1, "clean picture"
    else:
        strips = [(f, f.whole, [_clip_cell(t, about) for t in f.takes]) for f in preview.films]
        rows = ["clean", *partner, "stored sample"]
        longest = max((len(c.rows[0]) for _, _, cells in strips for c in cells), default=1)
        named = f"top to bottom: {', '.join(rows)}; {longest} of the frames, first to last"
        heads, num_rows = [named, *[""] * (longest - 1)], len(rows)
        first = "source clip"
    step = max(1, -(-len(strips) // MAX_STRIPS))
    strips = strips[::step]
    num_cells = len(strips[0][2]) if strips else 0
    layout = _layout(about.size, heads, num_rows, num_cells)
    note = f"; {len(strips)} of them are on this sheet" if step > 1 else ""
    parts = [_draw_header(about, layout, note, first)]
    parts += [_draw_strip(strip, clean, cells, layout) for strip, clean, cells in strips]
    sheet = Image.new("RGB", (layout.width, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _picture_cell(cell: Cell, about: About) -> _Drawn:
    mixing = [cell.mixing] if about.partner else []
    return _Drawn([[*mixing, cell.stored]], cell.key, cell.lines)


def _clip_cell(take: Take, about: About) -> _Drawn:
    """Return rows of frames, those of one number below each other."""
    numbers = frame_numbers(len(take.stored))
    rows: list[list[U8 | None]] = [[take.clean[min(i, len(take.clean) - 1)] for i in numbers]]
    if about.partner:
        mixing = take.mixing
        rows.append([None if mixing is None else mixing[min(i, len(mixing) - 1)] for i in numbers])
    return _Drawn([*rows, [take.stored[i] for i in numbers]], take.key, take.lines)


def _layout(size: int, heads: list[str], num_rows: int, num_cells: int) -> _Layout:
    side = tile_side(size)
    column = max(side, _LARGE_TILE)
    num = len(heads)
    cell_width = max(num * side + (num - 1) * _TILE_GAP, _MIN_CELL)
    first = _MARGIN + column + _GAP
    lefts = [first + i * (cell_width + _GAP) for i in range(num_cells)]
    width = first + num_cells * (cell_width + _GAP) - _GAP + _MARGIN
    return _Layout(side, heads, num_rows, column, cell_width, lefts, width)


# ── parts ──


def _draw_header(about: About, layout: _Layout, note: str, first: str) -> Image.Image:
    lines = [Line(about.name, TITLE, INK), Line(about.subtitle + note, HEAD, INK)]
    facts = ";  ".join(f"{name}: {value}" for name, value in about.facts)
    meanings = [f"{word}: {meaning}" for word, meaning in about.meanings]
    lines += [Line(text, TEXT, QUIET) for text in (facts, *meanings)]
    wide = layout.width - 2 * _MARGIN
    heads_top = _MARGIN + text_height(lines, wide) + _MARGIN
    image = Image.new("RGB", (layout.width, heads_top + HEAD + 12), PAPER)
    write(image, _MARGIN, _MARGIN, lines, wide)
    heads = [(_MARGIN, first)]
    for left in layout.lefts:
        step = layout.side + _TILE_GAP
        heads += [(left + place * step, name) for place, name in enumerate(layout.heads)]
    for left, text in heads:
        write(image, left, heads_top, [Line(text, TEXT, INK)], layout.cell_width)
    return image


def _draw_strip(
    strip: Strip | Film, clean: U8, cells: list[_Drawn], layout: _Layout
) -> Image.Image:
    names = [Line(f"class {strip.class_name}", HEAD, INK), Line(strip.source_id, TEXT, QUIET)]
    clean_top = _PADDING + layout.side + 6
    texts = [(_MARGIN, clean_top, names, layout.clean_width)]
    step = layout.side + _TILE_GAP
    for left, cell in zip(layout.lefts, cells, strict=True):
        lines = [Line(cell.key, HEAD, INK), *(Line(line, TEXT, QUIET) for line in cell.lines)]
        top = clean_top + (layout.num_rows - 1) * step
        texts.append((left, top, lines, layout.cell_width))
    height = max(top + text_height(lines, wide) for _, top, lines, wide in texts) + _PADDING
    image = Image.new("RGB", (layout.width, height), PAPER)
    ImageDraw.Draw(image).line([(_MARGIN, 0), (layout.width - _MARGIN, 0)], RULE)
    _paste(image, _MARGIN, _PADDING, clean, layout.side)
    for left, cell in zip(layout.lefts, cells, strict=True):
        for row, tiles in enumerate(cell.rows):
            for column, tile in enumerate(tiles):
                _draw_tile(image, left + column * step, _PADDING + row * step, tile, layout.side)
    for left, top, lines, wide in texts:
        write(image, left, top, lines, wide)
    return image


def _draw_tile(image: Image.Image, left: int, top: int, tile: U8 | None, side: int) -> None:
    if tile is not None:
        _paste(image, left, top, tile, side)
        return
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, left + side - 1, top + side - 1), EMPTY)
    draw.text((left + side / 2, top + side / 2), "none", QUIET, font(TEXT), anchor="mm")


def _paste(image: Image.Image, left: int, top: int, picture: U8, side: int) -> None:
    """Put a picture in its place in a strip, with a hairline around it that shows where it ends."""
    tile = fit(picture, side)
    box = (left - 1, top - 1, left + tile.width, top + tile.height)
    ImageDraw.Draw(image).rectangle(box, outline=RULE)
    image.paste(tile, (left, top))
