"""What makes two builds the same: every field that decides bytes, and the content of the inputs. No paths."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import Any

from pipeline.recipe import Recipe
from pipeline.sampling import Inputs
from pipeline.settings import flattened
from pipeline.shards.dataset import canonical
from pipeline.shards.layout import FORMAT_VERSION
from pipeline.source_sections import VideoConfig
from pipeline.sources.images import decoder_versions
from pipeline.sources.video_files import video_versions

PLACES = {"path", "checkpoint", "download", "on_unreadable", "frost"}
"""Fields of sections that say where inputs lie or how to fetch them; their content is hashed instead."""

TELLING = ("av", "dreamshards", "numba", "numpy", "pillow", "pyarrow", "simplejpeg")
"""Packages of which another version may make other bytes."""

_UNLESS_GIVEN = ("source.count",)
"""Fields that an identity holds only where they are given: roots older than these keep their hash."""


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's fields that decide bytes, flat, with dotted names."""
    flat = {"format_version": FORMAT_VERSION, **decoder_versions()}
    if uses_video(recipe):
        flat |= video_versions()
    flat |= flattened(recipe.model_dump(mode="json"))
    return {
        name: value
        for name, value in flat.items()
        if name != "name" and name.rpartition(".")[2] not in PLACES
    }


def uses_video(recipe: Recipe) -> bool:
    """Tell whether a recipe's samples depend on a video decoder or encoder."""
    pictures = recipe.mixing_set.kind if recipe.mixing_set is not None else None
    return (
        isinstance(recipe.source, VideoConfig)
        or pictures == "zoom-videos"
        or recipe.shards.codec == "mp4"
    )


def inputs_identity(inputs: Inputs) -> dict[str, Any]:
    """Return the recipe's identity together with the digests of its source, mixing set and panes of frost."""
    digest = inputs.pictures.digest if inputs.pictures is not None else None
    identity = {
        **recipe_identity(inputs.recipe),
        "source.fingerprint": inputs.source.fingerprint,
        "mixing_set.digest": digest,
    }
    if inputs.frost is not None:
        identity["augmentation.frost_digest"] = inputs.frost.digest
    return identity


def recipe_hash(identity: dict[str, Any]) -> str:
    """Return the hex SHA-256 of an identity."""
    return hashlib.sha256(canonical(identity)).hexdigest()


def package_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of what makes a root: those of `TELLING` may tell in its bytes."""
    packages = {*TELLING, "ray"} - (set() if uses_video(recipe) else {"av"})
    versions = {package: version(package) for package in sorted(packages)}
    return {"python": platform.python_version(), **versions}


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return a line for each field whose value differs; fields that `wanted` lacks are not compared."""
    return [
        f"{name}: the root has {stored.get(name)!r}, this recipe has {value!r}"
        for name, value in {**dict.fromkeys(_UNLESS_GIVEN), **wanted}.items()
        if stored.get(name) != value
    ]
