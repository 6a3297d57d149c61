"""What the recipe of a root, or of a live stream, makes a test set of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evaluation.benchmarks import (
    ANOMALY_SETS,
    C_BAR_CIFAR,
    C_BAR_IMAGENET,
    COMMON_CORRUPTIONS,
    SEQUENCES,
)
from evaluation.results import Kind
from pipeline.errors import UsageError
from pipeline.recipe import CenterCrop, PadCrop, Recipe
from pipeline.source_sections import CifarCSource, VideoConfig
from pipeline.variants import variants

_MIXED = ("pixmix", "mixup", "cutmix", "vpixmix", "videomix")
_OTHER_NAMES = {"dtd": "textures"}


class Recognised(NamedTuple):
    """What a recipe makes a test set of: its kind, and (name, severity, epoch) of each variant."""

    kind: Kind
    parts: list[tuple[str, int | None, int]]
    benchmark: tuple[str, ...]
    difficulty: int = 1


def recognise(recipe: Recipe, name: str, labelled: Kind | None) -> Recognised:
    """Tell what a recipe makes a test set of; `labelled` is what the command line says that it is.

    Corruptions, sequences and synthetic anomalies are known by the recipe. A clean test set is one that draws
    nothing at random; of clips that overlap it is one of windows, for consistency over time. Other sets
    without augmentation have to be labelled, and those of a training split.

    Raises:
        UsageError: it is not a test set, or not the one that it is labelled as.
    """
    found, official = variants(recipe), _official(recipe)
    own: Kind | None = None
    if found:
        trains = labelled is None and _is_of_training(recipe)
        own = None if trains else found[0].kind  # type: ignore[assignment]
    elif official is not None:
        own = official.kind
    elif _is_foreign(recipe):
        own = "ood"
    elif labelled is None and _is_plain(recipe):
        own = "windows" if _overlaps(recipe) else "clean"
    kind = own if labelled is None else labelled
    varied = bool(found) or official is not None
    conflict = labelled is not None and (varied or labelled in ("c", "c-bar", "p"))
    if kind is None or recipe.augmentation.family in _MIXED:
        raise UsageError(
            f"recipe {recipe.name}: no test set: family {recipe.augmentation.family!r}, source "
            f"{recipe.source.model_dump(mode='json')}; allowed: a test split without augmentation, "
            "corruptions, perturbations or anomalies"
            + (", clips with source.starts = 'uniform' or 'windows'" if recipe.clip_frames else "")
            + ". Of another set say what it is: clean:…, r:… or ood:…"
        )
    if kind == "windows" and getattr(recipe.source, "starts", None) != "windows":
        raise UsageError(
            f"recipe {recipe.name}: labelled windows:, but its samples are no windows of videos in turn; "
            "allowed: a source of videos with starts = 'windows' and a hop below the frames that a clip spans"
        )
    if conflict and own != labelled:
        raise UsageError(
            f"recipe {recipe.name}: labelled {labelled}:, but it is "
            f"{'of kind ' + repr(own) if varied else 'no such benchmark'}; leave the label out"
        )
    if official is not None:
        return official
    if not found:
        part = anomaly_name(name, recipe) if kind == "ood" else name
        return Recognised(kind, [(part, None, 0)], ANOMALY_SETS if kind == "ood" else ())
    parts = [(each.name, each.severity, epoch) for epoch, each in enumerate(found)]
    difficulty = int(getattr(recipe.augmentation, "difficulty", 1))
    return Recognised(kind, parts, benchmark_parts(kind, [p[0] for p in parts]), difficulty)


def _official(recipe: Recipe) -> Recognised | None:
    """Return what a recipe of one published file is a test set of: one corruption at one severity."""
    source = recipe.source
    if not isinstance(source, CifarCSource):
        return None
    kind: Kind = "c-bar" if source.name in C_BAR_CIFAR else "c"
    parts: list[tuple[str, int | None, int]] = [(source.name, source.severity, 0)]
    return Recognised(kind, parts, benchmark_parts(kind, [source.name]))


def benchmark_parts(kind: Kind, names: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that a benchmark has in full; C-bar has those of ImageNet where `names` has any."""
    if kind == "c":
        return COMMON_CORRUPTIONS
    if kind == "c-bar":
        return C_BAR_CIFAR if set(names) <= set(C_BAR_CIFAR) else C_BAR_IMAGENET
    return {"p": SEQUENCES, "ood": ANOMALY_SETS}.get(kind, ())


def anomaly_name(name: str, recipe: Recipe | None = None) -> str:
    """Return which of the published sets of anomalies a set is, by its law, its source or its name."""
    law = getattr(recipe.source, "law", recipe.source.kind) if recipe is not None else None
    known = {each: each for each in ANOMALY_SETS} | _OTHER_NAMES
    if law in known:
        return known[law]
    return next((set_name for word, set_name in known.items() if word in name.lower()), name)


def _is_foreign(recipe: Recipe) -> bool:
    """Tell whether a recipe's source is one of anomalies."""
    return recipe.source.kind in ("synthetic", "svhn") or _split(recipe) == "unknown"


def _overlaps(recipe: Recipe) -> bool:
    """Tell whether the clips of a video begin before the one before has ended."""
    source = recipe.source
    if not isinstance(source, VideoConfig) or source.hop is None:
        return False
    return source.hop <= (source.frames - 1) * source.stride


def _is_plain(recipe: Recipe) -> bool:
    """Tell whether a recipe leaves samples as they are, draws none, and is not of a training split."""
    if getattr(recipe.source, "starts", None) == "random":
        return False
    transform = recipe.transform
    still = isinstance(transform, CenterCrop) or (
        isinstance(transform, PadCrop) and transform.padding == 0 and transform.flip == 0
    )
    return recipe.augmentation.family == "clean" and still and not _is_of_training(recipe)


def _is_of_training(recipe: Recipe) -> bool:
    return _split(recipe) == "train"


def _split(recipe: Recipe) -> str:
    return getattr(recipe.source, "split", "test")
