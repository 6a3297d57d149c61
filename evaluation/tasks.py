"""What an evaluation has to do: a task for each file of predictions, with the samples that it takes.

Owns which samples are evaluated, and what makes two evaluations the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from evaluation.fits import check_fits
from evaluation.measures import choose_anomalies
from evaluation.measures.adversary import Attack
from evaluation.measures.arrays import I64
from evaluation.open_set import OpenSet, Part
from evaluation.predictions import About
from evaluation.results import Kind
from pipeline.errors import DreamshardsError
from pipeline.sources.source import evenly
from training.checkpoint import Trained

_PICTURES_PER_STEP = 3
"""A gradient costs about as much as three predictions."""

_PAPERS = Attack()


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        samples: so many source pictures of each set, evenly spread over its source, as `source.count` takes
            them: the same pictures in all sets of one source. Of clips so many videos, each with all of its
            clips. None takes all. Of anomalies there is always one for five normal samples.
        batch_size: most pictures through the network at once; each frame of a clip counts.
        device: auto, cpu or cuda.
        seed: of the choice of anomalies and the random starts of attacks.
        attack: the adversary, or None for none; its centre is set by `published`.
        attacked: of the clean test set so many samples are attacked, evenly spread; of clips so many videos.
        published: measure and summarise as the code behind the published numbers does; else both ways.
        cache_dir, cache_bytes: where to keep what was read of roots in object stores, up to so many bytes.
    """

    samples: int | None = None
    batch_size: int = 256
    device: str = "auto"
    seed: int = 0
    attack: Attack | None = _PAPERS
    attacked: int = 1000
    published: bool = False
    cache_dir: str | None = None
    cache_bytes: int | None = None

    def attacks(self, *, clips: bool = False) -> list[Attack]:
        """Return the adversaries to run, the one for the summary first; of clips none was published."""
        if self.attack is None:
            return []
        noisy = replace(self.attack, centre="noisy")
        if clips:
            return [replace(self.attack, centre="clean")]
        return [noisy] if self.published else [replace(self.attack, centre="clean"), noisy]


@dataclass(frozen=True)
class Task:
    """One file of predictions to make.

    Attributes:
        opened: the set that it reads.
        about: what the file will say of itself.
        chosen: of each part the `source_index` of the samples to take, rising, or None for all.
        classes: the checkpoint's class for each class of the set; None where it has the same, or none.
        attack: the adversary, if any.
    """

    opened: OpenSet
    about: About
    chosen: dict[Part, I64 | None]
    classes: I64 | None = None
    attack: Attack | None = None

    def pictures(self, part: Part) -> int:
        """Return what a part costs, in pictures through the network."""
        chosen = self.chosen[part]
        num = part.num_samples if chosen is None else len(chosen)
        steps = 0 if self.attack is None else _PICTURES_PER_STEP * self.attack.steps
        return num * part.num_frames * (1 + steps)


def make_task(
    opened: OpenSet, trained: Trained, checkpoint: str, settings: Settings, normal: Task | None
) -> Task:
    """Return the task for a set; `normal` is that of the clean test set, which anomalies are told from.

    Raises:
        DreamshardsError: the set does not fit the checkpoint, or there are too few normal samples.
    """
    classes = check_fits(opened, trained)
    identity = _identity(opened, opened.kind, checkpoint)
    notes: dict[str, str] = {}
    chosen: dict[Part, I64 | None] = {}
    first = opened.parts[0]
    if opened.kind == "ood":
        assert normal is not None
        num_normal = _num_taken(normal)
        identity |= {"seed": settings.seed, "normal": num_normal}
        notes = {"seed": str(settings.seed), "normal": f"{num_normal:,}"}
        for part in opened.parts:
            num_present = _num_present(opened, part)
            picked = choose_anomalies(num_normal, num_present, seed=settings.seed)
            chosen[part] = _clips_of(opened, part, picked)
        if opened.videos is not None:
            notes["sets"] = ", ".join(part.name for part in opened.parts)
    else:
        for part in opened.parts:
            some = _evenly(_num_present(opened, part), settings.samples)
            chosen[part] = None if some is None else _clips_of(opened, part, some)
        identity["samples"] = {str(i): _count(chosen[p]) for i, p in enumerate(opened.parts)}
        if opened.videos is not None:
            notes = _video_notes(opened, first, chosen[first])
        elif chosen[first] is not None:
            notes = {"samples": f"{_count(chosen[first]):,} of {first.num_samples:,}"}
    about = _about(opened, opened.name, opened.kind, trained, identity, notes)
    return Task(opened, about, chosen, classes)


