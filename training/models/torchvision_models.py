"""Classifiers of torchvision, by name, for any number of classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torchvision import models

from pipeline.errors import DreamshardsError, UsageError, nearest

_NO_CLASSIFIERS = tuple(
    f"torchvision.models.{kind}"
    for kind in (
        "detection",
        "segmentation",
        "optical_flow",
        "quantization",
        "googlenet",
        "inception",
    )
)
"""Kinds that do not turn a batch into logits; the last two return auxiliary ones beside them."""


def make_model(name: str, num_classes: int) -> nn.Module:
    """Return a model with random weights: floats [B, 3, H, W], or clips [B, 3, T, H, W], to logits.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    model: nn.Module = _builder(name)(weights=None, num_classes=num_classes)
    return model


def takes_clips(name: str) -> bool:
    """Tell whether a model is one for clips.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    return _builder(name).__module__.startswith("torchvision.models.video")


def published_weights(name: str, weights: str) -> dict[str, torch.Tensor]:
    """Return the state of torchvision's trained weights, fetched on first use and checked by hash.

    Args:
        name: the model's.
        weights: an entry's name such as IMAGENET1K_V2, or DEFAULT, or in full ResNet50_Weights.DEFAULT.

    Raises:
        UsageError: no such weights.
        DreamshardsError: they cannot be fetched.
    """
    entries = models.get_model_weights(name)
    short = weights.rpartition(".")[2]
    try:
        entry = entries[short]
    except KeyError:
        names = [*dict.fromkeys(["DEFAULT", *(found.name for found in entries)])]
        raise UsageError(
            f"model.weights = {weights!r}: no file, and no weights of {name}{nearest(short, names)}; "
            f"allowed: the path of a file, or {', '.join(names)}"
        ) from None
    try:
        state: dict[str, torch.Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise DreamshardsError(
            f"model.weights = {weights}: cannot fetch {entry.url}: {error}; "
            "fetch it elsewhere and give its path"
        ) from error
    return state


def _builder(name: str) -> Callable[..., nn.Module]:
    names = [
        found
        for found in models.list_models()
        if not models.get_model_builder(found).__module__.startswith(_NO_CLASSIFIERS)
    ]
    if name not in names:
        raise UsageError(
            f"model.name = {name!r}: no classifier of torchvision{nearest(name, names)}; "
            "allowed: resnet50, r3d_18, or another name of torchvision.models.list_models()"
        )
    builder: Callable[..., nn.Module] = models.get_model_builder(name)
    return builder
