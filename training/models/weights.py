"""Trained weights for a network: torchvision's by name, or a file's; a head of another size starts afresh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import DreamshardsError, UsageError
from training.config import ModelConfig, TorchvisionConfig
from training.models.torchvision_models import published_weights


def load_weights(model: nn.Module, config: ModelConfig, head: Sequence[str]) -> list[str]:
    """Load what `config.weights` names into `model`; return the names in `head` that it did not fit.

    A file holds a state_dict, or one under "model" as our checkpoints do.

    Raises:
        UsageError: no such file or weights.
        DreamshardsError: they cannot be read or fetched, or are of another network.
    """
    assert config.weights is not None
    state = _read(config)
    own = model.state_dict()
    fresh = [name for name in head if name not in state or state[name].shape != own[name].shape]
    usable = {name: value for name, value in state.items() if name not in fresh}
    missing = [name for name in own if name not in usable and name not in fresh]
    unknown = [name for name in usable if name not in own]
    other = [
        f"{name} is {list(value.shape)}, not {list(own[name].shape)}"
        for name, value in usable.items()
        if name in own and value.shape != own[name].shape
    ]
    if missing or unknown or other:
        found = [
            *(f"{name} is missing" for name in missing),
            *(f"{name} is not of it" for name in unknown),
            *other,
        ]
        more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
        raise DreamshardsError(
            f"model.weights = {config.weights}: weights of another network: {'; '.join(found[:3])}{more}; "
            "give those of the model that is configured"
        )
    model.load_state_dict({**own, **usable})
    return fresh


def _read(config: ModelConfig) -> dict[str, torch.Tensor]:
    assert config.weights is not None
    path = Path(config.weights)
    if path.is_file():
        content = read_tensors(path)
        state = content.get("model", content)
        if isinstance(state, dict) and state and all(map(torch.is_tensor, state.values())):
            return {name.removeprefix("module."): value for name, value in state.items()}
        raise DreamshardsError(
            f"{path}: no state_dict; allowed: a file of torch.save(model.state_dict()), or a checkpoint"
        )
    if not isinstance(config, TorchvisionConfig) or path.suffix in (".pt", ".pth", ".ckpt"):
        raise UsageError(f"model.weights = {config.weights!r}: no such file; give a path")
    return published_weights(config.name, config.weights)


def read_tensors(path: Path) -> dict[str, Any]:
    """Return what a file of torch.save holds, which may be tensors and plain values only.

    Raises:
        DreamshardsError: it cannot be read, or holds anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one class for a file it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DreamshardsError(
            f"{path}: not a readable file of tensors ({reason}); restore it from a copy"
        ) from error
    if not isinstance(content, dict):
        raise DreamshardsError(f"{path}: holds a {type(content).__name__}; allowed: a state_dict")
    return content
