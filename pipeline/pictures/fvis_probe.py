"""Looking into a network: the maps of its first layers, and what they show for noise and flat colour.

The only part of feature visualisation that runs a network. Everything stays in evaluation mode, so a
picture's maps depend on that picture alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.pictures.fvis_basis import reference_pictures
from pipeline.pictures.fvis_net import Network
from pipeline.pictures.fvis_oriented import Layer, draw_layers

if TYPE_CHECKING:
    import torch

_NUM_NOISES = 8
_DEAD = 1e-3  # of the liveliest channel's deviation


class Reference(NamedTuple):
    """What a layer's channels give when nothing in particular is shown."""

    base: (
        torch.Tensor
    )  # float32 [channels], the larger of the means over noise and over flat colour
    gain: torch.Tensor  # float32 [channels], 1 / deviation over noise
    alive: list[int]  # channels that respond to noise at all


class Probe:
    """A network cut open after each of its first layers.

    Attributes:
        num_inputs: channels the network takes, 1 (grey) or 3.
    """

    def __init__(self, maps: Callable[[torch.Tensor, int], torch.Tensor], num_inputs: int) -> None:
        self._maps = maps
        self.num_inputs = num_inputs
        self._references: dict[tuple[int, int], Reference] = {}

    def maps(self, pictures: torch.Tensor, layer: int) -> torch.Tensor:
        """Return layer `layer` before its ReLU, float32 [n, channels, h, w].

        Args:
            pictures: float32 [n, 3, S, S] in (−1, 1).
            layer: 0 for the first.
        """
        if self.num_inputs == 1:
            pictures = pictures.mean(1, keepdim=True)
        return self._maps(pictures, layer)

    def reference(self, layer: int, canvas: int) -> Reference:
        """Return the channels' answers to pictures of S = `canvas` pixels."""
        key = layer, canvas
        if key not in self._references:
            self._references[key] = self._measure(layer, canvas)
        return self._references[key]

    def _measure(self, layer: int, canvas: int) -> Reference:
        import torch

        with torch.no_grad():
            noise, flat = reference_pictures(_NUM_NOISES, canvas)
            busy, still = self.maps(noise, layer), self.maps(flat, layer)
        mean, deviation = busy.mean((0, 2, 3)), busy.transpose(0, 1).flatten(1).std(1)
        alive = torch.nonzero(deviation > _DEAD * deviation.max()).flatten().tolist()
        if not alive:
            alive = list(range(len(deviation)))
        base = torch.maximum(mean, still.mean((0, 2, 3)))
        return Reference(base, 1 / torch.clamp(deviation, min=1e-12), alive)


@functools.lru_cache(maxsize=4)
def open_probe(network: Network, number: int) -> Probe:
    """Return network `number` of a family, or the one network, ready to be looked into."""
    if network.kind == "torchvision":
        from pipeline.pictures.fvis_torchvision import extractor

        maps = extractor(network.name, network.nodes, network.tensors)
        return Probe(maps, 3)
    layers = draw_layers(network.seed, number) if network.endless else network.layers
    return Probe(_chain(layers), layers[0].weight.shape[1])


def _chain(layers: tuple[Layer, ...]) -> Callable[[torch.Tensor, int], torch.Tensor]:
    import torch

    functional: Any = torch.nn.functional
    tensors = [
        (torch.from_numpy(np.array(layer.weight)), torch.from_numpy(np.array(layer.bias)))
        for layer in layers
    ]

    def maps(pictures: torch.Tensor, last: int) -> torch.Tensor:
        x = pictures
        for k, (layer, (weight, bias)) in enumerate(zip(layers, tensors, strict=True)):
            groups = x.shape[1] // weight.shape[1]
            side = weight.shape[-1]
            padding = (side - 1) // 2 if side % 2 else 0
            x = functional.conv2d(x, weight, bias, layer.stride, padding, 1, groups)
            if k == last:
                break
            x = functional.relu(x)
            if layer.pooled:
                x = functional.avg_pool2d(x, 2)
        return x

    return maps
