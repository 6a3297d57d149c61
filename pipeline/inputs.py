"""Opening what a recipe names, and finding it again from a finished root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.corruptions import FrostPictures, generated_frost, load_frost
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.identity import differences, inputs_identity
from pipeline.pictures import open_pictures
from pipeline.pyav import pyav_with_h264
from pipeline.recipe import Recipe, parse_recipe
from pipeline.sampling import Inputs
from pipeline.settings import override
from pipeline.shards.dataset import Json
from pipeline.sources import open_source
from pipeline.store import Store
from pipeline.variants import FROST, variants

_ELSEWHERE = (
    "say where the right ones lie: --set source.path=…, mixing_set.path=… or augmentation.frost=…"
)


def open_inputs(recipe: Recipe, executor: Executor) -> Inputs:
    """List and check the source; decode or generate the mixing set, or map it from the cache; find the frost.

    Raises:
        DreamshardsError: something named is missing, unreadable or too small, or a package that it needs.
    """
    if recipe.shards.codec == "mp4":
        pyav_with_h264("shards.codec = mp4")  # missed now, not in the first shard
    source = open_source(recipe.source, executor)
    pictures = None
    if recipe.mixing_set is not None:
        pictures = open_pictures(recipe.mixing_set, executor)
        small = (pictures.heights < recipe.transform.size) | (
            pictures.widths < recipe.transform.size
        )
        if small.any():
            name = pictures.ids[int(small.argmax())].as_py()
            raise DreamshardsError(
                f"mixing picture {name} is smaller than transform.size = {recipe.transform.size} px; "
                "raise mixing_set.size"
            )
    return Inputs(recipe, source, pictures, _open_frost(recipe))


def _open_frost(recipe: Recipe) -> FrostPictures | None:
    """Return the panes of ice that a recipe needs: those of its folder, or generated ones."""
    if FROST not in {variant.name for variant in variants(recipe) or ()}:
        return None
    section = recipe.augmentation
    folder = section.frost if section.family == "corruptions" else None
    return generated_frost() if folder is None else load_frost(folder)


def reopen_inputs(
    root: Path | Store, dataset: Json, overrides: Sequence[str], executor: Executor
) -> Inputs:
    """Open the inputs of a finished root; `overrides` say where they lie now.

    Raises:
        DreamshardsError: they are missing, or not the ones the root was built from.
    """
    content = override(dataset["recipe"], overrides)
    recipe = parse_recipe(content, f"recipe of {root}")
    try:
        inputs = open_inputs(recipe, executor)
    except DreamshardsError as error:
        raise DreamshardsError(
            f"{root} was built from inputs that cannot be opened now: {error}\n{_ELSEWHERE}"
        ) from error
    changed = differences(dataset["identity"], inputs_identity(inputs))
    if changed:
        lines = "\n  ".join(changed)
        raise DreamshardsError(f"{root} was built from other inputs:\n  {lines}\n{_ELSEWHERE}")
    return inputs
