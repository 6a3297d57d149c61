"""Jobs in this process, one after another: for tiny builds, and to debug."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from typing_extensions import Self

from pipeline.executor.base import MAX_CRASHES, Crashed, Job, Result, Shared


class InlineExecutor:
    """Runs jobs one after another in this process, each once: what a job raises is raised here."""

    num_workers = 1

    def start(self) -> None:
        """Do nothing: there is nothing to start."""

    def outcomes(
        self,
        function: Callable[[Shared, Job], Result],
        shared: Shared,
        jobs: Iterable[Job],
        *,
        most_crashes: int = MAX_CRASHES,
    ) -> Iterator[Result | Crashed[Job]]:
        """Yield `function(shared, job)` for every job, in order."""
        return self.map(function, shared, jobs)

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in order."""
        for job in jobs:
            yield function(shared, job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: nothing was started."""
