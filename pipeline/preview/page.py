"""Writing a preview as one HTML page with nothing beside it: pictures and style inline, no script."""

from __future__ import annotations

import base64
import io
import re
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.preview.content import Cell, Preview, Strip
from pipeline.preview.sheet import tile_side

U8 = npt.NDArray[np.uint8]

GENERATOR = '<meta name="generator" content="dreamshards preview">'
"""Tells a page of ours from any other."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_MAX_CLEAN = 320
"""Longer side in pixels that clean pictures are reduced to: twice what is shown, for dense screens."""

_MIN_TILE = 120
"""Side in pixels that tiles of large samples may shrink to; enlarged ones keep their whole factor."""

_PAGE_EDGES = 84
"""Pixels beside the strips, at most, where the window is wide enough for two cells."""

_PARTNERS = {
    "mixing picture": (
        "mixing",
        "the part of a mixing picture that the sample met, if it met one.",
    ),
    "second picture": (
        "second",
        "the other picture of the source that the sample was mixed with, cropped on its own, if it was.",
    ),
}
"""What samples are mixed with → the word below its tile, and what that means."""

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1d1f23; --quiet: #5a606b; --rule: #dfe2e7; --empty: #f3f4f6;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e7e9ed; --quiet: #a0a7b3; --rule: #30343c; --empty: #1f2228; }
}
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  padding: 2rem clamp(16px, 3vw, 42px) 4rem;
}
main { max-width: 1500px; margin: 0 auto; }
h1 { font-size: 1.8rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; }
code { font: 0.95em ui-monospace, monospace; }
.sub { color: var(--quiet); margin: 0.3rem 0 1.5rem; }
.about {
  display: grid; gap: 1.5rem 3rem;
  grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr));
}
.about h2 { margin-bottom: 0.4rem; }
.about dl { font-size: 0.9rem; }
.about dl div { display: grid; grid-template-columns: 7.2rem 1fr; gap: 1rem; margin-bottom: 0.25rem; }
dt { color: var(--quiet); }
dd { overflow-wrap: anywhere; }
.strip {
  display: grid; gap: 1.5rem 32px; border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1.5rem;
}
.clean h2 { overflow-wrap: anywhere; }
.clean p, .steps {
  color: var(--quiet); font-size: 0.85rem; line-height: 1.45; overflow-wrap: anywhere;
}
.cells { display: grid; gap: 1.5rem 28px; }
.tiles { display: flex; gap: 6px; margin-bottom: 0.4rem; }
.tiles > div { color: var(--quiet); flex: 0 1 var(--tile); font-size: 0.75rem; line-height: 1.7; }
img, .none { display: block; width: 100%; aspect-ratio: 1; }
.clean img { aspect-ratio: auto; margin-bottom: 0.4rem; }
img { box-shadow: 0 0 0 1px var(--rule); }
.small .tiles > div { flex-shrink: 0; }
.small .tiles img { image-rendering: pixelated; }
.none { background: var(--empty); display: grid; place-items: center; }
.steps { list-style: none; padding: 0 0 0 0.8em; text-indent: -0.8em; }
@media (max-width: 700px) {
  .about dl div { display: block; }
  .about dt, .about dd { display: inline; }
  .about dt::after { content: ":"; }
}
""".strip()


def render_page(preview: Preview) -> str:
    """Return the page as HTML; the same preview gives the same text."""
    side = tile_side(preview.size)
    enlarged = ' class="small"' if side >= preview.size else ""
    strips = "\n".join(_strip(strip, preview, side) for strip in preview.strips)
    name = escape(preview.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} · Dreamshards preview</title>
