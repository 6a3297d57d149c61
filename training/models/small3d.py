"""A small residual network for clips of about 32 px, in the manner of R3D (Tran et al., CVPR 2018)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class Small3d(nn.Module):
    """Floats [B, 3, T, S, S] to logits [B, num_classes]; 0.22 million parameters at width 16.

    A stem that halves the side, then three residual blocks of two 3×3×3 convolutions with `width`, 2·width
    and 4·width channels, of which the second and third halve side and length; then the mean over time and
    space.
    Convolutions start as He et al. (ICCV 2015) have it, for ReLU by fan-out.

    Args:
        num_classes: logits.
        width: channels of the first block.
        dropout: probability, before the head.
    """

    def __init__(self, num_classes: int, width: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = _conv3x3x3(3, width, (1, 2, 2))
        self.norm = nn.BatchNorm3d(width)
        self.blocks = nn.Sequential(
            _Block(width, width, 1),
            _Block(width, 2 * width, 2),
            _Block(2 * width, 4 * width, 2),
        )
        self.dropout = dropout
        self.head = nn.Linear(4 * width, num_classes)
        self.apply(_initialise)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        features = self.blocks(functional.relu(self.norm(self.stem(clips)))).mean((2, 3, 4))
        if self.dropout > 0:
            features = functional.dropout(features, self.dropout, self.training)
        logits: torch.Tensor = self.head(features)
        return logits


class _Block(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))); where shapes differ, x is convolved and normalised."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3x3x3(channels, wider, stride), nn.BatchNorm3d(wider)
        self.conv2, self.norm2 = _conv3x3x3(wider, wider), nn.BatchNorm3d(wider)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != wider:
            conv = nn.Conv3d(channels, wider, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(wider))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(hidden + (x if self.shortcut is None else self.shortcut(x)))


def _conv3x3x3(channels: int, wider: int, stride: int | tuple[int, int, int] = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, wider, 3, stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        fan_out = math.prod(module.kernel_size) * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
