"""Clips on a page that all play in step: films, the bar that plays them, and the one script of the page.

A film is a clip as one tall lossless picture, its frames below each other in a window of one; the script
moves all of them to the same frame at the same time. Without it, and in print, the first frame shows.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.preview.html import inline

U8 = npt.NDArray[np.uint8]

_MAX_SIDE = 256
"""Pixels that the frames of larger clips are reduced to."""

_MAX_FRAMES, _MAX_HEIGHT = 64, 16383
"""Frames of a film at most, and the tallest picture that WebP holds."""

STYLE = """
.film { overflow: hidden; aspect-ratio: 1; box-shadow: 0 0 0 1px var(--rule); }
.film img { aspect-ratio: auto; height: auto; box-shadow: none; }
.player {
  position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem;
  background: var(--paper); border-bottom: 1px solid var(--rule); margin-top: 1.5rem; padding: 0.6rem 0;
}
.player button, .player select {
  background: var(--empty); color: var(--ink); font: inherit; border: 1px solid var(--rule);
  border-radius: 4px; padding: 0.15rem 0.8rem;
}
.player button { min-width: 5.5rem; }
.player input { flex: 1 1 12rem; max-width: 24rem; accent-color: var(--ink); }
.player output { min-width: 8.5rem; font-variant-numeric: tabular-nums; }
@media print {
  .player { display: none; }
  .film img { transform: none !important; }
  .strip, .mode { break-inside: avoid; }
}
""".strip()

SCRIPT = """
"use strict";
const player = document.querySelector(".player");
const [button, slider, speed] = ["button", "input", "select"].map((name) => player.querySelector(name));
const output = player.querySelector("output");
const films = [...document.querySelectorAll(".film img")].map((img) => [img, Number(img.dataset.frames)]);
const length = Number(slider.max);
let playing = false, frame = 0, shownAt = 0;

function show(number) {
  frame = number;
  for (const [img, frames] of films) {
    img.style.transform = `translateY(${(-100 * (frame % frames)) / frames}%)`;
  }
  slider.value = frame + 1;
  output.textContent = `frame ${frame + 1} of ${length}`;
}

function step(now) {
  if (!playing) return;
  const wait = 1000 / (player.dataset.rate * speed.value);
  const due = Math.floor((now - shownAt) / wait);
  if (due > 0) {
    shownAt = due > 5 ? now : shownAt + due * wait;
    show((frame + due) % length);
  }
  requestAnimationFrame(step);
}

function play(wanted) {
  playing = wanted && length > 1;
  button.textContent = playing ? "Pause" : "Play";
  if (playing) {
    shownAt = performance.now();
    requestAnimationFrame(step);
  }
}

button.addEventListener("click", () => play(!playing));
slider.addEventListener("input", () => { play(false); show(slider.value - 1); });
player.hidden = false;
show(0);
play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
""".lstrip()


def frames_shown(num_frames: int, size: int) -> int:
    """Return how many of a clip's first frames its film has, for frames of `size` pixels."""
    return min(num_frames, _MAX_FRAMES, _MAX_HEIGHT // min(size, _MAX_SIDE))


def film(clip: U8, alt: str) -> str:
    """Return a clip, uint8 [T, S, S, 3], as a film."""
    num_frames, size = clip.shape[:2]
    frames = clip[: frames_shown(num_frames, size)]
    if size > _MAX_SIDE:
        small = (_MAX_SIDE, _MAX_SIDE)
        reduced = [Image.fromarray(f).resize(small, Image.Resampling.LANCZOS) for f in frames]
        frames = np.stack([np.asarray(image) for image in reduced])
    buffer = io.BytesIO()
    tall = Image.fromarray(np.concatenate(frames))
    tall.save(buffer, "WEBP", lossless=True, quality=0, method=0, exact=True)
    extra = f' data-frames="{len(frames)}"'
    return f'<div class="film">{inline(buffer.getvalue(), "webp", alt, extra)}</div>'


def bar(num_frames: int, frames_per_s: float) -> str:
    """Return what plays the films of a page, the longest of which has `num_frames` frames."""
    return f"""<div class="player" data-rate="{frames_per_s:g}" hidden>
<button type="button">Play</button>
<input type="range" min="1" max="{num_frames}" value="1" aria-label="frame of every clip">
<output>frame 1 of {num_frames}</output>
<label>speed <select>
<option value="1">{frames_per_s:g} frames/s</option>
<option value="0.25">a quarter of it</option>
<option value="0.08">slow: {0.08 * frames_per_s:.2g} frames/s</option>
</select></label>
</div>"""
