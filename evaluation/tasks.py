"""What an evaluation has to do: a task for each file of predictions, with the samples that it takes.

Owns which samples are evaluated, which sets fit a checkpoint, and what makes two evaluations the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from evaluation.measures import choose_anomalies, class_indices
from evaluation.measures.adversary import Attack
from evaluation.measures.arrays import I64
from evaluation.predictions import About
from evaluation.readings import ANOMALIES
from evaluation.results import Kind
from evaluation.sets import OpenSet, Part
from pipeline.errors import DreamshardsError, UsageError
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
            them: the same pictures in all sets of one source. None takes all. Of anomalies there is always
            one for five normal samples.
        batch_size: most pictures through the network at once; each frame of a clip counts.
        device: auto, cpu or cuda.
        seed: of the choice of anomalies and the random starts of attacks.
        attack: the adversary, or None for none; its centre is set by `published`.
        attacked: of the clean test set so many samples are attacked, evenly spread.
        published: measure and summarise as the code behind the published numbers does; else both ways.
    """

    samples: int | None = None
    batch_size: int = 256
    device: str = "auto"
    seed: int = 0
    attack: Attack | None = _PAPERS
    attacked: int = 1000
    published: bool = False

    def attacks(self) -> list[Attack]:
        """Return the adversaries to run, the one for the summary first."""
        if self.attack is None:
            return []
        noisy = replace(self.attack, centre="noisy")
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


def check_fits(opened: OpenSet, trained: Trained) -> I64 | None:
    """Refuse a set that a checkpoint cannot be tested with; return `Task.classes`.

    Raises:
        DreamshardsError: it has no samples, samples of another shape, or other classes.
    """
    where = opened.where
    empty = next((part for part in opened.parts if part.num_samples == 0), None)
    if empty is not None or not opened.parts:
        raise DreamshardsError(f"{where}: holds no sample; allowed: one or more in each variant")
    if opened.shape != trained.shape:
        raise DreamshardsError(
            f"{where}: its samples have the shape {list(opened.shape)}, the checkpoint was trained on "
            f"{list(trained.shape)}; give a set of the same shape"
        )
    if opened.kind == "ood" or opened.classes is None:
        return None
    if opened.kind == "r":
        return class_indices(opened.classes, trained.classes)
    if opened.classes != trained.classes:
        num, found = len(trained.classes), opened.classes
        pairs = list(zip(found, trained.classes, strict=False))
        place = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
        which = (
            f"{len(found):,} classes, the checkpoint {num:,}"
            if len(found) != num
            else f"class {place} {found[place]!r}, the checkpoint {trained.classes[place]!r}"
        )
        raise DreamshardsError(
            f"{where}: it has {which}; give a set with the classes of the checkpoint, or label one of "
            "some of its classes r:, and one of other classes ood:"
        )
    return None


def check_names(sets: Sequence[OpenSet]) -> None:
    """Refuse sets whose files or readings would have the same name, and anomalies without normal samples.

    Raises:
        UsageError: it is so; the message says how to name them.
    """
    names = [each.name for each in sets if each.kind != "ood"] + [ANOMALIES]
    anomalies = [each.parts[0].name for each in sets if each.kind == "ood"]
    for what, found in (("sets", names), ("sets of anomalies", anomalies)):
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"--data: two {what} are called {twice!r}; name one with NAME=PLACE")


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
    if opened.kind == "ood":
        assert normal is not None
        num_normal = _num_taken(normal)
        identity |= {"seed": settings.seed, "normal": num_normal}
        notes = {"seed": str(settings.seed), "normal": f"{num_normal:,}"}
        for part in opened.parts:
            chosen[part] = choose_anomalies(num_normal, part.num_samples, seed=settings.seed)
    else:
        chosen = {part: _evenly(part.num_samples, settings.samples) for part in opened.parts}
        identity["samples"] = {str(i): _count(chosen[p]) for i, p in enumerate(opened.parts)}
        first = opened.parts[0]
        if chosen[first] is not None:
            notes = {"samples": f"{_count(chosen[first]):,} of {first.num_samples:,}"}
    about = _about(opened, opened.name, opened.kind, trained, identity, notes)
    return Task(opened, about, chosen, classes)


def attack_task(clean: Task, trained: Trained, settings: Settings, attack: Attack) -> Task:
    """Return the task of an adversary on the clean test set, or on some of it."""
    (part,) = clean.opened.parts
    taken = clean.chosen[part]
    present = np.arange(part.num_samples) if taken is None else taken
    places = _evenly(len(present), settings.attacked)
    chosen = present if places is None else present[places]
    identity = _identity(clean.opened, "pgd", clean.about.identity["checkpoint"])
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
        "samples": f"{len(chosen):,} of {part.num_samples:,}",
        "seed": str(settings.seed),
    }
    name = f"{clean.opened.name}-pgd" + ("-noisy" if attack.centre == "noisy" else "")
    about = _about(clean.opened, name, "pgd", trained, identity, notes)
    return Task(clean.opened, about, {part: chosen}, attack=attack)


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
    return part.num_samples if chosen is None else len(chosen)
