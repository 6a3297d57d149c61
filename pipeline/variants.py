"""Test sets made of one clean set in many ways: each epoch of such a recipe is one way, a variant.

Owns which variants a recipe has and in which order: that of the published benchmarks, each name with its
severities from 1 on before the next. Knows nothing of pixels beyond the tables of `pipeline.corruptions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.augmentation_sections import CorruptionsConfig
from pipeline.corruptions import C_BAR_CIFAR, C_BAR_IMAGENET, C
from pipeline.corruptions.base import CIFAR_SIDE
from pipeline.errors import nearest

if TYPE_CHECKING:
    from pipeline.recipe import Recipe

FROST = "frost"
"""The corruption that lays pictures of ice over a sample."""


class Variant(NamedTuple):
    """What an epoch holds.

    Attributes:
        kind: "c" or "c-bar", the benchmark that it belongs to.
        name: of the corruption, as in the published files.
        severity: 1 to 5.
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
    section = recipe.augmentation
    if isinstance(section, CorruptionsConfig):
        return [
            Variant(section.benchmark, name, severity, None)
            for name in _names(section, recipe.transform.size)
            for severity in section.severities
        ]
    return None


def check_variants(recipe: Recipe) -> list[Variant]:
    """Return the variants of a recipe that has some.

    Raises:
        ValueError: a name that there is not, or a field that does nothing.
    """
    found, section = variants(recipe), recipe.augmentation
    assert found is not None
    assert isinstance(section, CorruptionsConfig)
    if section.frost is not None and FROST not in {variant.name for variant in found}:
        raise ValueError(
            f"augmentation.frost = {section.frost!r} does nothing without the corruption {FROST!r}; "
            "remove it, or add the name"
        )
    return found


def with_variants(recipe: Recipe) -> Recipe:
    """Return a recipe with the names, scale and number of epochs of its variants filled in."""
    section, found = recipe.augmentation, check_variants(recipe)
    assert isinstance(section, CorruptionsConfig)
    names = list(dict.fromkeys(variant.name for variant in found))
    settled = {"names": names, "scale": _settled(section, recipe.transform.size)}
    parts = {"augmentation": section.model_copy(update=settled), "epochs": len(found)}
    return recipe.model_copy(update=parts)


def _settled(section: CorruptionsConfig, size: int) -> str:
    """Return whose constants pictures of this size take, `cifar` or `imagenet`."""
    if section.scale != "auto":
        return section.scale
    return "cifar" if size <= CIFAR_SIDE else "imagenet"


def _names(section: CorruptionsConfig, size: int) -> list[str]:
    """Return the names of a section's corruptions in the published order."""
    where, known = "", C
    if section.benchmark == "c-bar":
        scale = _settled(section, size)
        where = f" at scale {scale}"
        known = C_BAR_CIFAR if scale == "cifar" else C_BAR_IMAGENET
    return _chosen(section.names, known, where)


def _chosen(given: str | Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """Return the names asked for in the order of `known`, the names that there are."""
    if isinstance(given, str):
        return list(known)
    for name in given:
        if name not in known:
            raise ValueError(
                f"augmentation.names: got {name!r}{nearest(name, known)}; "
                f"allowed{where}: all, or some of {', '.join(known)}"
            )
    return [name for name in known if name in given]
