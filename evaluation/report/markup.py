"""Making HTML and SVG text: elements that always close, and data that never becomes markup.

A string is escaped wherever it enters an element, unless it is `Html`, which only these functions make.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluation.report.style import STYLE
from pipeline.captions import printable

U8 = npt.NDArray[np.uint8]

GENERATOR = '<meta name="generator" content="dreamshards report">'
"""Tells a page of ours from any other."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_VOID = ("br",)
_LOSSLESS_SIDE = 64
"""Pictures up to this side in pixels stand in the page as they are; larger ones would make it too long."""
_FRAME_MS = 120
"""Slower than videos are, so that a few frames can be followed."""
_MAX_SIDE = 160


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Html:
    """Return text as HTML: `Html` as it is, anything else escaped, its control characters spelt out."""
    return value if isinstance(value, Html) else Html(escape(printable(value)))


def join(parts: Iterable[str], between: str = "") -> Html:
    """Return parts after each other, each escaped unless it is HTML."""
    return Html(text(between).join(map(text, parts)))


def element(name: str, *children: str, **attributes: str | float | None) -> Html:
    """Return an element with its end tag; `class_` is the attribute class, `stroke_width` stroke-width.

    Attributes that are None are left out; numbers are written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(
        f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(children)}</{name}>"
    )


def number(value: float) -> str:
    """Return a coordinate with at most two decimals, without a sign of nothing."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def paragraph(*children: str, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def facts(items: Sequence[tuple[str, str]]) -> Html:
    """Return a list of words and what they stand for."""
    rows = (element("div", element("dt", word), " ", element("dd", value)) for word, value in items)
    return element("dl", *rows, class_="facts")


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, class_: str = "numbers"
) -> Html:
    """Return a table whose first column heads its rows, and which scrolls by itself where it is too wide."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = (
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=class_,
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def folded(title: str, *children: str) -> Html:
    """Return a part that opens at a click, without a script."""
    return element("details", element("summary", title), *children)


def notes(lines: Sequence[str]) -> Html:
    """Return remarks below a table or figure, nothing where there are none."""
    return (
        element("ul", *(element("li", line) for line in lines), class_="notes") if lines else Html()
    )


def figure(drawing: str, title: str, *below: str) -> Html:
    """Return a drawing with its title above and what explains it below."""
    return element("figure", element("figcaption", title), drawing, *below)


def section(anchor: str, title: str, *children: str) -> Html:
    """Return a part of the page with a heading."""
    return element("section", element("h2", title), *children, id=anchor)


def picture(pixels: U8, alt: str) -> Html:
    """Return a picture, uint8 [H, W, 3], inside the page: small ones exactly, larger ones as reduced JPEG."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    small = max(image.size) <= _LOSSLESS_SIDE
    if small:
        image.save(buffer, "PNG")
    else:
        image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=88, subsampling=0)
    return _inside(buffer, "png" if small else "jpeg", alt, small=small)


def animation(frames: U8, alt: str) -> Html:
    """Return a clip, uint8 [T, H, W, 3], that plays inside the page: a small one exactly, else reduced."""
    images = [Image.fromarray(frame) for frame in frames]
    small = max(images[0].size) <= _LOSSLESS_SIDE
    if not small:
        for image in images:
            image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    plays = {"save_all": True, "append_images": images[1:], "duration": _FRAME_MS, "loop": 0}
    if small:
        images[0].save(buffer, "PNG", **plays)
    else:
        images[0].save(buffer, "WEBP", quality=80, **plays)
    return _inside(buffer, "png" if small else "webp", alt, small=small)


def page(title: str, subtitle: str, parts: Sequence[str]) -> str:
    """Return a whole page; the same parts give the same text."""
    body = join(parts, Html("\n"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} · Dreamshards</title>
<style>
{STYLE}
</style>
</head>
<body>
<main>
{element("h1", title)}
{paragraph(subtitle, class_="sub")}
{body}
</main>
</body>
</html>
"""


def _inside(buffer: io.BytesIO, kind: str, alt: str, *, small: bool) -> Html:
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    pixelated = ' class="small"' if small else ""
    return Html(f'<img{pixelated} src="data:image/{kind};base64,{data}" alt="{text(alt)}">')


def _value(value: str | float) -> Html:
    return text(value if isinstance(value, str) else number(value))
