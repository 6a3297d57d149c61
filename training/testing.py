"""The test after an epoch: loss and error on the test root, of videos where it has several clips of each."""

from __future__ import annotations

from typing import cast

import torch
from torch.nn import functional

from pipeline.stream import KeyedBatch, ShardStream, positions_of
from training.losses import count_wrong
from training.meter import Outcome
from training.setup import Run

_CLIP_AXES = 4


@torch.inference_mode()
def test_network(run: Run) -> Outcome | None:
    """Return loss and error on the test root, over all ranks; None without one.

    Where there are several clips of a video, one answer is given for it: the class with the largest mean
    probability over its clips. Losses are of clips in either case.
    """
    if run.test is None:
        return None
    run.world.share_buffers(run.learner.net)
    run.model.eval()
    videos = _Videos(run, run.test) if len(run.test.shape) == _CLIP_AXES else None
    sums = torch.zeros(3, dtype=torch.float64, device=run.world.device)
    run.test.set_epoch(0)
    for batch in run.test:
        images, labels, keys = cast(KeyedBatch, batch)
        labels = labels.to(run.world.device, non_blocking=True)
        with run.world.autocast():
            logits = run.learner.net(run.normalize(images)).float()
        sums[0] += functional.cross_entropy(logits, labels, reduction="sum")
        sums[1] += count_wrong(logits, labels)
        sums[2] += len(labels)
        if videos is not None:
            videos.add(logits, labels, keys)
    loss, wrong, num = run.world.sum(sums).tolist()
    error = wrong / num if videos is None else videos.error()
    return Outcome(loss / num, error)


class _Videos:
    """Sums of the probabilities of each video's clips, over all ranks."""

    def __init__(self, run: Run, stream: ShardStream) -> None:
        numbers = torch.from_numpy(stream.videos())
        shape = int(numbers.max()) + 1, len(stream.classes)
        self._world, self._numbers = run.world, numbers.to(run.world.device)
        self._sums = torch.zeros(shape, dtype=torch.float64, device=run.world.device)
        self._labels = torch.zeros(shape, dtype=torch.float64, device=run.world.device)

    def add(self, logits: torch.Tensor, labels: torch.Tensor, keys: list[str]) -> None:
        """Count a batch of clips."""
        numbers = self._numbers[positions_of(keys).to(self._numbers.device)]
        self._sums.index_add_(0, numbers, logits.double().softmax(1))
        if not labels.is_floating_point():
            labels = functional.one_hot(labels, logits.shape[1])
        self._labels.index_add_(0, numbers, labels.double())

    def error(self) -> float:
        """Return the share of videos whose likeliest class is not theirs."""
        sums, labels = self._world.sum(self._sums), self._world.sum(self._labels)
        return (sums.argmax(1) != labels.argmax(1)).double().mean().item()
