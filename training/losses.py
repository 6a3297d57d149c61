"""The losses of steps, left on the device until they are looked at: each look makes a GPU wait."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from training.meter import Meter


class Losses:
    """Collects steps for a meter, and finds the first whose loss is no number.

    Attributes:
        recent: mean loss of the steps that were looked at last.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter, self.recent = meter, 0.0
        self._keys: list[Sequence[str]] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Return how many steps have not been looked at."""
        return len(self._keys)

    def add(
        self, keys: Sequence[str], loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Collect a step: keys, mean loss, logits [B, C], and labels int64 [B] or shares [B, C]."""
        self._keys.append(keys)
        self._values.append(torch.stack([loss.detach().double(), count_wrong(logits, labels)]))

    def look(self) -> str | None:
        """Count the steps collected so far; at a loss that is no number, say so with its batch's keys."""
        if not self._keys:
            return None
        values = torch.stack(self._values).tolist()
        batches, self._keys, self._values = self._keys, [], []
        self.recent = sum(loss for loss, _ in values) / len(values)
        for keys, (loss, wrong) in zip(batches, values, strict=True):
            if not math.isfinite(loss):
                return (
                    f"the loss is {loss} on the {len(keys):,} samples from {keys[0]} to {keys[-1]}"
                )
            self._meter.loss += loss * len(keys)
            self._meter.wrong += wrong
            self._meter.samples += len(keys)
        return None


def count_wrong(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many samples' likeliest class is not the label, or not the one with the largest share."""
    classes = labels.argmax(1) if labels.is_floating_point() else labels
    return (logits.detach().argmax(1) != classes).sum().double()
