"""Feature visualisations: pictures that excite chosen units of a network's first layers.

A picture is optimised from coloured noise until one channel of one layer, or two or three channels
that take turns across the picture, respond strongly (Olah et al., "Feature Visualization", Distill
2017; PixMix, Hendrycks et al., CVPR 2022, mixes with such pictures of early layers):

* The unknowns are Fourier coefficients, weighted by 1/frequency, of three decorrelated colours. Adam
  then moves all scales alike, and neither pixel noise nor grey fog wins.
* Mean colour is drawn, contrast is set, and both are held: no step can end in flat grey or in clipped
  black and white. Values reach (0, 1) through x / √(1 + x²), which saturates far later than a sigmoid.
* The picture is a torus. Every step sees it from another origin, turned by up to 8° and scaled by up
  to 8 %, so that the network's zero padding leaves no frame and patterns finer than it can hold die.
* The objective is on the map before its ReLU, in deviations over noise, above what noise and flat
  colour give: of the first layer its mean; of a later one the mean over squares of the highest value
  in each, since a plain mean does not tell the arrangement that a unit looks for from the same
  parts strewn about.

Picture `index` is a pure function of (network, seed, index, attempt, size) on one machine with one
version of torch, whatever else is rendered beside it; torch promises no more than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.draws import Draws
from pipeline.pictures.fvis_basis import GROUND
from pipeline.pictures.fvis_net import Network, require_torch
from pipeline.pictures.fvis_optimise import Task, optimised, stages
from pipeline.pictures.fvis_probe import Probe, open_probe

if TYPE_CHECKING:
    import torch

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

GROUP = 16
"""Pictures in a row that look at one layer of one network."""

_PURPOSE = 0x46564953  # "FVIS"
_WEIGHTS = (1.0, 0.7, 0.5)  # of the channels of one picture
_SINGLES = 0.3  # share of pictures of one channel, where channels do not run out
_SMALLEST = 32  # pixels; smaller pictures are made at a multiple and averaged
_PIXELS_AT_ONCE = 1 << 16  # larger batches fall out of the processor's cache


class FvisShared(NamedTuple):
    """What all pictures of a set have in common."""

    seed: int
    network: Network


def render_fvis_batch(shared: FvisShared, indices: Sequence[int], attempt: int, size: int) -> U8:
    """Return pictures `indices` of a family, uint8 [n, size, size, 3].

    Args:
        shared: seed and network, see `fvis_net.load_network`.
        indices: any, in any order; 16 in a row that start at a multiple of 16 share a layer, which
            is quickest.
        attempt: 0 to 2⁶⁴ − 1, another draw of the same pictures.
        size: pixels, 8 or more.

    Raises:
        DreamshardsError: torch is not installed.
    """
    require_torch()
    out = np.empty((len(indices), size, size, 3), np.uint8)
    canvas = size * -(-_SMALLEST // size)
    length = max(1, min(GROUP, _PIXELS_AT_ONCE // canvas**2))
    places: dict[tuple[int, int], list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(_where(shared.network, index, attempt), []).append(place)
    with _settings():
        for (number, layer), group in places.items():
            probe = open_probe(shared.network, number)
            for first in range(0, len(group), length):
                some = group[first : first + length]
                tasks = [
                    _plan(shared, probe, layer, indices[place], attempt, canvas) for place in some
                ]
                out[some] = _shrunk(optimised(probe, layer, tasks, canvas), size)
    return out


def _where(network: Network, index: int, attempt: int) -> tuple[int, int]:
    """Return (number of the network, layer) that picture `index` looks at."""
    group, cycle = index // GROUP, network.cycle
    number = group // len(cycle) if network.endless else 0
    return number, cycle[(group + attempt) % len(cycle)]


@contextmanager
def _settings() -> Iterator[None]:
    """Run on one thread, in the one convolution whose result for a picture does not depend on the batch."""
    import torch

    threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with torch.backends.nnpack.flags(enabled=False), torch.enable_grad():
            yield
    finally:
        torch.backends.mkldnn.enabled = onednn
        torch.set_num_threads(threads)


def _plan(
    shared: FvisShared, probe: Probe, layer: int, index: int, attempt: int, canvas: int
) -> Task:
    draws = Draws(shared.seed, _PURPOSE, index, attempt)
    alive = probe.reference(layer, stages(canvas)[0]).alive
    if shared.network.endless:
        single, channel = draws.uniform(0, 1) < _SINGLES, draws.choice(len(alive))
    else:
        place = index // GROUP // len(shared.network.cycle) * GROUP + index % GROUP
        single = attempt == 0 and place < len(alive)
        channel = place if single else draws.choice(len(alive))
    channels = [alive[channel]]
    wanted = min(len(alive), 1 if single else 2 + draws.choice(2))
    while len(channels) < wanted:
        channel = alive[draws.choice(len(alive))]
        if channel not in channels:
            channels.append(channel)
    weights = _WEIGHTS[: len(channels)] + (0.0,) * (3 - len(channels))
    while True:
        stripes = float(draws.choice(3)) - 1, float(draws.choice(2))
        if stripes != (0.0, 0.0):
            break
    offset = draws.uniform(0, 1)
    ground = [draws.uniform(-GROUND, GROUND) for _ in range(3)]
    padded = (*channels, 0, 0)[:3]
    return Task(
        channels=(padded[0], padded[1], padded[2]),
        weights=(weights[0], weights[1], weights[2]),
        stripes=(*stripes, offset),
        ground=np.array(ground, np.float32),
        word=draws.word(),
    )


def _shrunk(x: torch.Tensor, size: int) -> U8:
    """Return pictures in (−1, 1) as uint8 [n, size, size, 3], averaged over whole squares of pixels."""
    values: npt.NDArray[np.float64] = x.permute(0, 2, 3, 1).double().numpy()
    n, canvas = values.shape[:2]
    step = canvas // size
    values = values.reshape(n, size, step, size, step, 3).mean((2, 4))
    pixels: U8 = np.floor((values + 1) * 127.5 + 0.5).astype(np.uint8)
    return pixels
