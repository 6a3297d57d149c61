"""Jobs in flight on a Ray cluster: few at a time, and again where they were lost.

Ray's own retries are off, so that causes are told apart: a job whose worker dies again and again is given up
soon, one that was lost with its node is not to blame.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pipeline.errors import DreamshardsError, PassingFault
from pipeline.executor.base import GO_ON, Crashed
from pipeline.executor.cluster import Cluster, Node, first_line, last_line, versions_differ
from pipeline.executor.versions import differing, installed

MAX_FAULTS = 10
"""A job that was lost, or that met a fault that may pass, so often is given up."""
_LOOK_S = 2.0
"""How often the cluster's nodes are listed anew."""
_LONGEST_PAUSE_S = 30.0
_NODE_OF_MESSAGE = re.compile(r"\bID: ([0-9a-f]{56})\b")


@dataclass(frozen=True)
class _Fault:
    """What a worker returns of a job that raised a `PassingFault`: on which node, and its message."""

    node: str
    reason: str


@dataclass
class _Attempt:
    """A job and what became of it so far.

    Attributes:
        tried: ids of the nodes where it met a fault.
    """

    job: Any
    crashes: int = 0
    faults: int = 0
    reason: str = ""
    tried: set[str] = field(default_factory=set)


class Flight:
    """Runs `function(shared, job)` for jobs drawn as workers fall free."""

    def __init__(
        self,
        cluster: Cluster,
        function: Callable[[Any, Any], Any],
        shared: Any,
        jobs: Iterable[Any],
        *,
        window: Callable[[], int],
        same_here: bool,
        most_crashes: int,
    ) -> None:
        """Prepare it.

        Args:
            shared: a reference to what all jobs share.
            window: says how many jobs may be in flight now.
            most_crashes: of its worker, after which a job is given up.
            same_here: whether each worker process runs on the very installation of this process.
        """
        self._cluster, self._ray = cluster, cluster.ray
        self._arguments = None if same_here else installed(), function, shared
        self._fresh = map(_Attempt, jobs)
        self._window, self._most_crashes = window, most_crashes
        needs = dict(cluster.needs)
        own = {"num_cpus": needs.pop("CPU"), "memory": int(needs.pop("memory", 0)) or None}
        self._task = self._ray.remote(_call)
        self._options = {"max_retries": 0, "resources": needs, **own}
        self._running: dict[Any, _Attempt] = {}
        self._waiting: list[tuple[float, int, _Attempt]] = []
        self._serial = count()
        self._given_up_in_a_row = 0
        self._looked = time.monotonic()

    def run(self) -> Iterator[Any]:
        """Yield results and `Crashed` jobs in completion order; a job's other exceptions are raised."""
        try:
            while True:
                self._fill()
                if not self._running and not self._waiting:
                    return
                for reference in self._ready():
                    outcome = self._settle(reference, self._running.pop(reference))
                    self._fill()
                    if outcome is not None:
                        yield outcome[0]
                if time.monotonic() - self._looked > _LOOK_S:
                    self._cluster.look()
                    self._looked = time.monotonic()
        finally:
            for left in self._running:
                self._ray.cancel(left, force=False)

    def _fill(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._submit(heapq.heappop(self._waiting)[2])
        room = self._window() - len(self._running) - len(self._waiting)
        while room > 0:
            attempt = next(self._fresh, None)
            if attempt is None:
                return
            self._submit(attempt)
            room -= 1

    def _submit(self, attempt: _Attempt) -> None:
        strategy: Any = "SPREAD"
        others = self._not_tried(attempt)
        if attempt.tried and others:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            other = others[next(self._serial) % len(others)]
            strategy = NodeAffinitySchedulingStrategy(
                other.id, soft=True
            )  # soft: if it is still up
        task = self._task.options(scheduling_strategy=strategy, **self._options)
        self._running[task.remote(*self._arguments, attempt.job)] = attempt

    def _not_tried(self, attempt: _Attempt) -> list[Node]:
        return [node for node in self._cluster.workers if node.id not in attempt.tried]

    def _ready(self) -> list[Any]:
        """Wait a little for jobs to end; return all that have."""
        patience = _LOOK_S
        if self._waiting:
            patience = min(patience, max(0.0, self._waiting[0][0] - time.monotonic()))
        if not self._running:
            time.sleep(patience)
            return []
        running = list(self._running)
        ready, _ = self._ray.wait(running, num_returns=1, timeout=patience)
        if ready and len(running) > 1:
            ready, _ = self._ray.wait(running, num_returns=len(running), timeout=0)
        return list(ready)

    # ── what became of a job ──

    def _settle(self, reference: Any, attempt: _Attempt) -> tuple[Any] | None:
        """Return a job's outcome in a tuple, or None if it will run again."""
        errors = self._ray.exceptions
        try:
            result = self._ray.get(reference)
        except errors.WorkerCrashedError:
            return self._again(attempt, "WorkerCrashedError: its worker process died", crashed=True)
        except errors.LocalRayletDiedError as error:
            raise DreamshardsError(
                f"Ray on this machine is gone (its raylet died); {GO_ON}"
            ) from error
        except errors.OutOfMemoryError as error:
            attempt.tried |= set(_NODE_OF_MESSAGE.findall(str(error))[:1])
            reason = (
                "Ray ended it because its node ran low on memory; lower --workers, or declare what "
                "a task needs, such as --ray-resources memory=4GB"
            )
            return self._again(attempt, reason)
        except (
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.ObjectStoreFullError,
            errors.OutOfDiskError,
            errors.TaskCancelledError,
        ) as error:
            return self._again(attempt, first_line(error))
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayError) or not isinstance(error.cause, Exception):
                raise self._not_run(error) from error
            raise error.cause from None
        except errors.RayError as error:
            raise self._not_run(error) from error
        if isinstance(result, _Fault):
            attempt.tried.add(result.node)
            return self._again(attempt, result.reason)
        self._given_up_in_a_row = 0
        return (result,)

    def _again(
        self, attempt: _Attempt, reason: str, crashed: bool = False
    ) -> tuple[Crashed[Any]] | None:
        attempt.crashes += crashed
        attempt.faults += not crashed
        times = attempt.crashes + attempt.faults
        deadly = attempt.crashes >= self._most_crashes
        if deadly or attempt.faults >= MAX_FAULTS:
            reason = f"Ray lost a job {times} times ({reason})"
            self._given_up_in_a_row += not crashed
            if self._given_up_in_a_row > self._window():
                raise DreamshardsError(f"no job succeeds any more: {reason}; {GO_ON}")
            return (Crashed(attempt.job, reason, deadly),)
        elsewhere = bool(self._not_tried(attempt)) and times == 1
        pause = 0.0 if elsewhere else min(_LONGEST_PAUSE_S, 0.5 * 2 ** (times - 1))
        heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._serial), attempt))
        return None

    def _not_run(self, error: Exception) -> DreamshardsError:
        """Return the error that a job could not even be started; other versions are the likely cause."""
        try:
            self._cluster.check_versions()
        except DreamshardsError as found:
            return found
        return DreamshardsError(f"Ray could not run a job: {last_line(error)}; {GO_ON}")


def _call(
    expected: dict[str, str] | None, function: Callable[[Any, Any], Any], shared: Any, job: Any
) -> Any:
    """Run a job in a worker; `expected` is what must be installed here, if that is to be checked."""
    if expected is not None and differing(installed(), expected):
        raise DreamshardsError(
            versions_differ([f"node {_this_node()[1]}: {differing(installed(), expected)}"])
        )
    try:
        return function(shared, job)
    except PassingFault as fault:
        return _Fault(_this_node()[0], str(fault))


def _this_node() -> tuple[str, str]:
    """Return the id and the name of the node that this worker runs on."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    return node, f"{ray.util.get_node_ip_address()} ({node[:8]})"
