"""Files that kill the process that decodes them, a fault of a decoder: found, and left out as unreadable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from typing_extensions import Self

from pipeline.errors import DreamshardsError
from pipeline.executor import Crashed, Executor
from pipeline.executor.base import GO_ON

DEADLY = "kills the process that decodes it"
"""Why such a file is unreadable."""


class FileJob(Protocol):
    """A job that decodes some files."""

    @property
    def names(self) -> Sequence[str]:
        """Of its files."""
        ...

    def only(self, name: str) -> Self:
        """Return a job of one of them."""
        ...

    def sparing(self, names: frozenset[str]) -> Self:
        """Return the same job, which decodes none of `names` and says of each that it is `DEADLY`."""
        ...


Shared = TypeVar("Shared")
Job = TypeVar("Job", bound=FileJob)
Result = TypeVar("Result")


def surviving(
    executor: Executor,
    function: Callable[[Shared, Job], Result],
    shared: Shared,
    jobs: Iterable[Job],
) -> Iterator[Result]:
    """Yield `function(shared, job)` for every job, in completion order, as `Executor.map` does.

    Of a job whose process died again and again each file is decoded alone. Those that kill their process
    then too are spared, and the job runs once more.

    Raises:
        DreamshardsError: a job was given up for another reason, or for one that no file alone explains.
        Exception: what a job raises.
    """
    for outcome in executor.outcomes(function, shared, jobs):
        if not isinstance(outcome, Crashed):
            yield outcome
        elif outcome.deadly:
            deadly = _deadly(executor, function, shared, outcome.job)
            yield from executor.map(function, shared, [outcome.job.sparing(deadly)])
        else:
            raise DreamshardsError(f"{outcome.reason}; {GO_ON}")


def _deadly(
    executor: Executor, function: Callable[[Shared, Job], Result], shared: Shared, job: Job
) -> frozenset[str]:
    """Return the files of a job that kill the process that decodes them alone."""
    if len(job.names) == 1:
        return frozenset(job.names)
    alone = executor.outcomes(function, shared, map(job.only, job.names))
    given_up = [outcome for outcome in alone if isinstance(outcome, Crashed)]
    return frozenset(each.job.names[0] for each in given_up if each.deadly)
