"""Generated mixing pictures: what all generators share, from a recipe's section to a stored set.

Picture i of a set is drawn until it passes its family's gate and looks like no earlier picture of its
chunk (`pipeline.pictures.quality`). So it depends on seed, size, options and the pictures before it in
its chunk, and on nothing else: a smaller set is the start of a larger one, whatever the workers do.

A new generator is one module with a render function, one recipe section and one line in `GENERATORS`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor import Executor
from pipeline.picture_sections import GeneratedPictures
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore, chunk_length
from pipeline.pictures.picture_set import PictureSet, Tally
from pipeline.pictures.quality import (
    ALIKE,
    ALIKE_TEXTURES,
    FRACTAL_GATE,
    NO_GATE,
    TEXTURE_GATE,
    VISUALISATION_GATE,
    Cells,
    Gate,
    Kept,
)
from pipeline.pictures.sources import source_digest
from pipeline.render.jit import compile_once, is_compiled

if TYPE_CHECKING:
    from pipeline.pictures.fvis_net import Network

U8 = npt.NDArray[np.uint8]
Paint = Callable[[int, int, U8], None]
"""(index, attempt, uint8 [size, size, 3] to write) → None"""

MAX_ATTEMPTS = 16
"""Draws of one picture; after the last the best of them is kept."""

_COMMON = {"kind", "count", "size", "seed"}


class Generator(NamedTuple):
    """How pictures of one kind are made and judged.

    Attributes:
        module: below `pipeline.pictures`; imported when the kind is first used.
        function: its `render(seed, index, attempt, out, **options)`; None for `fvis`, which works in batches.
        gate: what every picture has to pass.
        alike: distance below which two pictures look alike and the later is drawn again; 0 keeps all.
    """

    module: str
    function: str | None
    gate: Gate
    alike: float


GENERATORS: dict[str, Generator] = {
    "dead-leaves": Generator("dead_leaves", "render_dead_leaves", NO_GATE, 0.0),
    "escape": Generator("escape", "render_escape", FRACTAL_GATE, ALIKE),
    "flame": Generator("flame", "render_flame", FRACTAL_GATE, ALIKE),
    "fractaldb": Generator("fractaldb", "render_fractaldb", NO_GATE, 0.0),
    "fvis": Generator("fvis", None, VISUALISATION_GATE, ALIKE_TEXTURES),
    "gabor": Generator("gabor", "render_gabor", TEXTURE_GATE, ALIKE_TEXTURES),
    "ifs": Generator("ifs", "render_ifs", FRACTAL_GATE, ALIKE),
    "spectrum-color-wmm": Generator("spectrum", "render_spectrum", NO_GATE, 0.0),
    "stylegan-oriented": Generator("stylegan", "render_stylegan", NO_GATE, 0.0),
}


class Family(NamedTuple):
    """Pictures that share everything but their index.

    Attributes:
        kind: a key of `GENERATORS`.
        options: of that kind, beyond the common ones.
        network: that feature visualisations look into.
    """

    kind: str
    seed: int
    size: int
    options: dict[str, Any]
    network: Network | None = None


class Job(NamedTuple):
    """One chunk: pictures [start, stop) of a family, which is given by its place."""

    number: int
    family: int
    start: int
    stop: int


def family_of(config: GeneratedPictures) -> Family:
    """Return the family that a resolved section asks for.

    Raises:
        UsageError: it needs a network and there is none, see `fvis_net.load_network`.
    """
    assert config.size is not None, "a resolved recipe has a size"
    options = config.model_dump(exclude=_COMMON)
    if config.kind != "fvis":
        return Family(config.kind, config.seed, config.size, options)
    from pipeline.pictures.fvis_net import load_network

    try:
        network = load_network(seed=config.seed, **options)
    except UsageError:
        raise
    except DreamshardsError as error:  # before any work: the recipe cannot be used here as it is
        raise UsageError(str(error)) from error
    return Family(config.kind, config.seed, config.size, {}, network)


def family_identity(family: Family) -> list[Any]:
    """Return all that decides the family's pictures, as JSON: the code that makes them too."""
    generator = GENERATORS[family.kind]
    content = [*family[:4], source_digest(generator.module, "quality", "generated")]
    if generator.gate.jpeg is not None:
        content.append(simplejpeg.__version__)
    if family.network is not None:
        import torch

        content += [family.network.digest, torch.__version__]
    return content


def chunk_jobs(families: Sequence[Family], counts: Sequence[int]) -> list[Job]:
    """Cut `counts` pictures of each family into chunks, numbered from 0."""
    jobs: list[Job] = []
    for place, (family, count) in enumerate(zip(families, counts, strict=True)):
        length = chunk_length(family.size)
        for start in range(0, count, length):
            jobs.append(Job(len(jobs), place, start, min(start + length, count)))
    return jobs


