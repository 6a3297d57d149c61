"""The ascent of feature visualisation: from noise to pictures that excite their channels.

A picture of many pixels is made in stages, each at twice the side of the one before: a network's units span
a few pixels, and of a picture made at 256 at once nothing is left at a quarter of that size. A
later stage adds waves too fine for the one before and leaves the rest as it is, so that sizes of one picture
differ in detail alone, and most steps are cheap ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.fvis_basis import CONTRAST, enlarged, noise, planes_of, squash
from pipeline.pictures.fvis_probe import Probe

if TYPE_CHECKING:
    import torch

F32 = npt.NDArray[np.float32]

NUM_STEPS = 24
"""Of the first stage. With 40 a picture is smoother, not another one, and takes 1.5 times as long."""

_FINER_STEPS = 8  # of each later stage
_FINER_START = 0.2  # its noise, against the first's: fewer steps leave more of it
_FINER_CONTRAST = 0.16  # of what it adds
_LARGEST_FIRST = 80  # pixels, the first stage's side
_RATE = 0.3  # of Adam, for coefficients that start in [−1, 1)
_TURN = 8 * math.pi / 180
_ZOOM = 0.08
_SLOPE = 0.2  # below 0, so that a silent unit has a gradient
_KNEE = 2.0  # deviations; above it the objective is straight, and no place of the picture takes all
_SQUARE = 16  # pixels, in which a unit of a later layer appears once
_SQUARE_CELLS = 3, 10  # of the map, at least and at most


class Task(NamedTuple):
    """One picture's decisions.

    Attributes:
        channels: of one layer, by place in it; those of weight 0 do not matter.
        weights: of each channel.
        stripes: the regions in which channels take turns: whole periods down and across, and an offset.
        ground: float32 [3], the mean colour before the squash.
        word: 64 random bits for all else.
    """

    channels: tuple[int, int, int]
    weights: tuple[float, float, float]
    stripes: tuple[float, float, float]
    ground: F32
    word: int


def stages(size: int) -> list[int]:
    """Return the sides, in pixels, at which a picture of `size` pixels is made, in turn."""
    sides = [size]
    while sides[0] > _LARGEST_FIRST:
        sides.insert(0, (sides[0] + 1) // 2)
    return sides


def optimised(probe: Probe, layer: int, tasks: list[Task], size: int) -> torch.Tensor:
    """Return the pictures of `tasks` in (−1, 1), float32 [n, 3, size, size]."""
    import torch

    ground = torch.from_numpy(np.stack([task.ground for task in tasks]))[:, :, None, None]
    planes: torch.Tensor | None = None
    for stage, canvas in enumerate(stages(size)):
        planes = _ascend(probe, layer, tasks, ground, planes, stage, canvas)
    assert planes is not None
    return squash(planes + ground)


def _ascend(
    probe: Probe,
    layer: int,
    tasks: list[Task],
    ground: torch.Tensor,
    before: torch.Tensor | None,
    stage: int,
    canvas: int,
) -> torch.Tensor:
    """Return the pictures after one stage, before the squash and without their ground."""
    import torch

    coefficients = torch.from_numpy(np.stack([noise(task.word, stage, canvas) for task in tasks]))
    steps, coarsest, contrast, still = NUM_STEPS, 1, CONTRAST, ground
    if before is not None:
        steps, coarsest, contrast = _FINER_STEPS, before.shape[-1] // 4, _FINER_CONTRAST
        before = enlarged(before, canvas)
        coefficients = coefficients * _FINER_START
        still = ground + before
    shifts, turns = _views(tasks, stage, steps, canvas)
    first, second = torch.zeros_like(coefficients), torch.zeros_like(coefficients)
    for step in range(steps):
        coefficients.requires_grad_(True)
        x = squash(planes_of(coefficients, canvas, coarsest=coarsest, contrast=contrast) + still)
        x = _seen(x, shifts[step], turns[step])
        response = _response(probe, layer, tasks, x, shifts[step])
        (slope,) = torch.autograd.grad(response.sum(), coefficients)
        # Adam (Kingma & Ba, ICLR 2015), in steps that round alike wherever a picture lies in memory.
        first = first * 0.9 + slope * 0.1
        second = second * 0.999 + slope * slope * 0.001
        mean, square = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        coefficients = coefficients.detach() + mean / (torch.sqrt(square) + 1e-8) * _RATE
    planes = planes_of(coefficients, canvas, coarsest=coarsest, contrast=contrast)
    return planes if before is None else before + planes


def _views(
    tasks: list[Task], stage: int, steps: int, canvas: int
) -> tuple[list[list[tuple[int, int]]], torch.Tensor]:
    """Draw from where each step sees each picture.

    Returns:
        (origins by step and picture, pixels; affine maps, float32 [steps, n, 2, 3]).
    """
    import torch

    shifts: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    turns = np.zeros((steps, len(tasks), 2, 3), np.float32)
    for place, task in enumerate(tasks):
        key = np.array([task.word, 2**32 + stage], np.uint64)
        words = np.random.Philox(key=key).random_raw(4 * steps) >> np.uint64(11)
        units = (words * 2.0**-53).reshape(steps, 4).tolist()
        for step, (down, across, turn, zoom) in enumerate(units):
            shifts[step].append((int(down * canvas), int(across * canvas)))
            angle, scale = _TURN * (2 * turn - 1), 1 + _ZOOM * (2 * zoom - 1)
            c, s = scale * math.cos(angle), scale * math.sin(angle)
            turns[step, place] = (c, s, 0), (-s, c, 0)
    return shifts, torch.from_numpy(turns)


def _seen(x: torch.Tensor, shifts: list[tuple[int, int]], turns: torch.Tensor) -> torch.Tensor:
    """Return the pictures from another origin, turned and scaled about the centre."""
    import torch

    rolled = torch.stack(
        [torch.roll(picture, shift, (1, 2)) for picture, shift in zip(x, shifts, strict=True)]
    )
    functional = torch.nn.functional
    grid = functional.affine_grid(turns, list(x.shape), align_corners=False)
    return functional.grid_sample(
        rolled, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _response(
    probe: Probe, layer: int, tasks: list[Task], x: torch.Tensor, shifts: list[tuple[int, int]]
) -> torch.Tensor:
    """Return how strongly each picture excites its channels, float32 [n]."""
    import torch

    reference = probe.reference(layer, x.shape[-1])
    channels = torch.tensor([task.channels for task in tasks])
    z = probe.maps(x, layer)[torch.arange(len(tasks))[:, None], channels]
    z = (z - reference.base[channels][..., None, None]) * reference.gain[channels][..., None, None]
    if layer:
        least, most = _SQUARE_CELLS
        cells = max(least, min(most, round(_SQUARE * z.shape[-1] / x.shape[-1])))
        z = torch.nn.functional.max_pool2d(z, min(cells, *z.shape[-2:]))
    excited = torch.where(z > 0, z * z / (torch.abs(z) + _KNEE), _SLOPE * z)
    shares = torch.stack(
        [
            _regions(task, shift, x.shape[-1], excited.shape[-2:])
            for task, shift in zip(tasks, shifts, strict=True)
        ]
    )
    return (excited * shares).mean((1, 2, 3))


def _regions(task: Task, shift: tuple[int, int], canvas: int, shape: Sequence[int]) -> torch.Tensor:
    """Return each channel's weight at each place of the map, float32 [3, h, w]."""
    import torch

    weights = torch.tensor(task.weights)[:, None, None]
    if not task.weights[1]:
        return weights.expand(3, *shape)
    down, across, offset = task.stripes
    y = (torch.arange(shape[0]) + 0.5) / shape[0] - shift[0] / canvas
    x = (torch.arange(shape[1]) + 0.5) / shape[1] - shift[1] / canvas
    phase = down * y[:, None] + across * x[None, :] + offset
    count = 3 if task.weights[2] else 2
    turn = phase[None] + (torch.arange(3) / count)[:, None, None]
    wave = torch.abs(2 * (turn - torch.floor(turn)) - 1)
    return weights * wave * wave * (3 - 2 * wave)
