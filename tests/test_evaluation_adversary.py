"""PGD against its closed form on linear models, a plain twin on a network, and what it must leave alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.measures.adversary import PUBLISHED_ATTACK, Attack, normaliser, pgd
from pipeline.errors import DreamshardsError
from pipeline.stream import CIFAR, IMAGENET, Normalize

EPS = 2 / 255
PICTURE = (5, 3, 4, 6)
CLIP = (5, 3, 2, 4, 6)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return uint8 pixels that include both ends."""
    images = torch.randint(0, 256, shape, generator=_generator(seed), dtype=torch.uint8)
    images[0].fill_(0)
    images[1].fill_(255)
    return images


class _Linear(nn.Module):
    """Two classes, in float64: the gradient's sign is the same everywhere."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        generator = _generator(7)
        values = torch.randn((2, int(np.prod(shape[1:]))), generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(values)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1).double() @ self.weight.T


class _Network(nn.Module):
    """All that has a mode or a buffer, on pictures."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.GELU(),
                nn.Dropout(0.5),
                nn.Flatten(),
                nn.Linear(8 * 4 * 6, num_classes),
            )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs)


@pytest.mark.parametrize("shape", [PICTURE, CLIP])
@pytest.mark.parametrize("constants", [CIFAR, IMAGENET])
def test_of_a_linear_model_it_is_the_corner(shape, constants):
    images, labels = _images(shape), torch.tensor([0, 1, 1, 0, 1])
    model = _Linear(shape)
    found = pgd(model, images, labels, normalise=normaliser(*constants), generator=_generator())
    # the loss grows with the logit of the other class less that of the true one
    sides = (model.weight[1 - labels] - model.weight[labels]).sign().reshape(shape)
    expected = (images.double() / 255 + EPS * sides).clamp(0, 1)
    assert found.dtype == torch.float32
    assert found.shape == images.shape
    assert (found - expected).abs().max() < 1e-6


def test_around_a_noisy_centre_it_is_the_corner_of_the_start():
    images, labels = torch.full(PICTURE, 128, dtype=torch.uint8), torch.tensor([0, 1, 1, 0, 1])
    model = _Linear(PICTURE)
    options = {"normalise": normaliser(*CIFAR), "attack": PUBLISHED_ATTACK}
    found = pgd(model, images, labels, generator=_generator(5), **options)
    noise = EPS * (2 * torch.rand(PICTURE, generator=_generator(5)) - 1)
    sides = (model.weight[1 - labels] - model.weight[labels]).sign().reshape(PICTURE)
    assert (found - (128 / 255 + noise + EPS * sides)).abs().max() < 1e-6
    reach = (found - 128 / 255).abs().max().item()
    assert 1.5 * EPS < reach <= 2 * EPS + 1e-6


def _plain_pgd(model, images, labels, attack, seed):
    """Written another way: one image at a time, through `backward`, with NumPy's arithmetic between."""
    model = copy.deepcopy(model).eval()
    noise = torch.rand(images.shape, generator=_generator(seed), dtype=torch.float64).numpy()
    results = []
    for image, label, u in zip(images.double().numpy(), labels, noise, strict=True):
        x = image + attack.eps * (2 * u - 1)
        centre = image if attack.centre == "clean" else x.copy()
        for _ in range(attack.steps):
            leaf = torch.from_numpy(x).unsqueeze(0).requires_grad_()
            logits = model(2 * leaf - 1)[0]
            (logits.logsumexp(0) - logits[label]).backward()
            x = x + attack.step * np.sign(leaf.grad[0].numpy())
            x = np.minimum(np.maximum(x, centre - attack.eps), centre + attack.eps)
            x = np.clip(x, 0, 1)
        results.append(x)
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize(
    "attack", [Attack(), PUBLISHED_ATTACK, Attack(eps=8 / 255, steps=3, step=5 / 255)]
)
def test_of_a_network_it_is_what_a_plain_twin_finds(attack):
    images = _images(PICTURE).double() / 255
    labels, model = torch.tensor([0, 1, 2, 3, 0]), _Network().double()
    found = pgd(
        model,
        images,
        labels,
        normalise=normaliser(*CIFAR),
        generator=_generator(1),
        attack=attack,
    )
    assert found.dtype == torch.float64
    assert (found - _plain_pgd(model, images, labels, attack, 1)).abs().max() < 1e-12


