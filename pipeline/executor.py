"""Running jobs: on Ray, or in this process. Knows nothing of pictures; the only module that imports Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Result = TypeVar("Result")


class Executor(Protocol):
    """Something that runs independent, idempotent jobs."""

    num_workers: int

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in completion order.

        `function` is a module-level function; `shared` reaches each node once, its arrays read-only and
        without a copy per job. The first exception of a job stops the rest and is raised here.
        """
        ...

    def close(self) -> None:
        """Release what the executor started."""
        ...


class InlineExecutor:
    """Runs jobs one after another in this process."""

    num_workers = 1

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in order."""
        for job in jobs:
            yield function(shared, job)

    def close(self) -> None:
        """Do nothing: nothing was started."""
