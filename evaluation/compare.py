"""Reading the results of several evaluations to put them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.results import Results
from evaluation.run import RESULTS_NAME
from pipeline.errors import DreamshardsError, UsageError


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