def attack_task(clean: Task, trained: Trained, settings: Settings, attack: Attack) -> Task:
    """Return the task of an adversary on the clean test set, or on some of it."""
    (part,) = clean.opened.parts
    opened, taken = clean.opened, clean.chosen[part]
    present = np.arange(part.num_samples) if taken is None else taken
    units = present if opened.videos is None else np.unique(opened.videos[part.name][present])
    places = _evenly(len(units), settings.attacked)
    chosen = _clips_of(opened, part, units if places is None else units[places])
    identity = _identity(opened, "pgd", clean.about.identity["checkpoint"])
    identity |= {
        "samples": clean.about.identity["samples"],
        "attacked": len(chosen),
        "attack": asdict(attack),
        "seed": settings.seed,
        "batch_size": settings.batch_size,
    }
    notes = {
        "centre": attack.centre,
        "eps": f"{255 * attack.eps:g}/255",
        "steps": f"{attack.steps} of {255 * attack.step:g}/255",
    }
    if opened.videos is None:
        notes["samples"] = f"{len(chosen):,} of {part.num_samples:,}"
    else:
        notes |= _video_notes(opened, part, chosen)
    notes["seed"] = str(settings.seed)
    name = f"{opened.name}-pgd" + ("-noisy" if attack.centre == "noisy" else "")
    about = _about(opened, name, "pgd", trained, identity, notes)
    return Task(opened, about, {part: chosen}, attack=attack)


# ── clips and their videos ──


def _num_present(opened: OpenSet, part: Part) -> int:
    """Return how many there are to choose from: samples, of clips videos."""
    return part.num_samples if opened.videos is None else int(opened.videos[part.name].max()) + 1


def _clips_of(opened: OpenSet, part: Part, picked: I64) -> I64:
    """Return the `source_index` of what was picked, rising: of videos of all of their clips."""
    if opened.videos is None:
        return picked
    return np.flatnonzero(np.isin(opened.videos[part.name], picked))


def _video_notes(opened: OpenSet, part: Part, chosen: I64 | None) -> dict[str, str]:
    """Return of how many videos and clips a result is, for people.

    Raises:
        DreamshardsError: a set of windows with no two of one video.
    """
    assert opened.videos is not None
    videos = opened.videos[part.name]
    taken = videos if chosen is None else videos[chosen]
    _, clips = np.unique(taken, return_counts=True)
    num_present = int(videos.max()) + 1
    some = f" of {num_present:,}" if len(clips) < num_present else ""
    low, high = int(clips.min()), int(clips.max())
    each = f"{low}" if low == high else f"{low} to {high}"
    notes = {"videos": f"{len(clips):,}{some}", "clips": f"{len(taken):,}, {each} a video"}
    if opened.kind != "windows":
        return notes | {"answer": "mean softmax of a video's clips"}
    if high == 1:
        raise DreamshardsError(
            f"{opened.where}: no video has two windows, so no answer can change between them; build a root "
            "with source.starts=windows and a smaller source.hop, or of longer videos"
        )
    alone = int((clips == 1).sum())
    if alone:
        notes["left out"] = f"{alone:,} videos of one window"
    return notes if opened.hop is None else notes | {"hop": f"{opened.hop} frames"}


def _identity(opened: OpenSet, kind: Kind, checkpoint: str) -> dict[str, Any]:
    """Return what every file of predictions has in its identity."""
    variants = [[part.name, part.severity] for part in opened.parts]
    return {
        "checkpoint": checkpoint,
        "data": opened.digest,
        "kind": kind,
        "variants": variants,
        "difficulty": opened.difficulty,
    }


def _about(
    opened: OpenSet,
    name: str,
    kind: Kind,
    trained: Trained,
    identity: dict[str, Any],
    notes: dict[str, str],
) -> About:
    return About(
        name,
        kind,
        opened.benchmark,
        tuple(trained.classes),
        opened.where,
        identity,
        notes,
        opened.difficulty,
        opened.parts[0].num_samples,
        opened.videos is not None,
    )


def _evenly(num_present: int, wanted: int | None) -> I64 | None:
    """Return which of so many samples to take, rising, or None for all."""
    if wanted is None or wanted >= num_present:
        return None
    return np.array(evenly(num_present, wanted, "the set"), np.int64)


def _count(chosen: I64 | None) -> int | None:
    return None if chosen is None else len(chosen)


def _num_taken(task: Task) -> int:
    (part,) = task.opened.parts
    chosen = task.chosen[part]
    if task.opened.videos is not None:
        videos = task.opened.videos[part.name]
        return len(np.unique(videos if chosen is None else videos[chosen]))
    return part.num_samples if chosen is None else len(chosen)
