"""The order over ranks: exactly once, equal and non-empty batches, resumable anywhere, in closed form."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError
from pipeline.stream.schedule import Schedule


def slow_spans(num: int, batch: int, ranks: int, start: int = 0) -> list[list[tuple[int, int]]]:
    """The definition, step by step: the spans of each rank at each step."""
    steps, position = [], start
    while position < num:
        remaining = num - position
        take = min(batch * ranks, remaining)
        if 0 < remaining - take < ranks:
            take = remaining // 2
        edges = [position + take * rank // ranks for rank in range(ranks + 1)]
        steps.append(list(pairwise(edges)))
        position += take
    return steps


def spans(schedule: Schedule) -> list[list[tuple[int, int]]]:
    ranks = range(schedule.world_size)
    return [[schedule.share(step, rank) for rank in ranks] for step in range(schedule.num_steps)]


def schedule_or_none(*fields: int, **options: int | bool) -> Schedule | None:
    try:
        return Schedule(*fields, **options)
    except DreamshardsError:
        return None


def assert_fair(schedule: Schedule, steps: list[list[tuple[int, int]]]) -> None:
    """Every position from the start on once and in order; no batch empty or too large."""
    flat = [span for step in steps for span in step]
    edges = [schedule.start, *(stop for _, stop in flat)]
    assert [start for start, _ in flat] == edges[:-1]
    assert edges[-1] == schedule.num_samples
    assert all(0 < stop - start <= schedule.batch_size for start, stop in flat)


SIZES = st.integers(1, 700)
BATCHES = st.integers(1, 40)
RANKS = st.integers(1, 16)


@given(SIZES, BATCHES, RANKS, st.data())
@settings(max_examples=400, deadline=None)
def test_closed_form_is_the_definition_and_fair(num, batch, ranks, data):
    start = data.draw(st.integers(0, num))
    schedule = schedule_or_none(num, batch, ranks, start=start)
    possible = num - start >= ranks and (batch > 1 or (num - start) % ranks == 0)
    assert (schedule is not None) == (possible or start == num)
    if schedule is not None:
        assert spans(schedule) == slow_spans(num, batch, ranks, start)
        assert_fair(schedule, spans(schedule))
        ends = [schedule.position(step) for step in range(schedule.num_steps + 1)]
        assert ends == [start, *(step[-1][1] for step in spans(schedule))]


@given(SIZES, BATCHES, RANKS, st.data())
@settings(max_examples=200, deadline=None)
def test_drop_last_takes_the_full_steps_alone(num, batch, ranks, data):
    start = data.draw(st.integers(0, num))
    schedule = schedule_or_none(num, batch, ranks, drop_last=True, start=start)
    full = batch * ranks
    assert (schedule is None) == (start == 0 and num < full)
    if schedule is not None:
        assert schedule.num_steps == (num - start) // full
        flat = [span for step in spans(schedule) for span in step]
        edges = [start + batch * i for i in range(len(flat) + 1)]
        assert flat == list(pairwise(edges))


@pytest.mark.parametrize("ranks", range(1, 17))
def test_every_number_of_ranks_and_workers_shares_out_the_same_steps(ranks):
    for num in (ranks, 97, 1437):
        if num < ranks:
            continue
        schedule = Schedule(num, 8, ranks)
        assert_fair(schedule, spans(schedule))
        for workers in range(
            1, 9
        ):  # each takes every workers-th step, the loader asks them in turn
            turns = [list(range(j, schedule.num_steps, workers)) for j in range(workers)]
            order = [
                turns[i % workers][i // workers]
                for i in range(schedule.num_steps)
                if i // workers < len(turns[i % workers])
            ]
            assert order == list(range(schedule.num_steps))


@given(st.integers(40, 400), BATCHES, RANKS, BATCHES, RANKS, st.data())
@settings(max_examples=200, deadline=None)
def test_stopped_anywhere_and_resumed_on_any_ranks_reads_the_rest_once(
    num, batch, ranks, other_batch, other_ranks, data
):
    before = schedule_or_none(num, batch, ranks)
    if before is None:
        return
    step = data.draw(st.integers(0, before.num_steps))
    position = before.position(step)
    after = schedule_or_none(num, other_batch, other_ranks, start=position)
    rest = num - position
    possible = rest >= other_ranks and (other_batch > 1 or rest % other_ranks == 0)
    assert (after is not None) == (possible or rest == 0)
    if after is not None:
        read = [span for taken in spans(before)[:step] + spans(after) for span in taken]
        assert [i for span in read for i in range(*span)] == list(range(num))
    again = Schedule(num, batch, ranks, start=position)
    assert spans(again) == spans(before)[step:]  # the same as if it had not stopped


def test_four_ranks_to_three_at_every_step_twice_over():
    num, first = 1437, Schedule(1437, 16, 4)
    for step in range(first.num_steps + 1):
        second = Schedule(num, 16, 3, start=first.position(step))
        middle = second.num_steps // 2
        third = Schedule(num, 5, 4, start=second.position(middle))
        read = [*spans(first)[:step], *spans(second)[:middle], *spans(third)]
        positions = [i for step_spans in read for span in step_spans for i in range(*span)]
        assert positions == list(range(num))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((3, 8, 4), "3 samples are fewer than 4 ranks, so that a rank would get none; use 3 ranks or fewer"),
        ((10, 1, 4), "10 samples in batches of 1 do not share out equally among 4 ranks; take batch_size 2"),
        ((10, 0, 1), "batch_size = 0; allowed: whole numbers from 1"),
        ((10, 2.5, 1), "batch_size = 2.5; allowed: whole numbers from 1"),
        ((10, 2, 0), "world_size = 0; allowed: whole numbers from 1"),
        ((100, 30, 4, True), "100 samples make no full step of 30 × 4 ranks; take batch_size up to 25 or"),
        ((3, 30, 4, True), "3 samples are fewer than 4 ranks; use 3 ranks or fewer"),
        ((10, 2, 4, False, 8), "the remaining 2 samples are fewer than 4 ranks, so that a rank would"),
        ((10, 2, 1, False, 11), "position 11 is not in an epoch of 10 samples"),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused_with_the_numbers(fields, message):
    with pytest.raises(DreamshardsError) as refusal:
        Schedule(*fields)
    assert message in str(refusal.value)
    if fields[:3] == (10, 2, 4):
        assert str(refusal.value).endswith("or begin the next epoch with set_epoch")
