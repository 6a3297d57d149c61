"""What `--data` names, `[NAME=][KIND:]PLACE`: checked before any work, then opened by what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from evaluation import official
from evaluation.open_set import OpenSet
from evaluation.results import Kind
from evaluation.sets import open_live, open_root
from pipeline.errors import DreamshardsError, UsageError, nearest
from pipeline.recipe import Recipe, load_recipe, preset_names
from pipeline.settings import is_yaml_file
from pipeline.shards.layout import DATASET_NAME, RECIPE_NAME
from pipeline.store import LocalStore, Store, is_uri, open_store
from pipeline.store.settings import public_text
from training.checkpoint import Trained

_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
_FORM = re.compile(r"(?:(?P<name>[^=:/]*)=)?(?:(?P<kind>[a-z-]+):(?!//))?(?P<place>.+)", re.DOTALL)
_CLIP_AXES = 4
LABELS: tuple[Kind, ...] = ("clean", "c", "c-bar", "p", "windows", "ood", "r")


@dataclass(frozen=True)
class Request:
    """One test set that was asked for.

    Attributes:
        text: as it was given, without what a URI has of secrets and options.
        place: a root, a recipe, or a folder of the benchmark's own files, also in an object store.
        name: what to call it, or None for its own.
        label: what it is said to be, or None to recognise it.
        recipe: to be rendered live; else None.
    """

    text: str
    place: str
    name: str | None
    label: Kind | None
    recipe: Recipe | None

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return is_uri(self.place) and not isinstance(open_store(self.place), LocalStore)


def parse_request(text: str, overrides: Sequence[str] = ()) -> Request:
    """Read one value of `--data`; `overrides` change recipes that are rendered live.

    Raises:
        UsageError: an unknown label, a name that no file could have, or nothing at that place.
    """
    match = _FORM.fullmatch(text)
    shown = public_text(text)
    if match is None:
        raise UsageError(f"--data {shown!r}: allowed: [NAME=][KIND:]PLACE, such as svhn=ood:photos")
    name, label, place = match["name"], match["kind"], match["place"]
    if name is not None and not re.fullmatch(_NAME, name):
        raise UsageError(
            f"--data {shown!r}: name {name!r}; allowed: 1 to 64 small letters, digits, '.', '_' or '-', "
            "first a letter or digit"
        )
    if label is not None and label not in LABELS:
        raise UsageError(
            f"--data {shown!r}: unknown kind {label!r}{nearest(label, LABELS)}; allowed: "
            f"{', '.join(LABELS)}"
        )
    assert label is None or label in get_args(Kind)
    recipe = None
    if place in preset_names() or is_yaml_file(place):
        recipe = load_recipe(place, overrides)
    elif not is_uri(place) and not Path(place).is_dir():
        presets = preset_names()
        raise UsageError(
            f"--data {shown!r}: no such root, folder or recipe{nearest(place, presets)}; allowed: the root "
            f"of a build, a preset ({', '.join(presets)}), a .yaml file, or KIND: and a folder"
        )
    return Request(shown, place, name, label, recipe)


def open_request(
    request: Request,
    trained: Trained,
    batch_size: int,
    cache_dir: str | None = None,
    cache_bytes: int | None = None,
) -> OpenSet:
    """Open what was asked for; roots in object stores with the cache.

    Raises:
        DreamshardsError: it is not what it should be; `UsageError` where it was asked for wrongly.
    """
    name, label, place = request.name, request.label, request.place
    if request.recipe is not None:
        return open_live(request.recipe, place, name, label, batch_size=batch_size)
    folder = open_store(place)
    if any(folder.exists(each) for each in (DATASET_NAME, RECIPE_NAME)):
        cache: dict[str, Any] = {}
        if request.is_remote:
            cache = {"cache_dir": cache_dir, "cache_bytes": cache_bytes}
        return open_root(place, name, label, batch_size=batch_size, **cache)
    if label is None:
        raise UsageError(
            f"--data {request.text!r}: {folder} is no root of a build; say what it is: "
            + ", ".join(f"{each}:{folder}" for each in LABELS)
        )
    if len(trained.shape) == _CLIP_AXES or label == "windows":
        raise UsageError(
            f"--data {request.text!r}: {folder} is a folder, and clips are read of roots and recipes; build "
            "a root of it with source.kind=video-folder, or give the recipe of one"
        )
    name = name or _name_of(folder)
    size = trained.shape[-2]
    if label in ("c", "c-bar"):
        if official.holds_arrays(folder):
            classes = list(trained.classes)
            return official.open_corruption_arrays(folder, name, label, len(classes), classes)
        return official.open_corruption_folders(folder, name, label, size, batch_size=batch_size)
    if label == "p":
        if not official.holds_arrays(folder):
            raise DreamshardsError(
                f"{folder}: no .npy file in it; allowed: the arrays of CIFAR-10-P or CIFAR-100-P, or a root "
                "(clips in video files are not read)"
            )
        return official.open_sequence_arrays(folder, name)
    if label == "ood" and official.holds_svhn(folder):
        return official.open_svhn_folder(folder, name, size, batch_size=batch_size)
    return official.open_image_folder(folder, name, label, size, batch_size=batch_size)


def _name_of(folder: Store) -> str:
    """Return a folder's name as one that a set can have."""
    own = (folder.folder.resolve() if isinstance(folder, LocalStore) else Path(str(folder))).name
    text = re.sub(r"[^a-z0-9._-]+", "-", own.lower()).strip("-._")[:64]
    return text or "folder"
