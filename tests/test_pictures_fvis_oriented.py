"""The random network in the likeness of early vision."""

from __future__ import annotations

import hashlib

import numpy as np

from pipeline.pictures.fvis_oriented import CYCLE, draw_layers


def test_weights_depend_on_seed_and_number_alone() -> None:
    def digest(seed: int, number: int) -> str:
        layers = draw_layers(seed, number)
        return hashlib.sha256(b"".join(layer.weight.tobytes() for layer in layers)).hexdigest()

    keys = [(0, 0), (0, 1), (1, 0), (2**64 - 1, 2**40)]
    digests = [digest(*key) for key in keys]
    assert len(set(digests)) == 4
    assert [digest(*key) for key in keys] == digests


def test_layers_fit_and_are_of_length_one() -> None:
    sizes = set()
    for number in range(40):
        layers = draw_layers(0, number)
        assert len(layers) == 3 == max(CYCLE) + 1
        inputs = 3
        for layer in layers:
            assert layer.weight.dtype == np.float32
            assert layer.weight.shape[1] == inputs
            assert not layer.bias.any()
            assert np.allclose((layer.weight**2).sum((1, 2, 3)), 1, atol=1e-5)
            inputs = layer.weight.shape[0]
        first = layers[0]
        sizes.add((first.weight.shape[-1], first.stride, first.pooled))
    assert len(sizes) == 5


def test_first_filters_ignore_flat_colour_and_differ_in_direction() -> None:
    for number in range(10):
        weight = draw_layers(3, number)[0].weight.astype(float)
        assert np.abs(weight.sum((2, 3))).max() < 1e-4
        # Each sees one direction of colour: its three planes are multiples of one pattern.
        ranks = [np.linalg.svd(w.reshape(3, -1), compute_uv=False) for w in weight]
        assert max(r[1] / r[0] for r in ranks) < 1e-5
        light = np.sqrt((weight.sum(1) ** 2).sum((1, 2)) / 3)  # share of light in each filter
        assert light.max() > 0.99
        assert light.min() < 0.01
        y, x = np.gradient(np.abs(weight).sum(1), axis=(1, 2))
        energy = (x * x).mean((1, 2)) / ((y * y) + (x * x)).mean((1, 2))
        assert energy.max() > 0.6
        assert energy.min() < 0.4
