"""Which positions each rank reads at each step of a pass. Pure arithmetic, constant time, no I/O.

An epoch's positions are its order: it was shuffled when it was built. A step takes the next
min(B·W, what remains) positions for W ranks with batches of B. If that left fewer than W for the last step,
the two last steps share what remains instead. So each rank gets the same number of batches, none of them
empty, every sample comes once, and what a step takes depends only on where it starts: a pass that was
stopped goes on from its position with any other B and W.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import DreamshardsError


@dataclass(frozen=True)
class Schedule:
    """The steps of one pass from position `start` to `num_samples`.

    Attributes:
        num_samples: positions in the epoch.
        batch_size: most samples of a rank in a step.
        world_size: ranks.
        drop_last: take only full steps of batch_size·world_size; what remains is not read.
        start: the first position to read.
    """

    num_samples: int
    batch_size: int
    world_size: int = 1
    drop_last: bool = False
    start: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DreamshardsError(f"{name} = {value!r}; allowed: whole numbers from 1")
        if not 0 <= self.start <= self.num_samples:
            raise DreamshardsError(
                f"position {self.start:,} is not in an epoch of {self.num_samples:,} samples"
            )
        if self._remaining > 0:
            self._refuse_impossible()

    @property
    def _remaining(self) -> int:
        return self.num_samples - self.start

    @property
    def _full(self) -> int:
        return self.batch_size * self.world_size

    def _refuse_impossible(self) -> None:
        remaining, ranks = self._remaining, self.world_size
        what = (
            f"{remaining:,} samples" if self.start == 0 else f"the remaining {remaining:,} samples"
        )
        if self.drop_last:
            if self.start == 0 and remaining < self._full:
                raise DreamshardsError(
                    f"{what} make no full step of {self.batch_size:,} × {ranks:,} ranks; "
                    f"take batch_size up to {remaining // ranks:,} or drop_last=False"
                    if remaining >= ranks
                    else f"{what} are fewer than {ranks:,} ranks; use {remaining:,} ranks or fewer"
                )
        elif remaining < ranks:
            remedy = "" if self.start == 0 else ", or begin the next epoch with set_epoch"
            raise DreamshardsError(
                f"{what} are fewer than {ranks:,} ranks, so that a rank would get none; "
                f"use {remaining:,} ranks or fewer{remedy}"
            )
        elif self.batch_size == 1 and remaining % ranks:
            raise DreamshardsError(
                f"{what} in batches of 1 do not share out equally among {ranks:,} ranks; "
                "take batch_size 2 or more, or drop_last=True"
            )

    @property
    def num_steps(self) -> int:
        """Steps from `start` to the end; the same for every rank."""
        if self.drop_last:
            return self._remaining // self._full
        return -(-self._remaining // self._full)

    def position(self, step: int) -> int:
        """Return the first position of a step; for `num_steps`, the position after the last."""
        assert 0 <= step <= self.num_steps
        begun = self.start + step * self._full
        rest = self._remaining % self._full
        if self.drop_last or rest == 0 or step == 0:
            return begun
        if step == self.num_steps:
            return self.num_samples
        if rest < self.world_size and step == self.num_steps - 1:
            return begun - self._full + (self._full + rest) // 2
        return begun

    def share(self, step: int, rank: int) -> tuple[int, int]:
        """Return the positions [start, stop) of one rank at one step."""
        assert 0 <= rank < self.world_size
        begun = self.position(step)
        take = self.position(step + 1) - begun
        return (
            begun + take * rank // self.world_size,
            begun + take * (rank + 1) // self.world_size,
        )
