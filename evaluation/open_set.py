"""What an open test set is: its variants, and how batches of each are read; several of anomalies as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from evaluation.predictions import Samples
from evaluation.results import Kind

I64: TypeAlias = npt.NDArray[np.int64]
SetBatch: TypeAlias = tuple[torch.Tensor, Samples]


class Part(NamedTuple):
    """One variant of a test set.

    Attributes:
        name: the corruption, the kind of sequence or the set of anomalies; else the set's own name.
        severity: 1 to 5 of a corruption; else None.
        place: which it is: the epoch of a root.
        num_samples: pictures, sequences or clips that it has.
        num_frames: of each sequence or clip; else 1.
    """

    name: str
    severity: int | None
    place: int
    num_samples: int
    num_frames: int = 1


@dataclass(frozen=True)
class OpenSet:
    """A test set, opened and checked as far as can be without reading its samples.

    Attributes:
        name: in files and tables.
        kind: what it is a benchmark of.
        where: what was given for it.
        digest: of the content that samples come from.
        classes: names by label; None where labels have none, or are of no matter.
        parts: its variants, in order.
        benchmark: the parts that the benchmark has in full; empty for kinds of one part.
        shape: of the network's input: uint8 [H, W, 3] or [T, H, W, 3].
        read: (part, which `source_index` or None for all, most pictures of a batch) → batches, and for each
            the samples that it holds, labels by `classes`. Samples are uint8 [B, *shape]; of kind `p` they
            are sequences [B, F, *shape].
        source_kind: of the recipe's source, such as `cifar10`; None where there is no recipe.
        difficulty: of sequences.
        videos: where samples are clips, of each part by its name the number of each clip's video, int64 [n]
            by `source_index`; videos count from 0 in the order of their first clips. Else None.
        hop: frames from one window of a video to the next, where the recipe says so.
    """

    name: str
    kind: Kind
    where: str
    digest: str
    classes: list[str] | None
    parts: list[Part]
    benchmark: tuple[str, ...]
    shape: tuple[int, ...]
    read: Callable[[Part, I64 | None, int], Iterator[SetBatch]]
    source_kind: str | None = None
    difficulty: int = 1
    videos: Mapping[str, I64] | None = None
    hop: int | None = None


def join_anomalies(name: str, sets: Sequence[OpenSet]) -> OpenSet:
    """Return sets of anomalies as the parts of one."""
    owners = {part.name: (each, part) for each in sets for part in each.parts}
    parts = [
        part._replace(place=place)
        for place, part in enumerate(part for each in sets for part in each.parts)
    ]

    def read(part: Part, chosen: I64 | None, batch_size: int) -> Iterator[SetBatch]:
        owner, own = owners[part.name]
        return owner.read(own, chosen, batch_size)

    digest = hashlib.sha256("\n".join(each.digest for each in sets).encode()).hexdigest()
    where = ", ".join(each.where for each in sets)
    first = sets[0]
    videos = {name: of_part for each in sets for name, of_part in (each.videos or {}).items()}
    # of clips there is no benchmark, so the mean is over the sets that there are
    benchmark = tuple(videos) or first.benchmark
    return OpenSet(
        name,
        "ood",
        where,
        digest,
        None,
        parts,
        benchmark,
        first.shape,
        read,
        videos=videos or None,
    )
