"""`Normalize` against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import DreamshardsError
from pipeline.stream import CIFAR, IMAGENET, KINETICS, Normalize


@pytest.mark.parametrize("constants", [CIFAR, IMAGENET, KINETICS])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (2, 3, 6, 5, 3), (1, 1, 1, 3)])
def test_values_are_those_of_the_formula(constants, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mean, std = (np.array(numbers, np.float64) for numbers in constants)
    expected = np.moveaxis((images / 255 - mean) / std, -1, 1)
    found = Normalize(*constants)(torch.from_numpy(images))
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() < 1e-6
    assert np.array_equal(images, np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def test_every_level_of_a_pixel():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 256, 1, 1).expand(-1, -1, -1, 3)
    found = Normalize(*CIFAR)(levels)[0, :, :, 0].double()
    assert torch.allclose(found, torch.linspace(-1, 1, 256, dtype=torch.float64), atol=2e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_rounded_from_float32(dtype):
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    exact = Normalize(*IMAGENET)(images)
    assert torch.equal(Normalize(*IMAGENET, dtype=dtype)(images), exact.to(dtype))


def test_channels_last_is_free_and_optional():
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    last, first = Normalize(*CIFAR)(images), Normalize(*CIFAR, channels_last=False)(images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert first.is_contiguous()
    assert torch.equal(last, first)
    clips = Normalize(*CIFAR)(images[:, None])
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_it_is_a_module_without_state_that_moves():
    module = Normalize(*CIFAR, device="meta")
    assert module.state_dict() == {}
    assert list(module.parameters()) == []
    images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    assert module(images).device.type == "meta"
    assert Normalize(*CIFAR).to("meta")(images).device.type == "meta"
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    assert torch.equal(Normalize(*IMAGENET).half()(images), Normalize(*IMAGENET)(images))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3, 8, 8), torch.uint8), ((2, 8, 8, 3), torch.float32), ((8, 8, 3), torch.uint8)],
)
def test_a_batch_of_another_form_is_refused(shape, dtype):
    with pytest.raises(DreamshardsError, match=r"allowed: uint8 \[B, H, W, 3\]"):
        Normalize(*CIFAR)(torch.zeros(shape, dtype=dtype))


def test_wrong_constants_are_refused():
    for mean, std in (((0.5,), (0.5,)), ((0, 0, 0), (1, 1, 0))):
        with pytest.raises(DreamshardsError, match="three numbers each, std above 0"):
            Normalize(mean, std)
    with pytest.raises(DreamshardsError, match=r"dtype = torch.uint8; allowed: floating-point"):
        Normalize(*CIFAR, dtype=torch.uint8)
