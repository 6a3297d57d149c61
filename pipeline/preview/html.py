"""What every page of a preview shares: head and header, lists, pictures inline, nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.preview.content import About, Film, Strip

U8 = npt.NDArray[np.uint8]

GENERATOR = '<meta name="generator" content="dreamshards preview">'
"""Tells a page of ours from any other."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_MAX_CLEAN = 320
"""Longer side in pixels that clean pictures are reduced to: twice what is shown, for dense screens."""

PAGE_EDGES = 84
"""Pixels beside the strips, at most, where the window is wide enough for two cells."""

PARTNERS = {
    "mixing picture": (
        "mixing",
        "the part of a mixing picture that the sample met, if it met one.",
    ),
    "second picture": (
        "second",
        "the other picture of the source that the sample was mixed with, cropped on its own, if it was.",
    ),
    "second clip": (
        "second",
        "the other clip of the source that the sample was mixed with, cropped on its own, if it was.",
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


def document(
    about: About,
    *,
    meanings: list[tuple[str, str]],
    style: str,
    body: str,
    enlarged: bool,
    script: str = "",
) -> str:
    """Return a page: what the dataset is, what words mean, then `body`.

    Args:
        enlarged: whether samples are shown by a whole factor, pixels as squares.
        script: the one script that the page may run, nothing else.
    """
    name = escape(about.name)
    small = ' class="small"' if enlarged else ""
    policy, tail = _POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
        tail = f"<script>{script}</script>\n"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} · Dreamshards preview</title>
<style>
{_STYLE}
{style}
</style>
</head>
<body>
<main{small}>
<header>
<h1>{name}</h1>
<p class="sub">{escape(about.subtitle)}</p>
<div class="about">
<section>
<h2>The dataset</h2>
{_list(about.facts)}
</section>
<section>
<h2>How to read it</h2>
{_list([*meanings, *about.meanings])}
</section>
</div>
</header>
{body}
</main>
{tail}</body>
</html>
"""


def _list(items: list[tuple[str, str]]) -> str:
    rows = "\n".join(
        f"<div><dt>{escape(word)}</dt> <dd>{_text(text)}</dd></div>" for word, text in items
    )
    return f"<dl>\n{rows}\n</dl>"


def _text(text: str) -> str:
    """Return text as HTML, with what stands between backticks as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


# ── strips: a source and its samples ──


def columns(side: int, narrowest: int, num_tiles: int, num_cells: int) -> str:
    """Return the style that puts as many cells beside each other as the window has room for: 1, 2 or all.

    Args:
        side: of a tile, in pixels.
        narrowest: side that tiles may shrink to.
        num_tiles: of a cell.
        num_cells: of a strip.
    """
    clean = max(side, 136)
    cell = max(num_tiles * narrowest + 6 * (num_tiles - 1), 240)
    widest = max(num_tiles * side + 6 * (num_tiles - 1), cell + 60)
    beside = f".strip {{ grid-template-columns: {clean}px 1fr; }}"

    def cells(num: int) -> str:
        return f".cells {{ grid-template-columns: repeat({num}, minmax(0, {widest}px)); }}"

    pair = 2 * cell + 28 + PAGE_EDGES
    every = clean + 32 + num_cells * (cell + 28) - 28 + PAGE_EDGES
    return f""":root {{ --tile: {side}px; }}
@media (min-width: {pair}px) {{ {cells(min(2, num_cells))} }}
@media (min-width: {pair + clean + 32}px) {{ {beside} }}
@media (min-width: {every}px) {{ {cells(num_cells)} {beside} }}"""


def strip(source: Strip | Film, picture: U8, what: str, side: int, cells: list[str]) -> str:
    """Return a source, shown by a `picture` of it within side × side, and the cells of its samples."""
    shown = _clean(picture, f"{what} {source.source_id}, class {source.class_name}", side)
    joined = "\n".join(cells)
    return f"""<section class="strip">
<div class="clean">
{shown}
<h2>class {escape(source.class_name)}</h2>
<p>{escape(source.source_id)}</p>
</div>
<div class="cells">
{joined}
</div>
</section>"""


def _clean(picture: U8, alt: str, side: int) -> str:
    """Return a picture within side × side, a small one enlarged by a whole factor."""
    image = Image.fromarray(picture)
    longer = max(image.size)
    scale = float(side // longer) if longer <= side else side / longer
    width, height = (max(1, round(length * scale)) for length in image.size)
    if longer > _MAX_CLEAN:
        image.thumbnail((_MAX_CLEAN, _MAX_CLEAN), Image.Resampling.LANCZOS)
    pixelated = "; image-rendering: pixelated" if scale > 1 else ""
    return img(image, alt, f' style="width: {width}px; height: {height}px{pixelated}"')


def steps(lines: list[str]) -> str:
    """Return what was done to a sample as a list."""
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"""<ol class="steps">
{items}
</ol>"""


def img(image: Image.Image, alt: str, extra: str = "") -> str:
    """Return a picture as an element that holds it as PNG, with more attributes, `extra`, as HTML."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return inline(buffer.getvalue(), "png", alt, extra)


def inline(content: bytes, kind: str, alt: str, extra: str = "") -> str:
    """Return an encoded picture as an element that holds it, with more attributes, `extra`, as HTML."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(alt)}"{extra}>'
