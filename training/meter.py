"""What a pass over data came to: loss, error, samples, seconds, and the seconds spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import torch

from training.world import World

T = TypeVar("T")


@dataclass
class Meter:
    """Sums over a pass; those of several ranks or of the parts of a pass add up.

    Attributes:
        loss: sum of the samples' losses.
        wrong: samples whose likeliest class is not the label.
        samples: how many.
        seconds: from the first request for a batch to the end of the last step.
        waited_s: of these, those between the request for a batch and its arrival in memory. A GPU works on
            the steps before in the meantime, so for one this is the most that it can have waited.
    """

    loss: float = 0.0
    wrong: float = 0.0
    samples: float = 0.0
    seconds: float = 0.0
    waited_s: float = 0.0

    def __post_init__(self) -> None:
        self._counted_until = time.perf_counter()

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches and take the time, of waiting and in all."""
        remaining = iter(batches)
        self._counted_until = time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(remaining, None)
            self.waited_s += time.perf_counter() - asked
            self.count_time()
            if batch is None:
                return
            yield batch

    def count_time(self) -> None:
        """Count the seconds up to now."""
        now = time.perf_counter()
        self.seconds += now - self._counted_until
        self._counted_until = now

    def summed(self, world: World) -> Meter:
        """Return the sums over all ranks; times are the mean of theirs."""
        names = [field.name for field in fields(self)]
        values = [float(getattr(self, name)) for name in names]
        sums = world.sum(torch.tensor(values, dtype=torch.float64, device=world.device)).tolist()
        total = Meter(*sums)
        total.seconds, total.waited_s = total.seconds / world.size, total.waited_s / world.size
        return total

    @property
    def mean_loss(self) -> float:
        """The mean loss of a sample."""
        return self.loss / max(self.samples, 1)

    @property
    def error(self) -> float:
        """The share of samples that are wrong, 0 to 1."""
        return self.wrong / max(self.samples, 1)

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / max(self.seconds, 1e-9)

    @property
    def wait_share(self) -> float:
        """The share of the time spent waiting for data, 0 to 1."""
        return self.waited_s / max(self.seconds, 1e-9)


class Outcome(NamedTuple):
    """What a test came to.

    Attributes:
        mean_loss: of a sample.
        error: the share of samples that are wrong, 0 to 1; of videos where there are several clips of each.
    """

    mean_loss: float
    error: float


def shared(meters: Sequence[Meter], num_ranks: int) -> Meter:
    """Return what each of `num_ranks` ranks takes over from the ranks that a run had before."""
    loss, wrong, samples = (
        sum(getattr(meter, name) for meter in meters) / num_ranks
        for name in ("loss", "wrong", "samples")
    )
    seconds, waited_s = (
        sum(getattr(meter, name) for meter in meters) / len(meters)
        for name in ("seconds", "waited_s")
    )
    return Meter(loss, wrong, samples, seconds, waited_s)
