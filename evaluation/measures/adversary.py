"""Projected gradient descent (Madry et al., ICLR 2018): the adversary that the PixMix paper measures against.

Works in the space of pixels, 0 to 1, on pictures and on whole clips. The only module of the measures with
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from pipeline.errors import DreamshardsError

Normaliser = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Attack:
    """The budget of an adversary; the defaults are those of the PixMix paper.

    Attributes:
        eps: greatest change of a pixel, of 1.
        steps: gradient steps.
        step: how far one moves each pixel.
        centre: what the result stays within `eps` of. `clean` is the picture. `noisy` is the random start, as
        in
            the code behind the published numbers: then up to 2·`eps` from the picture, a stronger adversary.
    """

    eps: float = 2 / 255
    steps: int = 20
    step: float = 0.5 / 255
    centre: Literal["clean", "noisy"] = "clean"

    def __post_init__(self) -> None:
        if not (0 < self.eps <= 1 and 0 < self.step <= 1 and self.steps >= 1):
            raise DreamshardsError(
                f"Attack: eps = {self.eps}, steps = {self.steps}, step = {self.step}; allowed: eps and step "
                "above 0 to 1, in pixels of 0 to 1, and 1 step or more"
            )
        if self.centre not in ("clean", "noisy"):
            raise DreamshardsError(f"Attack: centre = {self.centre!r}; allowed: 'clean' or 'noisy'")


PUBLISHED_ATTACK = Attack(centre="noisy")
"""How the published errors were measured."""


def normaliser(mean: Sequence[float], std: Sequence[float]) -> Normaliser:
    """Return the map of pixels [B, C, …] in [0, 1] to (x − mean) / std, one number of each for a channel.

    Unlike `pipeline.stream.Normalize` it takes floats and lets gradients through.

    Raises:
        DreamshardsError: numbers of another form, or a batch with another number of channels.
    """
    if len(mean) != len(std) or not mean or min(std) <= 0:
        raise DreamshardsError(
            f"normaliser: mean = {mean!r}, std = {std!r}; allowed: one number each a channel, std above 0"
        )

    def normalise(pixels: torch.Tensor) -> torch.Tensor:
        if pixels.ndim < 2 or pixels.shape[1] != len(mean):
            raise DreamshardsError(
                f"normaliser: got shape {list(pixels.shape)}; allowed: [B, {len(mean)}, …], channels second"
            )
        shape = (1, len(mean), *[1] * (pixels.ndim - 2))
        return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)

    return normalise


def pgd(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    normalise: Normaliser,
    generator: torch.Generator,
    attack: Attack = Attack(),
) -> torch.Tensor:
    """Return pixels that raise the model's loss: floats in [0, 1], shaped and placed as `images`.

    From a random start within ±`eps`, each step moves every pixel by `step` along the sign of the gradient of
    the summed cross-entropy of the true labels, and back to within `eps` of the centre and to 0…1. The model
    runs in eval mode and in the precision of its inputs, without autocast; modes, parameters, their gradients
    and buffers are left as they were.

    Args:
        model: maps what `normalise` returns to logits [B, classes].
        images: [B, C, H, W] or clips [B, C, T, H, W], any number of axes; uint8, or floats in [0, 1], of
            which float64 is kept and others become float32.
        labels: int64 [B].
        normalise: maps pixels to the model's input, such as `normaliser(*CIFAR)`.
        generator: draws the start, on its own device: one of the CPU gives every device the same.
        attack: the budget.

    Raises:
        DreamshardsError: tensors of another form, pixels or labels out of range, logits of another form or
            without a gradient, or a gradient with NaN.
    """
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DreamshardsError(
            f"pgd: labels: got {labels.dtype} {list(labels.shape)}; allowed: int64 "
            f"[{len(images)}], one an image"
        )
    device = images.device
    with _evaluating(model), torch.autocast(device.type, enabled=False):
        clean, labels = _pixels(images), labels.to(device).clone()
        uniform = torch.rand(
            clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
        )
        adversarial = clean + (2 * uniform - 1).mul_(attack.eps).to(device)
        centre = clean if attack.centre == "clean" else adversarial
        low, high = (centre - attack.eps).clamp_(0, 1), (centre + attack.eps).clamp_(0, 1)
        finite = torch.ones((), dtype=torch.bool, device=device)
        for number in range(attack.steps):
            gradient = _gradient(model, normalise, adversarial, labels, check=number == 0)
            finite &= gradient.isfinite().all()  # read once, after the loop: no wait for the device
            adversarial = (adversarial + attack.step * gradient.sign()).clamp(low, high)
    if not finite:
        raise DreamshardsError(
            "pgd: the gradient has NaN or infinity; allowed: finite. Look whether the model's "
            "weights are finite"
        )
    return adversarial


def _pixels(images: torch.Tensor) -> torch.Tensor:
    if images.ndim < 3 or images.numel() == 0:
        raise DreamshardsError(
            f"pgd: images: got shape {list(images.shape)}; allowed: [B, C, H, W] or "
            "[B, C, T, H, W], not empty"
        )
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.dtype.is_floating_point:
        raise DreamshardsError(
            f"pgd: images: got {images.dtype}; allowed: uint8, or floats in [0, 1]"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise DreamshardsError(
            f"pgd: images: got values from {low:g} to {high:g}; allowed: pixels from "
            "0 to 1, not yet normalised"
        )
    return images.detach().to(torch.float64 if images.dtype == torch.float64 else torch.float32)


def _gradient(
    model: torch.nn.Module,
    normalise: Normaliser,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    *,
    check: bool,
) -> torch.Tensor:
    """Return the gradient of the summed cross-entropy by the pixels; `check` looks at logits and labels."""
    variable = pixels.clone().requires_grad_()
    logits = model(normalise(variable))
    if check:
        _check_logits(logits, labels)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    # by the pixels alone, so that no parameter is given a gradient
    return torch.autograd.grad(loss, variable)[0]


def _check_logits(logits: torch.Tensor, labels: torch.Tensor) -> None:
    if logits.ndim != 2 or len(logits) != len(labels):
        raise DreamshardsError(
            f"pgd: the model returned shape {list(logits.shape)}; allowed: logits [{len(labels)}, classes]"
        )
    if not logits.requires_grad:
        raise DreamshardsError(
            "pgd: the logits have no gradient; allowed: a model that runs without no_grad or detach"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DreamshardsError(
            f"pgd: labels: got {int(labels.min())} to {int(labels.max())}; allowed: "
            f"0 to {logits.shape[1] - 1}"
        )


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put every part of the model into eval mode, with gradients on, and back into its own mode after."""
    in_training = [part for part in model.modules() if part.training]
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for part in in_training:
            part.training = True
