"""Networks for training and evaluation: a wide ResNet and a small one for clips, others from torchvision.

A new kind is a section in `training.config`, a module here, and a branch in `build_model`.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.errors import DreamshardsError
from training.config import ModelConfig, Small3dConfig, TorchvisionConfig, WideResNetConfig
from training.models.small3d import Small3d
from training.models.torchvision_models import make_model, takes_clips
from training.models.weights import load_weights
from training.models.wide_resnet import WideResNet

__all__ = ["Small3d", "WideResNet", "build_model", "check_shape", "head_names"]


def build_model(config: ModelConfig, num_classes: int) -> tuple[nn.Module, list[str]]:
    """Return a network with its weights loaded, and the parts of its head that `weights` did not have.

    With `feature_extract` only the head learns; batch norms still keep their running statistics, as in the
    V-PixMix experiment.

    Raises:
        UsageError: no such model or weights.
        DreamshardsError: the weights are of another network, or cannot be read or fetched.
    """
    model = _make(config, num_classes)
    fresh = []
    if config.weights is not None:
        fresh = load_weights(model, config, head_names(config))
    if config.feature_extract:
        head = set(head_names(config))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in head)
    return model, fresh


def head_names(config: ModelConfig) -> list[str]:
    """Return the names of a network's parameters whose shapes follow the number of classes."""
    with torch.device("meta"):
        few, more = (_make(config, num).state_dict() for num in (2, 3))
    return [name for name, value in few.items() if value.shape != more[name].shape]


def check_shape(config: ModelConfig, shape: tuple[int, ...], where: str) -> None:
    """Refuse samples that a network does not take; `shape` is [H, W, 3] or [T, H, W, 3].

    Raises:
        DreamshardsError: clips for a network of pictures, or the other way round.
    """
    clips = isinstance(config, Small3dConfig) or (
        isinstance(config, TorchvisionConfig) and takes_clips(config.name)
    )
    if len(shape) == (4 if clips else 3):
        return
    name = config.name if isinstance(config, TorchvisionConfig) else config.kind
    wanted = "clips [T, H, W, 3]" if clips else "pictures [H, W, 3]"
    remedy = "such as resnet50" if clips else "such as small3d or r3d_18"
    raise DreamshardsError(
        f"{where}: its samples have the shape {list(shape)}, and {name} takes {wanted}; "
        f"give another root, or another model, {remedy}"
    )


def _make(config: ModelConfig, num_classes: int) -> nn.Module:
    if isinstance(config, WideResNetConfig):
        return WideResNet(config.depth, config.width, num_classes, config.dropout)
    if isinstance(config, Small3dConfig):
        return Small3d(num_classes, config.width, config.dropout)
    return make_model(config.name, num_classes)