def _loss(model, pixels, labels):
    with torch.no_grad():
        logits = model.eval()(2 * pixels - 1)
    return nn.functional.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("centre", ["clean", "noisy"])
def test_it_stays_within_its_bounds_and_raises_every_loss(centre):
    images, labels = _images((16, 3, 4, 6)), torch.arange(16) % 4
    model, clean = _Network(), images.float() / 255
    attack = Attack(centre=centre)
    found = pgd(
        model, images, labels, normalise=normaliser(*CIFAR), generator=_generator(), attack=attack
    )
    reach = EPS if centre == "clean" else 2 * EPS
    assert (found - clean).abs().max() <= reach + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert (_loss(model, found, labels) > _loss(model, clean, labels)).all()


def test_the_start_depends_on_the_generator_alone():
    images, labels, model = _images(PICTURE), torch.tensor([0, 1, 2, 3, 0]), _Network()

    def run(seed: int) -> torch.Tensor:
        return pgd(
            model,
            images,
            labels,
            normalise=normaliser(*CIFAR),
            generator=_generator(seed),
            attack=Attack(steps=1),
        )

    state = torch.get_rng_state()
    first = run(0)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_left_as_it_was():
    model = _Network()
    model.train()
    model.body[1].eval()  # a frozen batch norm inside a model in training
    model.body[0].weight.grad = torch.ones_like(model.body[0].weight)
    before = copy.deepcopy(model.state_dict())
    images, labels = _images(PICTURE), torch.tensor([0, 1, 2, 3, 0])
    originals = images.clone(), labels.clone()
    pgd(model, images, labels, normalise=normaliser(*CIFAR), generator=_generator())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [part.training for part in model.body] == [True, False, True, True, True, True]
    assert torch.equal(model.body[0].weight.grad, torch.ones_like(model.body[0].weight))
    others = [p for p in model.parameters() if p is not model.body[0].weight]
    assert all(p.grad is None and p.requires_grad for p in others)
    assert torch.equal(images, originals[0])
    assert torch.equal(labels, originals[1])


def test_dropout_and_batch_statistics_play_no_part():
    images, labels = _images(PICTURE).double() / 255, torch.tensor([0, 1, 2, 3, 0])
    model = _Network().double()
    options = {"normalise": normaliser(*CIFAR)}
    in_training = pgd(model.train(), images, labels, generator=_generator(), **options)
    assert torch.equal(
        in_training, pgd(model.eval(), images, labels, generator=_generator(), **options)
    )
    # the first sample's start is drawn first, so alone it comes out as in its batch
    alone = pgd(model, images[:1], labels[:1], generator=_generator(), **options)
    assert (alone - in_training[:1]).abs().max() < 1e-12


def test_within_no_grad_inference_mode_and_autocast():
    images, labels, model = _images(PICTURE), torch.tensor([0, 1, 2, 3, 0]), _Network()

    def run() -> torch.Tensor:
        return pgd(model, images, labels, normalise=normaliser(*CIFAR), generator=_generator())

    expected = run()
    with torch.no_grad():
        assert torch.equal(run(), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(run(), expected)
    with torch.inference_mode():
        fresh = images.float() / 255  # made in inference mode, which autograd refuses to save
        labels = labels.clone()
        assert torch.equal(
            pgd(model, fresh, labels, normalise=normaliser(*CIFAR), generator=_generator()),
            expected,
        )


def test_modes_come_back_after_an_error():
    model = _Network().train()
    with pytest.raises(RuntimeError):
        pgd(
            model,
            torch.zeros((1, 3, 9, 9)),  # the last layer takes 4×6
            torch.tensor([0]),
            normalise=normaliser(*CIFAR),
            generator=_generator(),
        )
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("constants", [CIFAR, IMAGENET])
@pytest.mark.parametrize("shape", [PICTURE, CLIP])
def test_normaliser_is_that_of_training(shape, constants):
    images = _images(shape)
    channels_last = images.movedim(1, -1).contiguous()
    found = normaliser(*constants)(images.float() / 255)
    assert (found - Normalize(*constants)(channels_last)).abs().max() < 1e-6


def _weights_with_nan() -> nn.Module:
    model = _Network()
    with torch.no_grad():
        model.body[0].weight[0, 0, 0, 0] = float("nan")
    return model


class _Detached(_Network):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs).detach()


