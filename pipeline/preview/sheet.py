"""Drawing a preview as one picture: a strip for each source picture, in it a cell for each epoch."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.preview.content import Cell, Preview, Strip

U8 = npt.NDArray[np.uint8]

MAX_STRIPS = 48
"""A taller sheet is one that viewers refuse; the page shows every strip."""

_SMALL_TILE, _LARGE_TILE = 112, 160
"""Sides of tiles in pixels: what small samples are enlarged to, about, and what large ones get."""

_MARGIN, _PADDING, _GAP, _TILE_GAP = 20, 14, 22, 6
_PAPER, _INK, _QUIET, _RULE, _EMPTY = "#ffffff", "#1d1f23", "#555b66", "#d5d8de", "#f2f3f5"
_TITLE, _HEAD, _TEXT = 26, 15, 13
_MIN_CELL = 220
"""Width in pixels that most captions need for one line."""
_INDENT = 10
"""Of a line's continuation."""


class _Layout(NamedTuple):
    """Where things lie across the sheet, in pixels.

    Attributes:
        side: of a tile.
        tiles: what the pictures of a cell are, side by side.
        clean_width, cell_width: of the first column and of the others.
        lefts: left edge of each cell.
    """

    side: int
    tiles: list[str]
    clean_width: int
    cell_width: int
    lefts: list[int]
    width: int


class _Line(NamedTuple):
    text: str
    size: int
    colour: str


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


