"""Feature visualisations: the same pictures however they are batched, and what they are meant to excite."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pipeline.pictures import fvis, fvis_optimise
from pipeline.pictures.fvis import FvisShared, render_fvis_batch
from pipeline.pictures.fvis_basis import reference_pictures, squash
from pipeline.pictures.fvis_net import load_network
from pipeline.pictures.fvis_probe import open_probe

SHARED = FvisShared(3, load_network(seed=3))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small networks train fastest so, and where other work keeps the processor busy, by far."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def group() -> fvis.U8:
    """Return the first sixteen pictures at 36 pixels."""
    return render_fvis_batch(SHARED, range(16), 0, 36)


def test_importing_needs_no_torch() -> None:
    modules = [path.stem for path in Path(fvis.__file__).parent.glob("fvis*.py")]
    imports = "; ".join(f"import pipeline.pictures.{module}" for module in modules)
    script = f"import sys; {imports}; print(len({modules!r}), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["7", "False"]


@pytest.mark.parametrize(
    "indices", [[5], [15, 0, 7], [3, 40, 2, 17, 12345, 1], [4, 4], list(range(15, -1, -1))]
)
def test_a_picture_does_not_depend_on_its_batch(group: fvis.U8, indices: list[int]) -> None:
    pictures = render_fvis_batch(SHARED, indices, 0, 36)
    for index, picture in zip(indices, pictures, strict=True):
        if index < 16:
            assert np.array_equal(picture, group[index])


def test_nor_does_one_that_takes_two_stages() -> None:
    """99 pixels: sides that no vector register divides, and a second stage."""
    pictures = render_fvis_batch(SHARED, [3, 9, 20], 1, 99)
    assert np.array_equal(render_fvis_batch(SHARED, [20, 9], 1, 99), pictures[:0:-1])


def test_seeds_indices_attempts_and_networks_give_different_pictures(group: fvis.U8) -> None:
    other_seed = FvisShared(4, SHARED.network)
    other_network = FvisShared(3, load_network(seed=4))
    pictures = [
        *group,
        *render_fvis_batch(SHARED, [0, 2**40], 1, 36),
        *render_fvis_batch(other_seed, [0], 0, 36),
        *render_fvis_batch(other_network, [0], 0, 36),
    ]
    assert len({picture.tobytes() for picture in pictures}) == 20


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size(size: int) -> None:
    pictures = render_fvis_batch(SHARED, [1, 2], 0, size)
    assert pictures.shape == (2, size, size, 3)
    assert pictures.dtype == np.uint8
    assert pictures.reshape(2, -1).std(axis=1).min() > 15


def test_no_pictures() -> None:
    assert render_fvis_batch(SHARED, [], 0, 36).shape == (0, 36, 36, 3)


def test_a_large_picture_is_the_small_one_with_more_detail() -> None:
    small = render_fvis_batch(SHARED, [0, 20], 0, 64).astype(float)
    large = render_fvis_batch(SHARED, [0, 20], 0, 128)
    means = large.reshape(2, 64, 2, 64, 2, 3).mean((2, 4))
    for one, other in zip(small, means, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9
    noise = np.abs(large - np.repeat(np.repeat(means, 2, 1), 2, 2)).mean()
    assert noise > 3


def test_settings_of_torch_are_as_before() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    state = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            render_fvis_batch(SHARED, [0], 0, 8)
            assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 2
        assert torch.backends.mkldnn.enabled
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.errors import DreamshardsError

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DreamshardsError, match=r'pip install "dreamshards\[train\]"'):
        render_fvis_batch(SHARED, [0], 0, 36)
    with pytest.raises(DreamshardsError, match="need torch"):
        load_network()


@pytest.mark.slow
def test_pictures_are_busy_colourful_and_unclipped() -> None:
    """The gate of visualisations: 3 bits of luminance entropy and neighbours that agree by 0.2."""
    pictures = render_fvis_batch(SHARED, range(96), 0, 36)
    light = pictures @ np.array([0.299, 0.587, 0.114])
    for picture in light:
        shares = np.bincount((picture // 4).astype(int).ravel(), minlength=64) / picture.size
        shares = shares[shares > 0]
        assert -(shares * np.log2(shares)).sum() > 3
        z = picture - picture.mean()
        assert (z[1:] * z[:-1]).mean() > 0.2 * (z * z).mean()
        assert (z[:, 1:] * z[:, :-1]).mean() > 0.2 * (z * z).mean()
    assert ((pictures == 0) | (pictures == 255)).mean() < 1e-3
    spread = np.ptp(pictures.astype(float), axis=3).mean((1, 2))  # between R, G and B
    assert np.median(spread) > 50
    means = pictures.reshape(96, -1, 3).mean(1)
    assert (means.std(0) > 20).all()


def test_decisions() -> None:
    """Of one picture: layer by group and attempt, distinct channels, weights that fall."""
    assert [fvis._where(SHARED.network, 16 * k, 0) for k in range(6)] == [
        (0, 1),
        (0, 2),
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 1),
    ]
    assert fvis._where(SHARED.network, 0, 2) == (0, 0)
    probe = open_probe(SHARED.network, 0)
    tasks = [fvis._plan(SHARED, probe, 1, index, 0, 36) for index in range(300)]
    used = [sum(weight > 0 for weight in task.weights) for task in tasks]
    assert set(used) == {1, 2, 3}
    assert 0.2 < np.mean(np.array(used) == 1) < 0.4
    for task, count in zip(tasks, used, strict=True):
        assert len(set(task.channels[:count])) == count
        assert task.weights[:count] == (1.0, 0.7, 0.5)[:count]
        assert task.stripes[:2] != (0.0, 0.0)
        assert np.abs(task.ground).max() <= 0.6
    assert len({task.word for task in tasks}) == 300


def test_stages() -> None:
    assert fvis_optimise.stages(36) == [36]
    assert fvis_optimise.stages(80) == [80]
    assert fvis_optimise.stages(81) == [41, 81]
    assert fvis_optimise.stages(256) == [64, 128, 256]


def test_regions_take_turns_and_move_with_the_picture() -> None:
    def shares(count: int, shift: tuple[int, int]) -> Any:
        weights = (1.0, 0.7, 0.5)[:count] + (0.0,) * (3 - count)
        task = fvis_optimise.Task((0, 1, 2), weights, (1.0, 0.0, 0.25), np.zeros(3, np.float32), 0)
        return fvis_optimise._regions(task, shift, 64, (32, 32)).numpy()

    assert np.array_equal(shares(1, (5, 9))[0], np.ones((32, 32)))
    two = shares(2, (0, 0)) / np.array([1, 0.7, 1])[:, None, None]
    assert np.allclose(two[0] + two[1], 1)
    assert np.ptp(two[0], axis=0).min() > 0.9
    assert np.ptp(two[0], axis=1).max() == 0
    assert np.allclose(shares(3, (16, 0)), np.roll(shares(3, (0, 0)), 8, 1), atol=1e-6)


def _trained(path: Path) -> torch.nn.Sequential:
    """Train a small network on handwritten digits for a few steps, save its checkpoint and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nn = torch.nn
        net = nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 10),
        )
        digits = load_digits()
        images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
        images = nn.functional.interpolate(images, size=16, mode="bilinear").expand(-1, 3, -1, -1)
        labels = torch.tensor(digits.target)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for step in range(60):
            some = slice(step * 24 % 1400, step * 24 % 1400 + 64)
            loss = nn.functional.cross_entropy(net(images[some]), labels[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            assert (net(images).argmax(1) == labels).float().mean() > 0.8
    torch.save({"epoch": 1, "model": net.state_dict()}, path)
    return net


def _scrambled(pictures: torch.Tensor, word: int) -> torch.Tensor:
    """Return noise with the pictures' own spectra: the same amplitudes, other phases."""
    spectrum = torch.fft.rfft2(pictures)
    noise = np.random.Generator(np.random.PCG64(word)).normal(size=(1, 1, *pictures.shape[2:]))
    phases = torch.fft.rfft2(torch.tensor(noise, dtype=torch.float32))
    phases = phases / phases.abs()
    phases[..., 0, 0] = 1
    return torch.fft.irfft2(spectrum * phases, s=pictures.shape[2:])


def test_pictures_of_a_trained_network_excite_it_more_than_noise_does(tmp_path: Path) -> None:
    """The loop of the iterative strategy: a checkpoint of a network in training, its visualisations."""
    net = _trained(tmp_path / "digits.pt")
    shared = FvisShared(0, load_network(checkpoint=tmp_path / "digits.pt"))
    assert shared.network.cycle == (0, 1)
    for layer, end in ((0, 2), (1, 5)):  # after the batch normalisation, before the ReLU
        indices = range(16 * layer, 16 * layer + 12)
        pixels = render_fvis_batch(shared, indices, 0, 32)
        pictures = torch.tensor(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        probe = open_probe(shared.network, 0)
        channels = [fvis._plan(shared, probe, layer, i, 0, 32).channels[0] for i in indices]
        assert len(set(channels)) == 12
        start = reference_pictures(12, 32)[0]
        values = []
        for x in (pictures, start, _scrambled(pictures, 1)):
            with torch.no_grad():
                maps = torch.relu(net[:end](x)[torch.arange(12), torch.tensor(channels)])
            # Of the first layer the mean; of the second the peak in each square of 8 pixels.
            values.append((torch.nn.functional.max_pool2d(maps, 8) if layer else maps).mean((1, 2)))
        over_noise, over_own_spectrum = values[0] / values[1], values[0] / values[2]
        assert over_noise.median() > 2
        assert over_noise.min() > 1.2
        if layer:  # a first layer is linear: a spectrum is nearly all that it sees
            assert over_own_spectrum.median() > 1.25
            assert over_own_spectrum.min() > 1.05


def test_grey_networks_see_the_mean_of_the_colours(tmp_path: Path) -> None:
    weight = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.save({"conv.weight": weight}, tmp_path / "grey.pt")
    network = load_network(checkpoint=tmp_path / "grey.pt")
    probe = open_probe(network, 0)
    x = squash(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    expected = torch.nn.functional.conv2d(x.mean(1, keepdim=True), weight, padding=1)
    assert torch.allclose(probe.maps(x, 0), expected, atol=1e-6)
    assert render_fvis_batch(FvisShared(0, network), [0], 0, 32).std() > 15


def test_silent_channels_are_passed_over(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    torch.save({"conv.weight": weight}, tmp_path / "dead.pt")
    shared = FvisShared(0, load_network(checkpoint=tmp_path / "dead.pt"))
    probe = open_probe(shared.network, 0)
    tasks = [fvis._plan(shared, probe, 0, index, 0, 32) for index in range(40)]
    assert [task.channels[0] for task in tasks[:3]] == [0, 2, 3]
    assert [sum(weight > 0 for weight in task.weights) for task in tasks[:3]] == [1, 1, 1]
    assert all(
        channel != 1
        for task in tasks
        for channel, weight in zip(task.channels, task.weights, strict=True)
        if weight
    )
    assert {sum(weight > 0 for weight in task.weights) for task in tasks[3:]} == {2, 3}
