"""The parametrisation: noise alike at every size, held contrast, exact enlargement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.pictures import fvis_basis as basis


@pytest.mark.parametrize(("small", "large"), [(16, 33), (33, 34), (36, 64)])
def test_coarse_noise_is_alike_at_every_size(small: int, large: int) -> None:
    few, many = basis.noise(2**64 - 1, 0, small), basis.noise(2**64 - 1, 0, large)
    assert few.shape == (3, small, small // 2 + 1, 2)
    kept = (small + 1) // 2
    assert np.array_equal(few[:, :kept, :kept], many[:, :kept, :kept])
    assert np.array_equal(few[:, small - kept + 1 :, :kept], many[:, large - kept + 1 :, :kept])
    assert -1 <= few.min() < -0.98
    assert 0.98 < few.max() < 1
    assert abs(few.mean()) < 0.05


def test_words_and_stages_give_other_noise() -> None:
    noises = [basis.noise(word, stage, 16) for word in (0, 1) for stage in (0, 1)]
    assert len({noise.tobytes() for noise in noises}) == 4


def test_contrast_is_held_and_the_mean_is_none() -> None:
    coefficients = torch.from_numpy(np.stack([basis.noise(k, 0, 36) * 10**k for k in range(3)]))
    planes = basis.planes_of(coefficients, 36).numpy()
    assert np.allclose(np.sqrt((planes**2).mean((1, 2, 3))), basis.CONTRAST, rtol=1e-5)
    assert np.abs(planes.mean((2, 3))).max() < 1e-5


def test_planes_are_the_inverse_transform_in_decorrelated_colours() -> None:
    noise = basis.noise(5, 0, 12).astype(float)
    planes = basis.planes_of(torch.from_numpy(noise[None]).float(), 12, contrast=1.0)[0].numpy()
    across = np.fft.rfftfreq(12)[None] * 12
    down = np.fft.fftfreq(12)[:, None] * 12
    frequency = np.hypot(down, across)
    spectrum = (noise[..., 0] + 1j * noise[..., 1]) * (frequency >= 1) / np.maximum(frequency, 1)
    colours = np.einsum("ij,jyx->iyx", basis._COLOURS, np.fft.irfft2(spectrum, s=(12, 12)))
    assert np.allclose(planes, colours / np.sqrt((colours**2).mean()), atol=1e-5)


def test_later_stages_add_fine_waves_only() -> None:
    planes = basis.planes_of(torch.from_numpy(basis.noise(1, 0, 32)[None]), 32, coarsest=8)
    spectrum = np.abs(np.fft.fft2(planes.numpy()))
    frequency = np.hypot(np.fft.fftfreq(32)[:, None] * 32, np.fft.fftfreq(32) * 32)
    assert spectrum[..., frequency < 8].max() < 1e-3 < spectrum[..., frequency >= 8].mean()


@pytest.mark.parametrize(("small", "large"), [(8, 16), (9, 17), (9, 18), (10, 19), (12, 12)])
def test_enlarging_keeps_waves(small: int, large: int) -> None:
    def picture(side: int) -> torch.Tensor:
        y, x = np.mgrid[:side, :side] * (2 * np.pi / side)
        waves = [np.cos(2 * y - x), 0.3 + np.sin(3 * x), np.cos(y + 3 * x + 1)]
        return torch.tensor(np.stack(waves)[None], dtype=torch.float32)

    assert torch.allclose(basis.enlarged(picture(small), large), picture(large), atol=1e-5)


def test_squash() -> None:
    x = torch.tensor([-1e6, -1.0, 0.0, 1.0, 10.0])
    assert np.allclose(basis.squash(x).numpy(), [-1, -(0.5**0.5), 0, 0.5**0.5, 0.99504], atol=1e-5)


def test_reference_pictures() -> None:
    noise, flat = basis.reference_pictures(8, 36)
    assert noise.shape == flat.shape == (8, 3, 36, 36)
    assert noise.abs().max() < 1
    assert (flat == flat[:, :, :1, :1]).all()
    assert torch.allclose(basis.reference_pictures(8, 64)[1][:, :, 0, 0], flat[:, :, 0, 0])
    assert noise.std((2, 3)).min() > 0.1
