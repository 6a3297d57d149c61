"""The modes of V-PixMix side by side: one clip as each would make it, and how coherent it is on several.

The mode of the recipe comes from the dataset; others are rendered here from the same source, positions and
constants. A mixing set of the other kind, zooms or pictures, is a small generated one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.augmentation_sections import VPixMixConfig
from pipeline.captions import describe_steps, printable
from pipeline.coherence import Coherence, coherence
from pipeline.executor import Executor
from pipeline.families import FAMILIES
from pipeline.picture_sections import ZOOM_KINDS
from pipeline.pictures import open_pictures
from pipeline.preview.content import Comparison, Mode
from pipeline.recipe import Recipe, parse_recipe
from pipeline.replay import draw_rows
from pipeline.sampling import Inputs, draw_plan, render_base, render_plan

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_STANDARD = (("single", "clip"), ("zoom", "clip"), ("frame", "frame"))
"""Picture and draws of the modes that are always shown."""

_NUM_MEASURED, _MAX_BYTES = 12, 1 << 28
"""Clips that coherence is measured on, the first of an epoch: so many, or what all modes of them take."""

_NUM_ZOOMS, _NUM_PICTURES = 8, 24
"""Sizes of mixing sets made for modes that are not the dataset's own."""


class _Choice(NamedTuple):
    picture: str
    draws: str
    built: bool


def compare_modes(inputs: Inputs, epoch: int, executor: Executor) -> Comparison:
    """Render the first clips of an epoch in every mode, and measure them.

    The one shown is that which mixing changes most, in the mode that changes it least.

    Args:
        inputs: of a recipe of family vpixmix.

    Raises:
        DreamshardsError: a video cannot be read, or a mixing set cannot be made.
    """
    source, choices = inputs.source, _choices(inputs.recipe)
    each = 3 * (inputs.recipe.clip_frames or 1) * inputs.recipe.transform.size**2
    most = max(1, min(_NUM_MEASURED, _MAX_BYTES // (each * (1 + len(choices)))))
    num = min(most, len(source.labels))
    plan = draw_plan(inputs, epoch, 0, num)
    cleans = render_base(inputs, plan)
    varied = [_varied(inputs, choice, executor) for choice in choices]
    results = [render_plan(one, draw_plan(one, epoch, 0, num)) for one in varied]
    measured = [list(map(coherence, cleans, result)) for result in results]
    sizes = [[one.perturbation for one in of_mode] for of_mode in measured]
    shown = int(np.min(sizes, axis=0).argmax())
    modes = [
        _mode(one, choice, epoch, shown, result[shown], coherences)
        for one, choice, result, coherences in zip(varied, choices, results, measured, strict=True)
    ]
    index = int(plan.sources[shown])
    name = source.class_names[int(source.labels[index])]
    source_id = printable(source.ids[index].as_py())
    return Comparison(source_id, printable(name), cleans[shown], modes)


def _choices(recipe: Recipe) -> list[_Choice]:
    """Return the standard modes and the recipe's own, which takes a coherent one's place if it is one."""
    section = recipe.augmentation
    assert isinstance(section, VPixMixConfig)
    own = _Choice(section.picture, section.draws, True)
    found = [_Choice(*choice, False) for choice in _STANDARD]
    for place, (picture, draws, _) in enumerate(found):
        coherent = own.draws == "smooth" and own.picture != "frame"
        if own.picture == picture and (own.draws == draws or coherent):
            found[place] = own
            return found
    return [*found, own]


def _varied(inputs: Inputs, choice: _Choice, executor: Executor) -> Inputs:
    """Return inputs whose recipe makes another choice, with a mixing set of its kind."""
    if choice.built:
        return inputs
    content: dict[str, Any] = inputs.recipe.model_dump(mode="json")
    section, size = content["augmentation"], inputs.recipe.transform.size
    zooms = choice.picture == "zoom"
    section |= {"picture": choice.picture, "draws": choice.draws}
    if not zooms:
        section.pop("zoom_factor", None)
    fits = zooms == (content["mixing_set"]["kind"] in ZOOM_KINDS)
    if not fits:
        content["mixing_set"] = (
            {"kind": "zoom", "count": _NUM_ZOOMS, "size": size}
            if zooms
            else {"kind": "library", "count": _NUM_PICTURES, "size": size + size // 7}
        )
    recipe = parse_recipe(content, f"mode {choice.picture}")
    assert recipe.mixing_set is not None
    pictures = inputs.pictures if fits else open_pictures(recipe.mixing_set, executor)
    return Inputs(recipe, inputs.source, pictures)


def _mode(
    inputs: Inputs,
    choice: _Choice,
    epoch: int,
    shown: int,
    result: U8,
    coherences: list[Coherence],
) -> Mode:
    """Return a mode of measured clips, of which that at position `shown` became `result`, [T, S, S, 3]."""
    plan = draw_plan(inputs, epoch, shown, shown + 1)
    (row,) = draw_rows(inputs, epoch, shown, shown + 1).to_pylist()
    family = FAMILIES[inputs.recipe.augmentation.family]
    (mixing,) = family.partners(plan.augmentation, inputs)
    return Mode(
        *choice,
        mixing,
        result,
        [printable(line) for line in describe_steps(row)],
        np.array([one.changes for one in coherences]),
        coherences,
    )
