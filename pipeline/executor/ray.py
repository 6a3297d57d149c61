"""Jobs on Ray: on a cluster started here for them, or on one that runs already."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from types import ModuleType
from typing import Any

from typing_extensions import Self

from pipeline.errors import DreamshardsError, UsageError
from pipeline.executor.base import MAX_CRASHES, Crashed, Job, Result, Shared, results
from pipeline.executor.cluster import Cluster
from pipeline.executor.flight import Flight

_CONNECT_TIMEOUT_S = 5
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP2_SETTINGS = 4
"""Ray speaks gRPC, whose servers answer this greeting with a frame of this type (RFC 9113, 3.4)."""
_LEAST_PENDING = 16
"""Jobs in flight on a cluster that has few CPUs, or none yet: what an autoscaler then sees wanted."""


class RayExecutor:
    """Runs each job as a Ray task; starts a local cluster, or joins the one at `address`.

    Ray is started when first needed, so that a recipe whose inputs are wrong fails before that.
    """

    def __init__(
        self,
        address: str | None = None,
        num_workers: int | None = None,
        *,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        """Check the address.

        Args:
            address: of a running cluster, as `ray.init` takes it: 'auto', 'host:port', 'ray://host:port';
                None takes $RAY_ADDRESS, or starts a cluster on this machine, as 'local' always does.
            num_workers: tasks at once; None takes every CPU of the machine, or of the cluster as it is then.
            resources: what each task takes beside one CPU, by Ray's names: custom ones, or `memory` in bytes.
            runtime_env: Ray's, for the workers.

        Raises:
            UsageError: it is no address.
            DreamshardsError: nothing answers there.
        """
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._wanted = num_workers
        self._needs = {"CPU": 1.0, **(resources or {})}
        self._runtime_env = dict(runtime_env or {})
        self._cluster: Cluster | None = None
        self._started = False
        self._put: tuple[Any, Any] | None = None  # what was shared last, and its reference
        if self._address not in (None, "auto", "local"):
            _probe(self._address)

    @property
    def num_workers(self) -> int:
        """How many tasks run at once."""
        if self._wanted is not None:
            return self._wanted
        if not self._joins:
            return len(os.sched_getaffinity(0))
        return max(1, self._connected().num_slots)

    @property
    def _joins(self) -> bool:
        return self._address not in (None, "local")

    def start(self) -> None:
        """Start or join the cluster.

        Raises:
            DreamshardsError: no cluster answers, none can be started, or its nodes run other versions.
        """
        self._connected()

    def outcomes(
        self,
        function: Callable[[Shared, Job], Result],
        shared: Shared,
        jobs: Iterable[Job],
        *,
        most_crashes: int = MAX_CRASHES,
    ) -> Iterator[Result | Crashed[Job]]:
        """Yield `function(shared, job)` for every job, or that it was given up, in completion order.

        Few jobs are in flight. A job whose worker died is tried 3 times; one that was lost with its node, or
        raised a `PassingFault`, 10 times, on other nodes first and with pauses that grow.
        """
        pending = iter(jobs)
        first = list(islice(pending, 1))
        if not first:
            return
        cluster = self._connected()
        if self._put is None or self._put[0] is not shared:
            self._put = shared, cluster.ray.put(shared)
        yield from Flight(
            cluster,
            function,
            self._put[1],
            chain(first, pending),
            window=self._window,
            same_here=not self._joins,
            most_crashes=most_crashes,
        ).run()

    def map(
        self, function: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """Yield `function(shared, job)` for every job, in completion order; the first given up ends it."""
        return results(self.outcomes(function, shared, jobs))

    def on_every_node(
        self, function: Callable[[Shared], Result], shared: Shared
    ) -> dict[str, Result | DreamshardsError]:
        """Run `function(shared)` once on each node that is up, whether or not it takes jobs.

        Returns:
            Results by the node's name; an error where the function raised one or the node did not answer.
        """
        cluster = self._connected()
        cluster.look()
        return cluster.on_every_node(function, shared, cluster.nodes)

    def _window(self) -> int:
        """Return how many jobs may be in flight.

        Twice as many as run: the next one waits on its node for a worker to fall free, and an autoscaler sees
        that more are wanted. On a cluster of others, a number asked for is kept to.
        """
        if not self._joins:
            return 2 * self.num_workers
        if self._wanted is not None:
            return self._wanted
        return max(2 * self._connected().num_slots, _LEAST_PENDING)

    def _connected(self) -> Cluster:
        if self._cluster is not None:
            return self._cluster
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # what Ray says of a lost node, its log included, would go to standard output
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
        import ray

        if not ray.is_initialized():
            self._init(ray)
            self._started = True
        client = (self._address or "").startswith("ray://")  # which may see that one port alone
        head = self._address.removeprefix("ray://") if self._address and client else None
        self._cluster = Cluster(ray, self._needs, head)
        if self._joins:
            self._cluster.check_versions()
        return self._cluster

    def _init(self, ray: ModuleType) -> None:
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        if not self._joins:
            options |= {"num_cpus": self.num_workers, "include_dashboard": False}
        try:
            ray.init(self._address or "local", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = self._address or "this machine"
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            if lines and lines[0].startswith("Version mismatch"):
                raise DreamshardsError(
                    f"the Ray cluster at {where} runs another Ray or Python: {'; '.join(lines[1:])}"
                ) from error
            raise DreamshardsError(
                f"no Ray cluster answers at {where}: {lines[0].rstrip('.')}; start one with "
                "`ray start --head`, correct --ray-address, or leave it out"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the cluster; stop it if it was started here."""
        self._put = None
        if self._started and self._cluster is not None:
            self._cluster.ray.shutdown()
            self._cluster = None


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
