"""Generated mixing sets of zooms: endless ones, drawn until they are good, each made into a strip."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg

from pipeline.executor import Executor
from pipeline.picture_sections import ZoomPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore
from pipeline.pictures.picture_set import Tally
from pipeline.pictures.quality import FRACTAL_GATE, Cells
from pipeline.pictures.sources import source_digest
from pipeline.pictures.zoom import KINDS, Zoom, frame_at, make_strip, make_zoom
from pipeline.pictures.zoom_set import ZoomSet
from pipeline.pictures.zoom_strip import fill_frames
from pipeline.render.jit import compile_once, is_compiled

FACTOR = 1.02
"""Magnification per frame that generated zooms are made for; they serve others as well."""
MAX_ATTEMPTS = 8
"""Draws of one zoom; after the last the best of them is kept."""

_PHASES = (0.0, 0.25, 0.5, 0.75)  # of the frames that the gate looks at
_GATE_SIDE = 64
_CHUNK_BYTES = 4 << 20
_COMPILED = "pictures-zoom"


class _Family(NamedTuple):
    seed: int
    size: int


class _Job(NamedTuple):
    number: int
    start: int
    stop: int


def make_zoom_set(config: ZoomPictures, executor: Executor) -> ZoomSet:
    """Return `config.count` endless zooms; even ones into the Mandelbrot set, odd ones into Julia sets.

    Zoom i depends on seed and i alone, and its strip on `size` too, so a smaller set is the start of a
    larger one. Each is drawn until four frames of its loop pass the gate of fractals.
    """
    assert config.size is not None, "a resolved recipe has a size"
    family = _Family(config.seed, config.size)
    content = ["zoom", config.count, *family, source_digest("zoom_making"), simplejpeg.__version__]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    length = _chunk_length(config.size)
    starts = range(0, config.count, length)
    jobs = [
        _Job(number, start, min(start + length, config.count))
        for number, start in enumerate(starts)
    ]

    def make(store: ChunkStore) -> Iterator[Chunk]:
        if not is_compiled(_COMPILED):
            print(
                "compiling the kernels of zooms, once for this machine", file=sys.stderr, flush=True
            )
        missing = [job for job in jobs if job.number not in store.numbers]
        return executor.map(_make_chunk, family, missing)

    return ZoomSet.of(cached(key, config.count, make, "zooms"))


def _chunk_length(size: int) -> int:
    """Return how many strips a job makes: 8, or fewer to stay near 4 MiB."""
    usual_bytes = 24 * size * size  # π·size columns, a growth of 5
    return max(1, min(8, _CHUNK_BYTES // usual_bytes))


def _make_chunk(family: _Family, job: _Job) -> Chunk:
    """Make the strips of one job."""
    compile_once(_COMPILED, _use_kernels)
    strips, drawn, dull, forced = [], 0, 0, 0
    for index in range(job.start, job.stop):
        found = draw_until_good(family.seed, index)
        strips.append(make_strip(found.zoom, family.size))
        drawn += found.drawn
        dull += found.dull
        forced += found.dull == MAX_ATTEMPTS
    return Chunk(
        number=job.number,
        pixels=np.concatenate([strip.cells.reshape(-1) for strip in strips]),
        heights=[strip.cells.shape[0] for strip in strips],
        widths=[strip.cells.shape[1] for strip in strips],
        ids=[f"zoom-{index:06d}" for index in range(job.start, job.stop)],
        tallies=(Tally("zoom", len(strips), drawn, dull, 0, forced),),
        details={
            "size": [float(family.size)] * len(strips),
            "twist": [float(strip.twist) for strip in strips],
            "growth": [strip.growth for strip in strips],
            "roll": [strip.roll for strip in strips],
        },
    )


class Found(NamedTuple):
    """A zoom, how often it was drawn, and how many of the draws the gate refused."""

    zoom: Zoom
    drawn: int
    dull: int


def draw_until_good(seed: int, index: int) -> Found:
    """Return the first draw of a zoom whose frames all pass the gate, or the best of `MAX_ATTEMPTS`."""
    best: tuple[float, Zoom] | None = None
    for attempt in range(MAX_ATTEMPTS):
        zoom = make_zoom(seed, index, kind=KINDS[index % 2], factor=FACTOR, attempt=attempt)
        shortfall = max(_shortfall(zoom, phase) for phase in _PHASES)
        if shortfall == 0:
            return Found(zoom, attempt + 1, attempt)
        if best is None or shortfall < best[0]:
            best = shortfall, zoom
    assert best is not None
    return Found(best[1], MAX_ATTEMPTS, MAX_ATTEMPTS)


def _shortfall(zoom: Zoom, phase: float) -> float:
    picture = np.empty((_GATE_SIDE, _GATE_SIDE, 3), np.uint8)
    frame_at(zoom, phase, picture, supersampling=1)
    return FRACTAL_GATE.shortfall(Cells(picture))


@functools.cache
def _use_kernels() -> None:
    zoom = make_zoom(0, 0)
    _shortfall(zoom, 0.0)
    fill_frames(make_strip(zoom, 8), 0.0, FACTOR, 1, np.empty((1, 8, 8, 3), np.uint8))
