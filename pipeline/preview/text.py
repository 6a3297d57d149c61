"""Writing text on a picture: lines broken to a width, in Pillow's own font."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, QUIET, RULE, EMPTY = "#ffffff", "#1d1f23", "#555b66", "#d5d8de", "#f2f3f5"
TITLE, HEAD, TEXT = 26, 15, 13
"""Sizes of text in pixels."""

_INDENT = 10
"""Of a line's continuation."""


class Line(NamedTuple):
    """One line of text, before it is broken."""

    text: str
    size: int
    colour: str


@cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def write(image: Image.Image, left: int, top: int, lines: list[Line], width: int) -> None:
    """Write lines below each other, each broken to `width`."""
    draw = ImageDraw.Draw(image)
    for line in lines:
        face = font(line.size)
        for place, part in enumerate(_wrapped(line, width)):
            indent = _INDENT if place else 0
            draw.text((left + indent, top), part, line.colour, face)
            top += line_height(line)


def text_height(lines: list[Line], width: int) -> int:
    """Return the pixels that lines take, each broken to `width`."""
    return sum(len(_wrapped(line, width)) * line_height(line) for line in lines)


def line_height(line: Line) -> int:
    """Return the pixels from one line to the next."""
    return line.size * 4 // 3


def _wrapped(line: Line, width: int) -> list[str]:
    """Break a line between words to `width` pixels, and within a word that is wider."""
    face = font(line.size)
    room = width - _INDENT
    done: list[str] = []
    now = ""
    for word in _drawable(line.text).split():
        joined = f"{now} {word}" if now else word
        if face.getlength(joined) <= (room if done else width):
            now = joined
            continue
        done += [now] if now else []
        now = word
        while len(now) > 1 and face.getlength(now) > room:
            fits = max(n for n in range(1, len(now)) if n == 1 or face.getlength(now[:n]) <= room)
            done.append(now[:fits])
            now = now[fits:]
    return [*done, now]


_KNOWN = str.maketrans({"×": "x", "−": "-", "β": "beta", "ß": "ss"})


def _drawable(text: str) -> str:
    """Return text in ASCII, all that Pillow's own font has: without accents, else `?`."""
    plain = unicodedata.normalize("NFKD", text.translate(_KNOWN))
    return "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))
