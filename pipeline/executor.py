"""Running jobs: on Ray, or in this process. Knows nothing of pictures; the only module that imports Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any, Protocol, TypeVar

from typing_extensions import Self

from pipeline.errors import DreamshardsError, UsageError

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Result = TypeVar("Result")

_CONNECT_TIMEOUT_S = 5
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP2_SETTINGS = 4
"""Ray speaks gRPC, whose servers answer this greeting with a frame of this type (RFC 9113, 3.4)."""
_MAX_RETRIES = 5
"""How often a job is run again after its worker or node was lost."""


class Executor(Protocol):
    """Something that runs independent, idempotent jobs."""

    @property
    def num_workers(self) -> int:
        """How many jobs run at once."""
        ...

    def start(self) -> None:
        """Start or join what runs the jobs; `map` does so too if need be."""
        ...

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in completion order.

        `function` is a module-level function; `shared` reaches each node once, its arrays read-only and
        without a copy per job. The first exception of a job stops the rest and is raised here.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class InlineExecutor:
    """Runs jobs one after another in this process."""

    num_workers = 1

    def start(self) -> None:
        """Do nothing: there is nothing to start."""

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


class RayExecutor:
    """Runs each job as a Ray task; starts a local cluster, or joins the one at `address`.

    Ray is started when first needed, so that a recipe whose inputs are wrong fails before that.
    """

    def __init__(self, address: str | None = None, num_workers: int | None = None) -> None:
        """Check the address.

        Args:
            address: of a running cluster, as `ray.init` takes it: 'auto', 'host:port', 'ray://host:port';
                None takes $RAY_ADDRESS, or starts a cluster on this machine, as 'local' always does.
            num_workers: tasks at once; None takes every CPU of the machine or cluster.

        Raises:
            UsageError: it is no address.
            DreamshardsError: nothing answers there.
        """
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._wanted = num_workers
        self._ray: ModuleType | None = None
        self._started = False
        self._put: tuple[Any, Any] | None = None  # what was shared last, and its reference
        if self._address not in (None, "auto", "local"):
            _probe(self._address)

    @property
    def num_workers(self) -> int:
        """How many tasks run at once."""
        if self._wanted is not None:
            return self._wanted
        if self._address in (None, "local"):
            return len(os.sched_getaffinity(0))
        return int(self._connected().cluster_resources().get("CPU", 1))

    def start(self) -> None:
        """Start or join the cluster.

        Raises:
            DreamshardsError: no cluster answers, or none can be started.
        """
        self._connected()

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in completion order; few jobs are in flight."""
        pending = iter(jobs)
        first = list(islice(pending, 1))
        if not first:
            return
        ray = self._connected()
        # Twice as many tasks as CPUs: the next one waits on its node for a worker to fall free. On a
        # cluster of others, a number asked for is kept to.
        joined = self._address not in (None, "local")
        window = self._wanted if joined and self._wanted else 2 * self.num_workers
        task = ray.remote(_call).options(num_cpus=1, max_retries=_MAX_RETRIES)
        if self._put is None or self._put[0] is not shared:
            self._put = shared, ray.put(shared)
        reference = self._put[1]
        running = [task.remote(function, reference, job) for job in first]
        running += [task.remote(function, reference, job) for job in islice(pending, window - 1)]
        try:
            while running:
                done, running = ray.wait(running, num_returns=1)
                running += [task.remote(function, reference, job) for job in islice(pending, 1)]
                yield self._result(ray, done[0])
        finally:
            for left in running:
                ray.cancel(left, force=False)

    def _result(self, ray: ModuleType, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise DreamshardsError(
                f"Ray lost a job {_MAX_RETRIES + 1} times ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); what is committed is kept; run the same command to go on"
            ) from error

    def _connected(self) -> ModuleType:
        if self._ray is not None:
            return self._ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if not ray.is_initialized():
            options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            if self._address in (None, "local"):
                options |= {"num_cpus": self.num_workers, "include_dashboard": False}
            try:
                ray.init(self._address or "local", **options)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise DreamshardsError(
                    f"no Ray cluster answers at {self._address or 'this machine'}: "
                    f"{str(error).splitlines()[0].rstrip('.')}; start one with `ray start --head`, "
                    "correct --ray-address, or leave it out"
                ) from error
            self._started = True
        self._ray = ray
        return self._ray

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the cluster; stop it if it was started here."""
        self._put = None
        if self._started and self._ray is not None:
            self._ray.shutdown()


def _call(function: Callable[[Shared, Job], Result], shared: Shared, job: Job) -> Result:
    return function(shared, job)


def _probe(address: str) -> None:
    """Fail within seconds, in one line, where Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(
            f"--ray-address: got {address!r}; allowed: auto, local, host:port or ray://host:port"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S) as peer:
            peer.sendall(_HTTP2_GREETING)
            reply = peer.recv(9)
        if len(reply) < 4 or reply[3] != _HTTP2_SETTINGS:
            raise ConnectionError("something else than Ray listens there")
    except (OSError, OverflowError) as error:
        raise DreamshardsError(
            f"no Ray cluster answers at {address}: {error}; start one with `ray start --head`, "
            "correct --ray-address, or leave it out"
        ) from error
