"""Writing a preview of pictures as one HTML page: pictures and style inline, no script, nothing beside it."""

from __future__ import annotations

from PIL import Image

from pipeline.preview.content import Cell, Preview, Strip
from pipeline.preview.html import PARTNERS, columns, document, img, steps, strip
from pipeline.preview.sheet import tile_side

_MIN_TILE = 120
"""Side in pixels that tiles of large samples may shrink to; enlarged ones keep their whole factor."""


def render_page(preview: Preview) -> str:
    """Return the page as HTML; the same preview gives the same text."""
    about = preview.about
    side = tile_side(about.size)
    enlarged = side >= about.size
    num_cells = len(preview.strips[0].cells) if preview.strips else 1
    meanings = [
        ("clean", "the picture as its source has it."),
        *([PARTNERS[about.partner]] if about.partner else []),
        ("stored", "the sample as its shard has it."),
    ]
    strips = [
        strip(
            one, one.clean, "clean picture", side, [_cell(cell, one, preview) for cell in one.cells]
        )
        for one in preview.strips
    ]
    return document(
        about,
        meanings=meanings,
        style=columns(side, side if enlarged else _MIN_TILE, preview.num_tiles, num_cells),
        body="\n".join(strips),
        enlarged=enlarged,
    )


def _cell(cell: Cell, one: Strip, preview: Preview) -> str:
    tiles = []
    partner = preview.about.partner
    if partner:
        if cell.mixing is None:
            shown = '<div class="none">none</div>'
        else:
            shown = img(Image.fromarray(cell.mixing), f"crop of the {partner} of sample {cell.key}")
        tiles.append(f"<div>{shown}{PARTNERS[partner][0]}</div>")
    alt = f"stored sample {cell.key}, class {one.class_name}"
    tiles.append(f"<div>{img(Image.fromarray(cell.stored), alt)}stored</div>")
    return f"""<article>
<div class="tiles">{"".join(tiles)}</div>
<p><code>{cell.key}</code></p>
{steps(cell.lines)}
</article>"""
