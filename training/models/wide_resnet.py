"""Wide residual networks for small pictures (Zagoruyko & Komodakis, BMVC 2016)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class WideResNet(nn.Module):
    """WRN-`depth`-`width`: floats [B, 3, S, S] to logits [B, num_classes].

    Three groups of (depth − 4) / 6 pre-activation blocks with 16·width, 32·width and 64·width channels; the
    second and third halve the side. Convolutions start as He et al. (ICCV 2015) have it, for ReLU by
    fan-out. 40-4 with dropout 0.3 is the model of the PixMix paper, 16-2 a small one for CPUs.

    Args:
        depth: 6n + 4 layers of convolution.
        width: times as many channels as the ResNet of that depth.
        num_classes: logits.
        dropout: probability, between the two convolutions of a block.

    Raises:
        ValueError: no network of that depth.
    """

    def __init__(self, depth: int, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        num_blocks, rest = divmod(depth - 4, 6)
        if rest or num_blocks < 1:
            raise ValueError(f"depth = {depth}; allowed: 6n + 4, such as 10, 16, 22, 28 or 40")
        self.stem = _conv3x3(3, 16)
        channels, groups = 16, []
        for wider, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            blocks = [_Block(channels, wider, stride, dropout)]
            blocks += [_Block(wider, wider, 1, dropout) for _ in range(num_blocks - 1)]
            groups.append(nn.Sequential(*blocks))
            channels = wider
        self.groups = nn.Sequential(*groups)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        features = functional.relu(self.norm(self.groups(self.stem(pictures))))
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits


class _Block(nn.Module):
    """x + conv(dropout(relu(norm(conv(relu(norm(x))))))); a 1×1 convolution on the left where shapes differ.

    Where they do, both branches start from relu(norm(x)), as in the published network.
    """

    def __init__(self, channels: int, wider: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), _conv3x3(channels, wider, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(wider), _conv3x3(wider, wider)
        self.dropout = dropout
        same = channels == wider and stride == 1
        self.shortcut = None if same else nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = functional.relu(self.norm1(x))
        hidden = functional.relu(self.norm2(self.conv1(active)))
        if self.dropout > 0:
            hidden = functional.dropout(hidden, self.dropout, self.training)
        residual: torch.Tensor = self.conv2(hidden)
        return residual + (x if self.shortcut is None else self.shortcut(active))


def _conv3x3(channels: int, wider: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, wider, 3, stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
