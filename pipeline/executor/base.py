"""What an executor is to the rest of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from typing_extensions import Self

from pipeline.errors import DreamshardsError

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_CRASHES = 3
"""A job whose worker died so often is given up."""

GO_ON = "what is committed is kept; run the same command to go on"


@dataclass(frozen=True)
class Crashed(Generic[Job]):
    """A job that was given up: every attempt ended without a result and without an exception of its own.

    Attributes:
        reason: how often it was tried and what became of the last attempt, one line.
        deadly: whether it is to blame: the process that ran it died again and again.
    """

    job: Job
    reason: str
    deadly: bool = False


class Executor(Protocol):
    """Something that runs independent, idempotent jobs."""

    @property
    def num_workers(self) -> int:
        """How many jobs run at once."""
        ...

    def start(self) -> None:
        """Start or join what runs the jobs; `map` does so too if need be."""
        ...

    def outcomes(
        self,
        function: Callable[[Shared, Job], Result],
        shared: Shared,
        jobs: Iterable[Job],
        *,
        most_crashes: int = MAX_CRASHES,
    ) -> Iterator[Result | Crashed[Job]]:
        """Yield `function(shared, job)` for every job, or that it was given up, in completion order.

        `function` is a module-level function; `shared` reaches each node once, its arrays read-only and
        without a copy per job. Jobs are drawn as they are needed. A job that was lost with its worker or
        node, or that raised a `PassingFault`, is run again, so it must do no harm to run twice. One whose
        worker died `most_crashes` times is given up.

        Raises:
            DreamshardsError: there is nothing left that could run jobs.
            Exception: the first one, other than a `PassingFault`, that a job raises; it stops the rest.
        """
        ...

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in completion order, as `outcomes` does.

        Raises:
            DreamshardsError: also the first job that was given up, which stops the rest.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def results(outcomes: Iterable[Result | Crashed[Job]]) -> Iterator[Result]:
    """Yield results until a job was given up.

    Raises:
        DreamshardsError: one was.
    """
    for outcome in outcomes:
        if isinstance(outcome, Crashed):
            raise DreamshardsError(f"{outcome.reason}; {GO_ON}")
        yield outcome
