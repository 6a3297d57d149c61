"""Writing a preview of clips as one HTML page with nothing beside it, on which every clip plays in step."""

from __future__ import annotations

import math
from html import escape

import numpy as np
import numpy.typing as npt

from pipeline.preview import chart, player
from pipeline.preview.content import ClipPreview, Comparison, Film, Mode, Take
from pipeline.preview.html import PAGE_EDGES, PARTNERS, document, steps, strip
from pipeline.preview.videos import video_name

U8 = npt.NDArray[np.uint8]

_STYLE = """
.modes, .measures { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1.5rem; }
.modes > p, .measures > p { margin: 0.3rem 0 1rem; max-width: 46rem; }
.mode { display: grid; gap: 0.4rem 32px; margin-top: 1rem; }
.mode p, .mode .steps { color: var(--quiet); font-size: 0.85rem; }
.mode h3 { font-size: 1rem; }
.none { aspect-ratio: 1; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; margin-top: 1rem; }
th, td { border-bottom: 1px solid var(--rule); padding: 0.3rem 1.6rem 0.3rem 0; text-align: right; }
th { font-weight: normal; }
th:first-child { text-align: left; }
thead th { color: var(--quiet); vertical-align: bottom; }
td { font-variant-numeric: tabular-nums; }
a { color: inherit; }
sub { line-height: 0; }
.player + section { border-top: 0; margin-top: 0; }
""".strip()

_SMALL, _LARGE = 200, 256
"""Sides of clips in pixels: what small ones are enlarged to, about, and what large ones get."""

_MODE_TILES = 4
"""Clips of a mode, side by side."""

_INDEPENDENT = math.sqrt(2)
"""Change ratio, about, of perturbations that have nothing to do with each other."""

_DRAWS = {
    "clip": "draws per clip",
    "frame": "draws per frame",
    "smooth": "draws per clip, weights that drift",
}
_PICTURES = {
    "single": "one mixing picture for the whole clip",
    "zoom": "consecutive frames of a fractal zoom",
    "frame": "a new mixing picture for every frame",
}


def clip_side(size: int) -> int:
    """Return the side at which clips of `size` px are shown: a multiple of it, or at most 256 px."""
    return min(size * max(1, round(_SMALL / size)), _LARGE)


def render_clip_page(preview: ClipPreview) -> str:
    """Return the page as HTML; the same preview gives the same text."""
    about, films = preview.about, preview.films
    side = clip_side(about.size)
    lengths = [len(take.stored) for one in films for take in one.takes]
    num_frames = player.frames_shown(max(lengths, default=1), about.size)
    num_tiles = 2 + (about.partner is not None)
    num_cells = len(films[0].takes) if films else 1
    style = [player.STYLE, _STYLE, _columns(side, num_tiles, num_cells)]
    parts = [player.bar(num_frames, preview.frames_per_s)]
    if preview.comparison is not None:
        parts.append(_comparison(preview.comparison))
        if num_frames > 1:
            style.append(chart.STYLE)
            parts.append(_measures(preview.comparison))
    for one in films:
        cells = [_cell(take, one, preview) for take in one.takes]
        parts.append(strip(one, one.whole, "a frame of source clip", side, cells))
    return document(
        about,
        meanings=_meanings(preview, num_frames, max(lengths, default=1)),
        style="\n".join(style),
        body="\n".join(parts),
        enlarged=side > about.size,
        script=player.SCRIPT,
    )


def _columns(side: int, num_tiles: int, num_cells: int) -> str:
    """Return the style that puts sources beside their samples, and two of those, where there is room.

    Args:
        side: of a tile, in pixels; they shrink only where one row of them is wider than the window.
        num_tiles: of a sample.
        num_cells: samples of a source.
    """
    cell, mode = (max(num * side + 6 * (num - 1), 240) for num in (num_tiles, _MODE_TILES))
    first = side + 32
    one, two = first + cell, first + 2 * cell + 28
    return f""":root {{ --tile: {side}px; }}
main {{ max-width: {max(1500, two if num_cells > 1 else 0)}px; }}
.small .tiles > div {{ flex-shrink: 1; }}
@media (min-width: {one + PAGE_EDGES}px) {{ .strip {{ grid-template-columns: {side}px 1fr; }} }}
@media (min-width: {two + PAGE_EDGES}px) {{ .cells {{ grid-template-columns: repeat(2, {cell}px); }} }}
@media (min-width: {mode + 320 + PAGE_EDGES}px) {{ .mode {{ grid-template-columns: {mode}px 1fr; }} }}"""


def _meanings(preview: ClipPreview, num_frames: int, longest: int) -> list[tuple[str, str]]:
    partner, size = preview.about.partner, preview.about.size
    clips = f"all play in step, {preview.frames_per_s:g} frames a second"
    if longest > num_frames:
        clips += f", the first {num_frames} of up to {longest:,} frames"
    videos = preview.no_videos or "below each sample, to keep; in 4:2:0, which every player knows"
    return [
        ("clips", f"{clips}."),
        ("clean", f"the clip of the source, cropped to {size}×{size} px."),
        *([PARTNERS[partner]] if partner else []),
        ("result", "the sample as its shard has it."),
        ("videos", f"{videos}."),
    ]


