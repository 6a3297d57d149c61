"""What the pipeline asks of an augmentation family: to draw decisions, to render them, to write them down.

Owns the type; `pipeline.families` has the families.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.plan.base import BasePlan, ClipBasePlan
from pipeline.recipe import Recipe
from pipeline.render.slots import Slots

if TYPE_CHECKING:
    from pipeline.sampling import Inputs

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
FamilyPlan = tuple[npt.NDArray[Any], ...]
"""A named tuple of arrays that share their first axis, one row a sample."""


class Place(NamedTuple):
    """Which samples decisions are drawn for: positions [start, stop) of an epoch, and what stands there.

    Attributes:
        sources: int64 [n], index of each sample's source picture.
        base: its base transform.
    """

    epoch: int
    start: int
    stop: int
    sources: I64
    base: BasePlan | ClipBasePlan


def _base_shape(plan: Any, recipe: Recipe) -> tuple[int, ...]:
    size = recipe.transform.size
    return (size, size, 3) if recipe.clip_frames is None else (recipe.clip_frames, size, size, 3)


def _never(plan: Any, recipe: Recipe) -> bool:
    return False


class Family(NamedTuple):
    """What the pipeline asks of an augmentation.

    Attributes:
        draw: (inputs, place) → plan.
        render: (plan, base pictures [n, S, S, 3] or clips [n, T, S, S, 3], inputs, slots of n samples).
        fields: recipe → the manifest's columns for it.
        columns: (plan, inputs) → one array for each field.
        from_columns: (manifest rows, recipe) → plan.
        partner: what samples are mixed with, None where they are not.
        partners: (plan, inputs) → for each sample its partner, uint8 [S, S, 3], or of a clip what each frame
            met, [T, S, S, 3]; None where it met none.
        shape: (plan, recipe) → that of every sample of the plan.
        whole: (plan, recipe) → whether `render` is given whole pictures, a list of uint8 [H, W, 3] after the
            base transform's resize, in place of base pictures.
    """

    draw: Callable[[Inputs, Place], FamilyPlan]
    render: Callable[[Any, Any, Inputs, Slots], None]
    fields: Callable[[Recipe], Sequence[pa.Field]]
    columns: Callable[[Any, Inputs], list[pa.Array]]
    from_columns: Callable[[pa.Table, Recipe], FamilyPlan]
    partner: Literal["mixing picture", "second picture", "second clip"] | None
    partners: Callable[[Any, Inputs], list[U8 | None]]
    shape: Callable[[Any, Recipe], tuple[int, ...]] = _base_shape
    whole: Callable[[Any, Recipe], bool] = _never