def draw_sheet(preview: Preview) -> Image.Image:
    """Draw the sheet, RGB; of more than `MAX_STRIPS` strips, every n-th."""
    step = max(1, -(-len(preview.strips) // MAX_STRIPS))
    strips = preview.strips[::step]
    layout = _layout(preview)
    note = f"; {len(strips)} of them are on this sheet" if step > 1 else ""
    parts = [_draw_header(preview, layout, note)]
    parts += [_draw_strip(strip, layout) for strip in strips]
    sheet = Image.new("RGB", (layout.width, sum(part.height for part in parts)), _PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _layout(preview: Preview) -> _Layout:
    side = tile_side(preview.size)
    column = max(side, _LARGE_TILE)
    num = preview.num_tiles
    cell_width = max(num * side + (num - 1) * _TILE_GAP, _MIN_CELL)
    num_cells = len(preview.strips[0].cells) if preview.strips else 0
    first = _MARGIN + column + _GAP
    lefts = [first + i * (cell_width + _GAP) for i in range(num_cells)]
    width = first + num_cells * (cell_width + _GAP) - _GAP + _MARGIN
    stored = [name.replace("stored", "stored sample") for name in preview.stored_names]
    tiles = [preview.partner, *stored] if preview.partner else stored
    return _Layout(side, tiles, column, cell_width, lefts, width)


# ── parts ──


def _draw_header(preview: Preview, layout: _Layout, note: str) -> Image.Image:
    lines = [_Line(preview.name, _TITLE, _INK), _Line(preview.subtitle + note, _HEAD, _INK)]
    facts = ";  ".join(f"{name}: {value}" for name, value in preview.facts)
    meanings = [f"{word}: {meaning}" for word, meaning in preview.meanings]
    lines += [_Line(text, _TEXT, _QUIET) for text in (facts, *meanings)]
    wide = layout.width - 2 * _MARGIN
    heads_top = _MARGIN + _height(lines, wide) + _MARGIN
    image = Image.new("RGB", (layout.width, heads_top + _HEAD + 12), _PAPER)
    _write(image, _MARGIN, _MARGIN, lines, wide)
    heads = [(_MARGIN, "clean picture")]
    for left in layout.lefts:
        step = layout.side + _TILE_GAP
        heads += [(left + place * step, name) for place, name in enumerate(layout.tiles)]
    for left, text in heads:
        _write(image, left, heads_top, [_Line(text, _TEXT, _INK)], layout.cell_width)
    return image


def _draw_strip(strip: Strip, layout: _Layout) -> Image.Image:
    clean = [_Line(f"class {strip.class_name}", _HEAD, _INK), _Line(strip.source_id, _TEXT, _QUIET)]
    texts = [(_MARGIN, clean, layout.clean_width)]
    for left, cell in zip(layout.lefts, strip.cells, strict=True):
        lines = [_Line(cell.key, _HEAD, _INK)]
        lines += [_Line(line, _TEXT, _QUIET) for line in cell.lines]
        texts.append((left, lines, layout.cell_width))
    text_top = _PADDING + layout.side + 6
    height = text_top + max(_height(lines, width) for _, lines, width in texts) + _PADDING
    image = Image.new("RGB", (layout.width, height), _PAPER)
    ImageDraw.Draw(image).line([(_MARGIN, 0), (layout.width - _MARGIN, 0)], _RULE)
    _paste(image, _MARGIN, strip.clean, layout.side)
    for left, cell in zip(layout.lefts, strip.cells, strict=True):
        _draw_tiles(image, left, cell, layout)
    for left, lines, width in texts:
        _write(image, left, text_top, lines, width)
    return image


def _draw_tiles(image: Image.Image, left: int, cell: Cell, layout: _Layout) -> None:
    if len(layout.tiles) > 1 + len(cell.later):
        if cell.mixing is not None:
            _paste(image, left, cell.mixing, layout.side)
        else:
            draw, side = ImageDraw.Draw(image), layout.side
            draw.rectangle((left, _PADDING, left + side - 1, _PADDING + side - 1), _EMPTY)
            font = _font(_TEXT)
            draw.text((left + side / 2, _PADDING + side / 2), "none", _QUIET, font, anchor="mm")
        left += layout.side + _TILE_GAP
    for picture in (cell.stored, *cell.later):
        _paste(image, left, picture, layout.side)
        left += layout.side + _TILE_GAP


def _paste(image: Image.Image, left: int, picture: U8, side: int) -> None:
    """Put a picture in its place in a strip, with a hairline around it that shows where it ends."""
    tile = fit(picture, side)
    box = (left - 1, _PADDING - 1, left + tile.width, _PADDING + tile.height)
    ImageDraw.Draw(image).rectangle(box, outline=_RULE)
    image.paste(tile, (left, _PADDING))


# ── text ──


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _write(image: Image.Image, left: int, top: int, lines: list[_Line], width: int) -> None:
    """Write lines below each other, each broken to `width`."""
    draw = ImageDraw.Draw(image)
    for line in lines:
        font = _font(line.size)
        for place, part in enumerate(_wrapped(line, width)):
            indent = _INDENT if place else 0
            draw.text((left + indent, top), part, line.colour, font)
            top += _line_height(line)


def _height(lines: list[_Line], width: int) -> int:
    return sum(len(_wrapped(line, width)) * _line_height(line) for line in lines)


def _line_height(line: _Line) -> int:
    return line.size * 4 // 3


def _wrapped(line: _Line, width: int) -> list[str]:
    """Break a line between words to `width` pixels, and within a word that is wider."""
    font = _font(line.size)
    room = width - _INDENT
    done: list[str] = []
    now = ""
    for word in _drawable(line.text).split():
        joined = f"{now} {word}" if now else word
        if font.getlength(joined) <= (room if done else width):
            now = joined
            continue
        done += [now] if now else []
        now = word
        while len(now) > 1 and font.getlength(now) > room:
            fits = max(n for n in range(1, len(now)) if n == 1 or font.getlength(now[:n]) <= room)
            done.append(now[:fits])
            now = now[fits:]
    return [*done, now]


_KNOWN = str.maketrans({"×": "x", "−": "-", "β": "beta", "ß": "ss"})


def _drawable(text: str) -> str:
    """Return text in ASCII, all that Pillow's own font has: without accents, else `?`."""
    plain = unicodedata.normalize("NFKD", text.translate(_KNOWN))
    return "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))
