"""Mixing sets of several kinds by weight, and the blends that ship with the package.

PixMix (Hendrycks et al., CVPR 2022) mixes with 14,230 fractals and 4,700 feature visualisations. Their
titles tell what the fractals are: mostly flames and escape-time pictures with layered colours.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.executor import Executor
from pipeline.picture_sections import (
    BlendPictures,
    GeneratedPictures,
    NamedBlend,
    PicturesConfig,
)
from pipeline.pictures.cache import cached
from pipeline.pictures.chunks import Chunk, ChunkStore, chunk_length
from pipeline.pictures.generated import (
    chunk_jobs,
    family_identity,
    family_of,
    render_missing,
)
from pipeline.pictures.picture_set import PictureSet
from pipeline.recipe import load_pictures

FRACTALS = {"flame": 0.45, "escape": 0.30, "ifs": 0.10}
"""What stands for the published fractals, in the proportions of the library."""

LIBRARY = {**FRACTALS, "gabor": 0.15}
"""The default. Its last part stands for feature visualisations: they need torch, which a node that builds
shards does without, and their bytes depend on it, whereas a default set is the same everywhere."""

BLENDS = {
    "fractals": FRACTALS,
    "library": LIBRARY,
    "library-fvis": {**FRACTALS, "fvis": 0.15},
}
"""The blends that are kinds of their own."""


class _Part(NamedTuple):
    """A generator or a set, with how many of its pictures are in the blend.

    Attributes:
        name: prefix of its ids, or empty where they tell kinds apart by themselves.
        section: its `count` is that of the blend.
    """

    name: str
    section: PicturesConfig


def make_named_blend(config: NamedBlend, executor: Executor) -> PictureSet:
    """Return the blend that ships under `config.kind`."""
    fields = config.model_dump(exclude={"kind"})
    whole = BlendPictures(kind="blend", parts=BLENDS[config.kind], **fields)
    return make_blend_pictures(whole, executor)


def make_blend_pictures(config: BlendPictures, executor: Executor) -> PictureSet:
    """Return `config.count` pictures of its parts, part after part; a picture's id tells its part.

    Raises:
        UsageError: a folder or array holds fewer pictures than its weight calls for.
        DreamshardsError: a part cannot be made.
    """
    # Imported late: those modules and this one are entered in one table.
    from pipeline.pictures import open_pictures

    parts = blend_parts(config)
    made = [part for part in parts if isinstance(part.section, GeneratedPictures)]
    other = [part for part in parts if not isinstance(part.section, GeneratedPictures)]
    families = tuple(
        family_of(part.section) for part in parts if isinstance(part.section, GeneratedPictures)
    )
    sets = [open_pictures(part.section, executor) for part in other]
    jobs = chunk_jobs(families, [part.section.count or 0 for part in made])
    content = [
        "blend",
        [[part.name, part.section.count] for part in (*made, *other)],
        *map(family_identity, families),
        *(pictures.digest for pictures in sets),
    ]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def make(store: ChunkStore) -> Iterator[Chunk]:
        for chunk in render_missing(families, jobs, store, executor):
            yield _named(chunk, made[jobs[chunk.number].family].name)
        number = len(jobs)
        for part, pictures in zip(other, sets, strict=True):
            assert isinstance(pictures, PictureSet), "no part of a blend is a zoom"
            for chunk in _copied(pictures, number):
                yield _named(chunk, part.name)
                number = chunk.number + 1

    return cached(key, config.count, make)


def blend_parts(config: BlendPictures) -> list[_Part]:
    """Return the parts that have a picture in the blend, with their counts.

    A part that is itself a named blend stands for its own parts; parts that are the same add up.
    """
    weights: dict[tuple[str, str], float] = {}
    sections: dict[tuple[str, str], _Part] = {}
    for name, (weight, section) in config.sections().items():
        inner = BLENDS.get(section.kind, {section.kind: 1.0})
        whole = _total(list(inner.values()))
        for kind, share in inner.items():
            one = section
            if section.kind in BLENDS:
                fields = section.model_dump(exclude={"kind"})
                one = load_pictures(kind, (), fields)
            prefix = "" if name == section.kind and isinstance(one, GeneratedPictures) else name
            key = (prefix, one.model_dump_json())
            weights[key] = weights.get(key, 0.0) + weight * (share / whole)
            sections[key] = _Part(prefix, one)
    counts = apportion(list(weights.values()), config.count)
    return [
        part._replace(section=part.section.model_copy(update={"count": count}))
        for part, count in zip(sections.values(), counts, strict=True)
        if count
    ]


def _named(chunk: Chunk, name: str) -> Chunk:
    """Return the chunk with the part's name before each id."""
    return chunk._replace(ids=[f"{name}/{id}" for id in chunk.ids]) if name else chunk


def _copied(pictures: PictureSet, number: int) -> Iterator[Chunk]:
    """Yield a set in chunks, numbered from `number`."""
    length = chunk_length(int(max(pictures.heights.max(), pictures.widths.max())))
    for start in range(0, len(pictures), length):
        indices = range(start, min(start + length, len(pictures)))
        yield Chunk(
            number=number + start // length,
            pixels=np.concatenate([pictures.picture(index).reshape(-1) for index in indices]),
            heights=pictures.heights[start : indices.stop].tolist(),
            widths=pictures.widths[start : indices.stop].tolist(),
            ids=pictures.ids[start : indices.stop].to_pylist(),
            skipped=() if start else pictures.skipped,
        )


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Return whole numbers in proportion to `weights` whose sum is `total`, by largest remainder.

    Of equal remainders the first comes first.
    """
    whole = _total(weights)
    shares = [total * (weight / whole) for weight in weights]
    counts = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda place: counts[place] - shares[place])
    for place in order[: total - sum(counts)]:
        counts[place] += 1
    return counts


def _total(weights: Sequence[float]) -> float:
    # Not sum(): from Python 3.12 on it compensates rounding, and counts could differ.
    return list(itertools.accumulate(weights))[-1]
