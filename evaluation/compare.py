"""Evaluations side by side, and where one is better than another on every axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.columns import COLUMNS
from evaluation.radar import AXES
from evaluation.results import Figure, Results
from evaluation.run import RESULTS_NAME
from pipeline.errors import DreamshardsError, UsageError

Summary = Mapping[str, Figure]


def load_runs(places: Sequence[Path]) -> list[Results]:
    """Read the results of some evaluations, from their folders or files, each under a name of its own.

    Two of one model are told apart by their folders.

    Raises:
        UsageError: fewer than two, or one of them twice.
        DreamshardsError: one has no results, or they are of several data sets.
    """
    if len(places) < 2 or len({place.resolve() for place in places}) < len(places):
        raise UsageError(
            f"compare: got {', '.join(map(str, places))}; allowed: two evaluations or more, each once"
        )
    runs = [_load(place) for place in places]
    datasets = sorted({each.dataset for each in runs})
    if len(datasets) > 1:
        raise DreamshardsError(
            f"compare: evaluations on {', '.join(datasets)}; allowed: of one data set"
        )
    models = [each.model for each in runs]
    return [
        replace(each, model=f"{each.model} ({place})") if models.count(each.model) > 1 else each
        for each, place in zip(runs, places, strict=True)
    ]


def _load(place: Path) -> Results:
    path = place / RESULTS_NAME if place.is_dir() else place
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DreamshardsError(
            f"{path}: no readable results ({error}); give the folder of a finished `dreamshards evaluate`"
        ) from error
    return Results.from_json(text, where=str(path))


def dominance(runs: Sequence[Results]) -> list[str]:
    """Return a line for each pair of evaluations: which Pareto-dominates the other, or why none does.

    One dominates another where on each of the five axes of `evaluation.radar` it is no worse, and better on
    one. Axes that either lacks, or measured on other parts of the benchmark, leave the question open.
    """
    lines = []
    for place, one in enumerate(runs):
        for other in runs[place + 1 :]:
            lines.append(_judge(one.model, one.summary(), other.model, other.summary()))
    return lines


def _judge(first: str, one: Summary, second: str, other: Summary) -> str:
    better: list[str] = []
    worse: list[str] = []
    unlike: list[str] = []
    for axis, column in AXES.items():
        mine, theirs = one.get(column), other.get(column)
        if mine is None or theirs is None or _coverage(mine) != _coverage(theirs):
            unlike.append(axis)
            continue
        gain = theirs.value - mine.value if COLUMNS[column].best == 0 else mine.value - theirs.value
        if gain > 0:
            better.append(axis)
        elif gain < 0:
            worse.append(axis)
    if unlike:
        compared = len(AXES) - len(unlike)
        return (
            f"{first} and {second} compare on {compared} of {len(AXES)} axes only, for "
            f"{', '.join(unlike)} is not measured alike in both: "
            f"{first} is better in {_listed(better)}, {second} in {_listed(worse)}"
        )
    if better and not worse:
        return f"{first} Pareto-dominates {second}: better in {_listed(better)}, no worse elsewhere"
    if worse and not better:
        return f"{second} Pareto-dominates {first}: better in {_listed(worse)}, no worse elsewhere"
    if not better:
        return f"{first} and {second} are equal on all {len(AXES)} axes"
    return (
        f"neither dominates: {first} is better in {_listed(better)}, {second} in {_listed(worse)}"
    )


def _coverage(figure: Figure) -> tuple[int, tuple[str, ...]]:
    return figure.num_covered, figure.missing


def _listed(axes: Sequence[str]) -> str:
    return ", ".join(axes) or "none"
