"""Test sets made of one clean set in many ways: each epoch of such a recipe is one way, a variant.

Owns which variants a recipe has and in which order: that of the published benchmarks, each name with its
severities from 1 on before the next. Knows nothing of pixels beyond the tables of `pipeline.corruptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.augmentation_sections import CorruptionsConfig, PerturbationsConfig, VariantsConfig
from pipeline.corruptions import C_BAR_CIFAR, C_BAR_IMAGENET, C
from pipeline.corruptions.base import CIFAR_SIDE
from pipeline.corruptions.perturbations import PERTURBATIONS, frame_side
from pipeline.errors import nearest

if TYPE_CHECKING:
    from pipeline.recipe import Recipe

FROST = "frost"
"""The corruption that lays pictures of ice over a sample."""

P = tuple(PERTURBATIONS)[:10]
"""The ten kinds of sequences that results are averaged over."""


class Variant(NamedTuple):
    """What an epoch holds.

    Attributes:
        kind: "c" or "c-bar", the corruptions of that benchmark; "p", sequences.
        name: as in the published files.
        severity: 1 to 5 of a corruption, None of a sequence.
        frames: of a sample that is a clip, None of a picture.
    """

    kind: str
    name: str
    severity: int | None
    frames: int | None


def variants(recipe: Recipe) -> list[Variant] | None:
    """Return what each epoch of a recipe holds, by its number; None where epochs differ by chance alone.

    Epochs past them, which live streams render, hold the same variants again.
    """
    section, size = recipe.augmentation, recipe.transform.size
    if isinstance(section, PerturbationsConfig):
        cifar = _settled(section, size) == "cifar"
        kinds = (PERTURBATIONS[name] for name in _names(section, size))
        return [
            Variant("p", kind.name, None, kind.cifar_frames if cifar else kind.imagenet_frames)
            for kind in kinds
        ]
    if isinstance(section, CorruptionsConfig):
        return [
            Variant(section.benchmark, name, severity, None)
            for name in _names(section, size)
            for severity in section.severities
        ]
    return None


def variants_of(dataset: Mapping[str, Any]) -> list[Variant] | None:
    """Return what each epoch of a finished root holds, from its dataset.json; None as `variants`."""
    found = dataset.get("variants")
    return None if found is None else [Variant(**variant) for variant in found]


def num_frames(recipe: Recipe, epoch: int) -> int | None:
    """Return the frames of an epoch's samples, None where they are pictures."""
    if recipe.clip_frames is not None:
        return recipe.clip_frames
    found = variants(recipe)
    return found[epoch % len(found)].frames if found else None


def sample_shape(recipe: Recipe, epoch: int) -> tuple[int, ...]:
    """Return the shape of an epoch's samples: (S, S, 3), or (F, S, S, 3) of clips."""
    size, frames = recipe.transform.size, num_frames(recipe, epoch)
    return (size, size, 3) if frames is None else (frames, size, size, 3)


# ── a recipe's section, checked and filled in ──


def check_variants(recipe: Recipe) -> list[Variant]:
    """Return the variants of a recipe that has some.

    Raises:
        ValueError: a name that there is not, a field that does nothing, or a transform that does not fit.
    """
    found, section = variants(recipe), recipe.augmentation
    assert found is not None
    names = {variant.name for variant in found}
    if isinstance(section, PerturbationsConfig):
        _check_margin(recipe, section, names)
    elif isinstance(section, CorruptionsConfig) and section.frost and FROST not in names:
        raise ValueError(
            f"augmentation.frost = {section.frost!r} does nothing without the corruption {FROST!r}; "
            "remove it, or add the name"
        )
    return found


def moves_whole(name: str, scale: str) -> bool:
    """Tell whether frames of this kind are cut out of the whole picture after it has moved."""
    return scale == "imagenet" and PERTURBATIONS[name].margin


def _check_margin(recipe: Recipe, section: PerturbationsConfig, names: set[str]) -> None:
    """Refuse a transform that leaves whole pictures no margin to move in."""
    transform, size = recipe.transform, recipe.transform.size
    scale = _settled(section, size)
    moving = [name for name in PERTURBATIONS if name in names and moves_whole(name, scale)]
    if not moving:
        return
    margin = "center-crop with transform.resize = " + str(-(-size * 8 // 7))
    resize = None
    if transform.kind == "center-crop":
        resize = transform.resize or size + size // 7
    if resize is None or frame_side(moving[0], resize, resize, scale) != size:
        got = transform.kind if resize is None else f"center-crop with transform.resize = {resize}"
        raise ValueError(
            f"transform: got {got}, but at scale imagenet {moving[0]!r} moves whole pictures before their "
            f"middle of {size} px is cut out; allowed: {margin}"
        )


def with_variants(recipe: Recipe) -> Recipe:
    """Return a recipe with the names, scale and number of epochs of its variants filled in."""
    section, found = recipe.augmentation, check_variants(recipe)
    assert isinstance(section, VariantsConfig)
    names = list(dict.fromkeys(variant.name for variant in found))
    settled = {"names": names, "scale": _settled(section, recipe.transform.size)}
    parts = {"augmentation": section.model_copy(update=settled), "epochs": len(found)}
    return recipe.model_copy(update=parts)


def _settled(section: VariantsConfig, size: int) -> str:
    """Return whose constants pictures of this size take, `cifar` or `imagenet`."""
    if section.scale != "auto":
        return section.scale
    return "cifar" if size <= CIFAR_SIDE else "imagenet"


def _names(section: VariantsConfig, size: int) -> list[str]:
    """Return the names of a section's variants in the published order.

    Raises:
        ValueError: there is no such name.
    """
    where = ""
    known: Sequence[str] = C
    if isinstance(section, PerturbationsConfig):
        if section.names == "all":
            return list(P)
        known = tuple(PERTURBATIONS)
    elif section.benchmark == "c-bar":
        scale = _settled(section, size)
        where = f" at scale {scale}"
        known = C_BAR_CIFAR if scale == "cifar" else C_BAR_IMAGENET
    if section.names == "all":
        return list(known)
    for name in section.names:
        if name not in known:
            raise ValueError(
                f"augmentation.names: got {name!r}{nearest(name, known)}; "
                f"allowed{where}: all, or some of {', '.join(known)}"
            )
    return [name for name in known if name in section.names]