GOOD_IMAGES, GOOD_LABELS = torch.zeros(PICTURE), torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize(
    ("model", "images", "labels", "message"),
    [
        (
            _Network(),
            GOOD_IMAGES + 1.5,
            GOOD_LABELS,
            "values from 1.5 to 1.5; allowed: pixels from 0 to 1",
        ),
        (_Network(), GOOD_IMAGES * torch.nan, GOOD_LABELS, "values from nan to nan"),
        (_Network(), GOOD_IMAGES.long(), GOOD_LABELS, "got torch.int64; allowed: uint8, or floats"),
        (_Network(), torch.zeros((0, 3, 4, 6)), GOOD_LABELS[:0], "allowed: .* not empty"),
        (
            _Network(),
            GOOD_IMAGES,
            GOOD_LABELS[:2],
            r"labels: got torch.int64 \[2\]; allowed: int64 \[5\]",
        ),
        (_Network(), GOOD_IMAGES, GOOD_LABELS.float(), r"labels: got torch.float32 \[5\]"),
        (_Network(), GOOD_IMAGES, GOOD_LABELS + 1, "labels: got 1 to 4; allowed: 0 to 3"),
        (
            _Network(),
            torch.zeros((5, 4, 6, 3)),
            GOOD_LABELS,
            r"\[5, 4, 6, 3\]; allowed: \[B, 3, …\]",
        ),
        (_weights_with_nan(), GOOD_IMAGES, GOOD_LABELS, "the gradient has NaN or infinity"),
        (_Detached(), GOOD_IMAGES, GOOD_LABELS, "the logits have no gradient"),
        (
            nn.Identity(),
            GOOD_IMAGES,
            GOOD_LABELS,
            r"returned shape \[5, 3, 4, 6\]; allowed: logits",
        ),
    ],
)
def test_refused(model, images, labels, message):
    with pytest.raises(DreamshardsError, match=message):
        pgd(model, images, labels, normalise=normaliser(*CIFAR), generator=_generator())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eps": 2.0}, "eps = 2.0, .*allowed: eps and step above 0 to 1"),
        ({"eps": 0.0}, "eps = 0.0"),
        ({"step": -0.1}, "step = -0.1"),
        ({"steps": 0}, "steps = 0"),
        ({"centre": "start"}, "centre = 'start'; allowed: 'clean' or 'noisy'"),
    ],
)
def test_budget_refused(fields, message):
    with pytest.raises(DreamshardsError, match=message):
        Attack(**fields)


def test_normaliser_refuses():
    with pytest.raises(DreamshardsError, match="std above 0"):
        normaliser((0.5,), (0.0,))
    with pytest.raises(DreamshardsError, match="one number each a channel"):
        normaliser((0.5, 0.5), (0.5,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_finds_much_the_same():
    images, labels, model = _images((32, 3, 4, 6)), torch.arange(32) % 4, _Network()
    options = {"normalise": normaliser(*CIFAR)}
    here = pgd(model, images, labels, generator=_generator(), **options)
    there = pgd(model.cuda(), images.cuda(), labels, generator=_generator(), **options)
    assert there.is_cuda
    differing = ((there.cpu() - here).abs() > 1e-5).float().mean()
    assert differing < 0.02  # a gradient near 0 may turn its sign with the order of a sum
