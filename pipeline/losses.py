"""Shards whose jobs are given up: made without the samples that kill their process, or named at the end.

A shard that kills its process each time is cut into parts, and these again, until single samples are left
that kill it alone, time after time. So what is lost depends on the samples alone, whatever else was killed
meanwhile. Shards given up for any other reason are named at the end, once all others are made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import numpy as np

from pipeline.errors import DreamshardsError
from pipeline.executor import GO_ON, Crashed, Executor
from pipeline.pending import Pending
from pipeline.reuse import build_shards, plan_jobs
from pipeline.shards.layout import ShardName
from pipeline.worker import Lossy, ShardContext, ShardResult, build_shard, build_without, try_span

REASON = "it kills the process that renders it, each time"
_MOST_SHOWN = 20
_PARTS = 8
"""A span is cut into so many: each cut costs the death of a process, which takes a second to replace."""


def make_shards(
    context: ShardContext, pending: Pending, executor: Executor
) -> Iterator[ShardResult]:
    """Yield what became of each pending shard, in completion order.

    Raises:
        DreamshardsError: as `build_shard`, at once; or at the end, for shards that were given up.
    """
    given_up: list[Crashed[ShardName]] = []
    suspects: list[ShardName] = []
    for outcome in _outcomes(context, pending, executor):
        if isinstance(outcome, ShardResult):
            yield outcome
        elif outcome.deadly:
            suspects.append(outcome.job)
        else:
            given_up.append(outcome)
    for outcome in _without_killers(context, suspects, executor) if suspects else ():
        if isinstance(outcome, ShardResult):
            yield outcome
        else:
            given_up.append(outcome)
    if given_up:
        raise _unmade(context, given_up)


def _outcomes(
    context: ShardContext, pending: Pending, executor: Executor
) -> Iterator[ShardResult | Crashed[ShardName]]:
    if context.inputs.recipe.reuse == 1:
        yield from executor.outcomes(build_shard, context, pending)
        return
    for outcome in executor.outcomes(build_shards, context, plan_jobs(context.inputs, pending)):
        if isinstance(outcome, Crashed):
            yield from (Crashed(name, outcome.reason, outcome.deadly) for name in outcome.job)
        else:
            yield from outcome


def _without_killers(
    context: ShardContext, suspects: list[ShardName], executor: Executor
) -> Iterator[ShardResult | Crashed[ShardName]]:
    """Yield what becomes of shards that killed their process, made without the samples that do it."""
    for name in suspects:
        print(
            f"{name.tar}: its process was killed each time; looking for the sample that does it",
            file=sys.stderr,
            flush=True,
        )
    jobs: list[Lossy] = []
    for name, found in find_killers(context, suspects, executor).items():
        if isinstance(found, Crashed):
            yield found
        else:
            jobs.append(Lossy(name, tuple(sorted(found)), REASON))
    for outcome in executor.outcomes(build_without, context, jobs):
        if isinstance(outcome, Crashed):
            yield Crashed(outcome.job.name, outcome.reason, outcome.deadly)
        else:
            yield outcome


def find_killers(
    context: ShardContext, names: Iterable[ShardName], executor: Executor
) -> dict[ShardName, list[int] | Crashed[ShardName]]:
    """Return the positions of each shard whose sample kills its process whenever it is made alone.

    In their place stands why a shard could not be searched.
    """
    found: dict[ShardName, list[int] | Crashed[ShardName]] = {name: [] for name in names}
    of_span = {(name.epoch, name.shard): name for name in found}
    spans = [part for name in found for part in _parts(name)]
    while spans:
        smaller: list[ShardName] = []
        single = [span for span in spans if span.stop - span.start == 1]
        longer = [span for span in spans if span.stop - span.start > 1]
        outcomes = chain(
            executor.outcomes(
                try_span, context, longer, most_crashes=1
            ),  # its parts are tried again
            executor.outcomes(try_span, context, single),
        )
        for outcome in outcomes:
            if not isinstance(outcome, Crashed):
                continue
            span = outcome.job
            name = of_span[span.epoch, span.shard]
            positions = found[name]
            if not outcome.deadly:
                found[name] = Crashed(name, outcome.reason)
            elif span.stop - span.start > 1:
                smaller += _parts(span)
            elif isinstance(positions, list):
                positions.append(span.start)
        spans = smaller
    return found


def _parts(span: ShardName) -> list[ShardName]:
    edges = np.linspace(span.start, span.stop, _PARTS + 1).round().astype(int).tolist()
    pairs = pairwise(edges)
    return [span._replace(start=start, stop=stop) for start, stop in pairs if stop > start]


def _unmade(context: ShardContext, given_up: list[Crashed[ShardName]]) -> DreamshardsError:
    given_up = sorted(given_up, key=lambda crashed: crashed.job)
    lines = [f"  {crashed.job.tar}: {crashed.reason}" for crashed in given_up[:_MOST_SHOWN]]
    if len(given_up) > _MOST_SHOWN:
        lines.append(f"  … and {len(given_up) - _MOST_SHOWN:,} more")
    listed = "\n".join(lines)
    return DreamshardsError(
        f"{context.store}: {len(given_up):,} shards could not be made\n{listed}\nall others are; {GO_ON}"
    )
