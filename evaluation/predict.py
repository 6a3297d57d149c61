"""What a trained network says of batches: classes, confidences, flips between frames, and under attack.

In float32 on every device, in evaluation mode. Reads no set and writes no file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from evaluation.benchmarks import is_noise
from evaluation.measures import confidence, keep_classes, t5d, top5
from evaluation.measures.adversary import Attack, normaliser, pgd
from evaluation.measures.arrays import F64, I64, Floats
from evaluation.measures.consistency import TOP
from pipeline.errors import DreamshardsError
from pipeline.stream import Normalize
from training.checkpoint import Trained
from training.setup import make_normalize, normalize_constants


class Answers(NamedTuple):
    """Of n pictures, or clips of a network that takes those, what it answers.

    Attributes:
        prediction: int64 [n], the likeliest class.
        confidence: float64 [n], its probability.
        logits: floats [n, C], −∞ of classes that are out of the question.
    """

    prediction: I64
    confidence: F64
    logits: Floats


class SequenceAnswers(NamedTuple):
    """Of n sequences the likeliest class of each frame, int64 [n, F], and the top-5 distance, float64 [n]."""

    predictions: I64
    t5d: F64 | None


class Network:
    """A trained network on a device; takes uint8 batches as they come.

    Args:
        trained: from a checkpoint.
        device: where to compute.
    """

    def __init__(self, trained: Trained, device: torch.device) -> None:
        self.device, self.num_classes = device, len(trained.classes)
        layout = torch.channels_last_3d if len(trained.shape) == 4 else torch.channels_last
        self._net: nn.Module = trained.net.to(device).eval()
        if trained.config.hardware.channels_last:
            self._net = self._net.to(memory_format=layout)
        self._normalize: Normalize = make_normalize(trained.config, device)
        self._constants = normalize_constants(trained.config)

    def classify(self, images: torch.Tensor, kept: I64 | None = None) -> Answers:
        """Return the answers for samples, uint8 [n, *shape]; over the classes `kept` alone where given.

        Predictions are by the logits of the network in either case.

        Raises:
            DreamshardsError: a logit is no number; the message begins with the row of the sample.
        """
        logits = self._logits(images)
        if kept is None:
            return Answers(_likeliest(logits), confidence(logits), logits)
        some = keep_classes(logits, kept)
        masked = np.full_like(logits, -np.inf)
        masked[:, kept] = some
        return Answers(kept[_likeliest(some)], confidence(some), masked)

    def follow(self, clips: torch.Tensor, sequence: str, difficulty: int = 1) -> SequenceAnswers:
        """Return the answers for sequences, uint8 [n, F, H, W, 3], frame by frame; `sequence` is their kind.

        Raises:
            DreamshardsError: as `classify`.
        """
        num_clips, num_frames = clips.shape[:2]
        logits = self._logits(clips.flatten(0, 1), per_sample=num_frames)
        frames = logits.reshape(num_clips, num_frames, -1)
        predictions = _likeliest(logits).reshape(num_clips, num_frames)
        if self.num_classes < TOP:
            return SequenceAnswers(predictions, None)
        best, noise = top5(frames), is_noise(sequence)
        distances = [t5d(each[None], noise=noise, difficulty=difficulty) for each in best]
        return SequenceAnswers(predictions, np.array(distances, np.float64))

    def attack(
        self, images: torch.Tensor, labels: I64, attack: Attack, generator: torch.Generator
    ) -> Answers:
        """Return the answers for samples, uint8 [n, *shape], after projected gradient descent.

        A clip is attacked whole: one loss, and every pixel of every frame moves.

        Raises:
            DreamshardsError: a logit or a gradient is no number.
        """
        pixels = images.movedim(-1, 1).to(self.device)
        normalise = normaliser(*self._constants)
        truths = torch.from_numpy(labels)
        adversarial = pgd(
            self._net, pixels, truths, normalise=normalise, generator=generator, attack=attack
        )
        with torch.inference_mode():
            logits = _checked(self._net(normalise(adversarial)), 1)
        return Answers(_likeliest(logits), confidence(logits), logits)

    @torch.inference_mode()
    def _logits(self, images: torch.Tensor, per_sample: int = 1) -> npt.NDArray[np.float32]:
        return _checked(self._net(self._normalize(images)), per_sample)


class LogitError(DreamshardsError):
    """Logits that are no numbers; `row` is the first such sample of the batch."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def _checked(logits: torch.Tensor, per_sample: int) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    finite = np.asarray(np.isfinite(values).all(axis=1))
    if not finite.all():
        row = int(finite.argmin()) // per_sample
        raise LogitError(
            f"logits of {int((~finite).sum())} of {len(finite)} inputs are NaN or infinite; allowed: "
            "finite. Look whether the network's weights are",
            row,
        )
    return values


def _likeliest(logits: Floats) -> I64:
    best: I64 = logits.argmax(axis=1).astype(np.int64)
    return best
