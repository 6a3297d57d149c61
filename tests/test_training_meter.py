"""Accounts of a pass: sums, the share of waiting, and what ranks take over from others."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from training.losses import Losses, count_wrong
from training.meter import Meter, shared
from training.world import World

ALONE = World(0, 1, torch.device("cpu"), None)


def test_waiting_is_told_from_working() -> None:
    def slow() -> Iterator[int]:
        for number in range(4):
            time.sleep(0.02)
            yield number

    meter = Meter()
    seen = []
    for number in meter.waiting(slow()):
        seen.append(number)
        time.sleep(0.03)
    assert seen == [0, 1, 2, 3]
    assert 0.08 <= meter.waited_s < 0.14
    assert 0.20 <= meter.seconds < 0.30
    assert 0.25 < meter.wait_share < 0.6


def test_losses_add_up_to_those_of_all_samples() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 4), torch.randint(0, 4, (10,))
    meter = Meter()
    losses = Losses(meter)
    for rows in (slice(0, 3), slice(3, 10)):
        loss = functional.cross_entropy(logits[rows], labels[rows])
        losses.add([str(i) for i in range(10)[rows]], loss, logits[rows], labels[rows])
    assert len(losses) == 2
    assert losses.look() is None
    assert len(losses) == 0
    assert meter.mean_loss == pytest.approx(functional.cross_entropy(logits, labels).item())
    assert meter.samples == 10
    assert meter.error == int((logits.argmax(1) != labels).sum()) / 10


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_no_number_is_named(bad: float) -> None:
    meter = Meter()
    losses = Losses(meter)
    logits, labels = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    for keys, loss in ((["a", "b"], 1.0), (["c", "d"], bad), (["e", "f"], math.nan)):
        losses.add(keys, torch.tensor(loss), logits, labels)
    assert losses.look() == f"the loss is {bad} on the 2 samples from c to d"
    assert meter.samples == 2


def test_the_largest_share_is_the_label() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    shares = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.7, 0.3]])
    assert count_wrong(logits, shares).item() == 1
    assert count_wrong(logits, torch.tensor([0, 2])).item() == 0


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_other_ranks_take_over_the_same_sums(num_ranks: int) -> None:
    before = [Meter(3.0, 1.0, 10.0, 2.0, 0.5), Meter(5.0, 3.0, 11.0, 4.0, 0.7)]
    each = shared(before, num_ranks)
    assert each.samples * num_ranks == pytest.approx(21)
    assert each.loss * num_ranks == pytest.approx(8)
    assert each.wrong * num_ranks == pytest.approx(4)
    assert (each.seconds, each.waited_s) == (3.0, pytest.approx(0.6))


def test_one_process_sums_to_itself() -> None:
    meter = Meter(3.0, 1.0, 10.0, 2.0, 0.5)
    assert meter.summed(ALONE) == meter
    assert ALONE.any(True, False) == [True, False]
    assert ALONE.gather("a") == ["a"]