# ── a sample ──


def _cell(take: Take, one: Film, preview: ClipPreview) -> str:
    sample = f"sample {take.key}, class {one.class_name}"
    partner = preview.about.partner
    tiles = [_tile(take.clean, f"clean clip of {sample}", "clean")]
    if partner:
        tiles.append(_tile(take.mixing, f"what {sample} was mixed with", PARTNERS[partner][0]))
    tiles.append(_tile(take.stored, f"stored {sample}", "result"))
    video = ""
    if preview.no_videos is None:
        video = f' · <a href="{video_name(take.key)}">video</a>'
    return f"""<article>
<div class="tiles">{"".join(tiles)}</div>
<p><code>{take.key}</code>{video}</p>
{steps(take.lines)}
</article>"""


def _tile(clip: U8 | None, alt: str, word: str) -> str:
    shown = '<div class="none">none</div>' if clip is None else player.film(clip, alt)
    return f"<div>{shown}{word}</div>"


# ── the modes ──


def _comparison(comparison: Comparison) -> str:
    """Return the modes below each other, so that their clips line up."""
    rows = "\n".join(_mode(mode, comparison) for mode in comparison.modes)
    return f"""<section class="modes">
<h2>Modes side by side</h2>
<p>One clip, {escape(comparison.source_id)} of class {escape(comparison.class_name)}, as each mode makes it,
with what mixing added: result − clean, at half strength around grey. Of {_clips(comparison)} it is the one
that mixing changes most. What is drawn per frame flickers strongly.</p>
{rows}
</section>"""


def _mode(mode: Mode, comparison: Comparison) -> str:
    name = f"mode {mode.picture}, {_DRAWS[mode.draws]}"
    added = (mode.result.astype(np.int16) - comparison.clean + 255) // 2
    tiles = [
        _tile(comparison.clean, f"clean clip beside {name}", "clean"),
        _tile(mode.mixing, f"mixing frames of {name}", "mixing"),
        _tile(mode.result, f"result of {name}", "result"),
        _tile(added.astype(np.uint8), f"what mixing added in {name}", "added"),
    ]
    origin = "The mode of this dataset" if mode.built else "Rendered here for comparison"
    return f"""<div class="mode">
<div class="tiles">{"".join(tiles)}</div>
<div>
<h3>{mode.picture}</h3>
<p>{origin}: {_PICTURES[mode.picture]}, {_DRAWS[mode.draws]}.</p>
{steps(mode.lines)}
</div>
</div>"""


def _measures(comparison: Comparison) -> str:
    """Return the chart of how much the perturbation changes, and the numbers."""
    modes = comparison.modes
    series = [chart.Series(_name(mode), mode.changes) for mode in modes]
    said = ", ".join(f"{_name(m)} {_median([c.change_ratio for c in m.coherences])}" for m in modes)
    picture = chart.draw_chart(
        series,
        x_label="frame t",
        y_label="mean |Pₜ₊₁ − Pₜ| / mean |P|",
        level=(_INDEPENDENT, "√2: independent"),
        alt=f"Change of the perturbation from each frame to the next; mean of each mode: {said}",
    )
    rows = "\n".join(_row(mode) for mode in modes)
    clips = _clips(comparison)
    return f"""<section class="measures">
<h2>How steady is what mixing adds?</h2>
<p>With P<sub>t</sub> = result − clean in frame t, the lines are mean |P<sub>t+1</sub> − P<sub>t</sub>| / mean
|P|, the median over {clips} of the first epoch shown, the bands from quartile to quartile: 0
where every frame meets the same, about √2 where each is drawn on its own.</p>
{picture}
<div class="scroll">
<table>
<thead><tr><th>median of {clips}</th><th>change ratio</th><th>lag-1 correlation</th>
<th>flicker</th><th>TV inflation</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<p><small>Change ratio: the mean of a line. Lag-1 correlation: of P<sub>t</sub> with P<sub>t+1</sub> over the
pixels. Flicker: the standard deviation over time of a frame's mean luminance. TV inflation: how much more the
result changes from frame to frame than the clean clip does.</small></p>
</section>"""


def _clips(comparison: Comparison) -> str:
    """Return how many clips were rendered in every mode."""
    num = len(comparison.modes[0].changes)
    return f"{num} clip{'s' if num > 1 else ''}"


def _row(mode: Mode) -> str:
    numbers = (
        _median([one.change_ratio for one in mode.coherences]),
        _median([one.lag1_correlation for one in mode.coherences]),
        _median([one.flicker for one in mode.coherences], 3),
        _median([one.tv_inflation for one in mode.coherences]),
    )
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    return f'<tr><th scope="row">{_name(mode)}</th>{cells}</tr>'


def _name(mode: Mode) -> str:
    """Return a mode's name, with its draws where they are not those it stands for."""
    usual = "frame" if mode.picture == "frame" else "clip"
    return mode.picture if mode.draws == usual else f"{mode.picture}, {_DRAWS[mode.draws]}"


def _median(values: list[float], decimals: int = 2) -> str:
    kept = [value for value in values if math.isfinite(value)]
    return f"{np.median(kept):.{decimals}f}".replace("-", "−") if kept else "–"