<style>
{_STYLE}
{_columns(preview, side)}
</style>
</head>
<body>
<main{enlarged}>
<header>
<h1>{name}</h1>
<p class="sub">{escape(preview.subtitle)}</p>
<div class="about">
<section>
<h2>The dataset</h2>
{_list(preview.facts)}
</section>
<section>
<h2>How to read it</h2>
{_list([*_pictures(preview), *preview.meanings])}
</section>
</div>
</header>
{strips}
</main>
</body>
</html>
"""


def _columns(preview: Preview, side: int) -> str:
    """Return the style that puts as many cells beside each other as the window has room for: 1, 2 or all."""
    narrowest = side if side >= preview.size else _MIN_TILE
    clean = max(side, 136)
    num = preview.num_tiles
    cell = max(num * narrowest + 6 * (num - 1), 240)
    widest = max(num * side + 6 * (num - 1), cell + 60)
    num_cells = len(preview.strips[0].cells) if preview.strips else 1
    beside = f".strip {{ grid-template-columns: {clean}px 1fr; }}"

    def cells(num: int) -> str:
        return f".cells {{ grid-template-columns: repeat({num}, minmax(0, {widest}px)); }}"

    pair = 2 * cell + 28 + _PAGE_EDGES
    every = clean + 32 + num_cells * (cell + 28) - 28 + _PAGE_EDGES
    return f""":root {{ --tile: {side}px; }}
@media (min-width: {pair}px) {{ {cells(min(2, num_cells))} }}
@media (min-width: {pair + clean + 32}px) {{ {beside} }}
@media (min-width: {every}px) {{ {cells(num_cells)} {beside} }}"""


def _pictures(preview: Preview) -> list[tuple[str, str]]:
    return [
        ("clean", "the picture as its source has it."),
        *([_PARTNERS[preview.partner]] if preview.partner else []),
        (", ".join(preview.stored_names), "the sample as its shard has it."),
    ]


def _list(items: list[tuple[str, str]]) -> str:
    rows = "\n".join(
        f"<div><dt>{escape(word)}</dt> <dd>{_text(text)}</dd></div>" for word, text in items
    )
    return f"<dl>\n{rows}\n</dl>"


def _text(text: str) -> str:
    """Return text as HTML, with what stands between backticks as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


def _strip(strip: Strip, preview: Preview, side: int) -> str:
    name, source_id = escape(strip.class_name), escape(strip.source_id)
    cells = "\n".join(_cell(cell, strip, preview) for cell in strip.cells)
    return f"""<section class="strip">
<div class="clean">
{_clean(strip, side)}
<h2>class {name}</h2>
<p>{source_id}</p>
</div>
<div class="cells">
{cells}
</div>
</section>"""


def _clean(strip: Strip, side: int) -> str:
    """Return the clean picture within side × side, a small one enlarged by a whole factor."""
    image = Image.fromarray(strip.clean)
    longer = max(image.size)
    scale = float(side // longer) if longer <= side else side / longer
    width, height = (max(1, round(length * scale)) for length in image.size)
    if longer > _MAX_CLEAN:
        image.thumbnail((_MAX_CLEAN, _MAX_CLEAN), Image.Resampling.LANCZOS)
    alt = f"clean picture {strip.source_id}, class {strip.class_name}"
    pixelated = "; image-rendering: pixelated" if scale > 1 else ""
    return _img(image, alt, f' style="width: {width}px; height: {height}px{pixelated}"')


def _cell(cell: Cell, strip: Strip, preview: Preview) -> str:
    tiles = []
    if preview.partner:
        if cell.mixing is None:
            shown = '<div class="none">none</div>'
        else:
            alt = f"crop of the {preview.partner} of sample {cell.key}"
            shown = _img(Image.fromarray(cell.mixing), alt)
        tiles.append(f"<div>{shown}{_PARTNERS[preview.partner][0]}</div>")
    for name, picture in zip(preview.stored_names, (cell.stored, *cell.later), strict=True):
        which = "" if name == "stored" else f"{name} of "
        alt = f"{which}stored sample {cell.key}, class {strip.class_name}"
        tiles.append(f"<div>{_img(Image.fromarray(picture), alt)}{name}</div>")
    steps = "\n".join(f"<li>{escape(line)}</li>" for line in cell.lines)
    return f"""<article>
<div class="tiles">{"".join(tiles)}</div>
<p><code>{cell.key}</code></p>
<ol class="steps">
{steps}
</ol>
</article>"""


def _img(image: Image.Image, alt: str, extra: str = "") -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}"{extra}>'