def make_generated_pictures(config: GeneratedPictures, executor: Executor) -> PictureSet:
    """Return `config.count` pictures of size×size; ids are <kind>-000000, <kind>-000001, …"""
    families = (family_of(config),)
    content = ["generated", config.count, *map(family_identity, families)]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def make(store: ChunkStore) -> Iterator[Chunk]:
        return render_missing(families, chunk_jobs(families, [config.count]), store, executor)

    return cached(key, config.count, make)


def render_missing(
    families: Sequence[Family], jobs: Sequence[Job], store: ChunkStore, executor: Executor
) -> Iterator[Chunk]:
    """Make the chunks that the store has not got, in any order."""
    kinds = dict.fromkeys(family.kind for family in families)
    if not all(is_compiled(f"pictures-{kind}") for kind in kinds if GENERATORS[kind].function):
        print(
            "compiling the kernels of pictures, once for this machine", file=sys.stderr, flush=True
        )
    missing = [job for job in jobs if job.number not in store.numbers]
    return executor.map(render_chunk, families, missing)


def render_chunk(families: Sequence[Family], job: Job) -> Chunk:
    """Make the pictures of one chunk."""
    family = families[job.family]
    generator = GENERATORS[family.kind]
    if generator.function is not None:
        _compile_once(family.kind)
    length = job.stop - job.start
    pictures = np.empty((length, family.size, family.size, 3), np.uint8)
    paint = _painter(family, range(job.start, job.stop))
    kept = Kept(length)
    drawn = dull = alike = forced = 0
    for place, index in enumerate(range(job.start, job.stop)):
        found = _draw_until_good(paint, index, pictures[place], generator, kept)
        drawn += found.drawn
        dull += found.dull
        alike += found.alike
        forced += found.forced
    return Chunk(
        number=job.number,
        pixels=pictures.reshape(-1),
        heights=[family.size] * length,
        widths=[family.size] * length,
        ids=[f"{family.kind}-{index:06d}" for index in range(job.start, job.stop)],
        tallies=(Tally(family.kind, length, drawn, dull, alike, forced),),
    )


class _Found(NamedTuple):
    drawn: int
    dull: int
    alike: int
    forced: bool


def _draw_until_good(paint: Paint, index: int, out: U8, generator: Generator, kept: Kept) -> _Found:
    """Write the first good draw of a picture into `out`, or the best of `MAX_ATTEMPTS`.

    How bad a draw is: its shortfall at the gate, plus by how much it is nearer to another picture
    than the generator allows, as a share of that.
    """
    best, least = out, np.inf
    dull = alike = 0
    for attempt in range(MAX_ATTEMPTS):
        paint(index, attempt, out)
        cells = Cells(out)
        shortfall = generator.gate.shortfall(cells)
        nearness = 0.0
        if generator.alike:
            nearness = max(0.0, 1.0 - kept.distance(cells.descriptor) / generator.alike)
        dull += shortfall > 0
        alike += shortfall == 0 and nearness > 0
        if shortfall + nearness == 0:
            break
        if shortfall + nearness < least:
            best, least = out.copy(), shortfall + nearness
    else:
        out[:] = best
    if generator.alike:
        kept.add(Cells(out).descriptor)
    return _Found(attempt + 1, dull, alike, dull + alike == MAX_ATTEMPTS)


def _painter(family: Family, indices: Sequence[int]) -> Paint:
    """Return what draws the pictures `indices` of a family."""
    generator = GENERATORS[family.kind]
    module = importlib.import_module(f"pipeline.pictures.{generator.module}")
    if generator.function is not None:
        render = functools.partial(getattr(module, generator.function), **family.options)
        return lambda index, attempt, out: render(family.seed, index, attempt, out)
    shared = module.FvisShared(family.seed, family.network)
    first = module.render_fvis_batch(shared, indices, 0, family.size)

    def paint(index: int, attempt: int, out: U8) -> None:
        if attempt == 0:
            out[:] = first[index - indices[0]]
        else:
            out[:] = module.render_fvis_batch(shared, [index], attempt, family.size)[0]

    return paint


@functools.cache
def _compile_once(kind: str) -> None:
    """Load or compile the kernels of a kind; of all processes of a machine one compiles them."""

    def use() -> None:
        picture = np.empty((8, 8, 3), np.uint8)
        _painter(Family(kind, 0, 8, {}), ())(0, 0, picture)
        cells = Cells(picture)
        FRACTAL_GATE.shortfall(cells)
        kept = Kept(1)
        kept.add(cells.descriptor)
        kept.distance(cells.descriptor)

    compile_once(f"pictures-{kind}", use)
