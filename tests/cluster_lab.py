"""Ray clusters of several nodes on this machine, each driven by a process of its own, and jobs for them."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DreamshardsError, PassingFault
from pipeline.executor import versions

ROOT = Path(__file__).parents[1]


class Lab:
    """A process that owns a cluster and drives it; functions are run there one after another."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.submit(function, *arguments).result(timeout=200)


@contextlib.contextmanager
def lab(folder: Path, *nodes: dict[str, Any], connect: bool = True, **head: Any) -> Iterator[Lab]:
    """Start a cluster with a head that takes no jobs, and these nodes; the driver's folder is `folder`."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_begin, folder, nodes, {"num_cpus": 0, **head}, connect).result(timeout=200)
            try:
                yield Lab(pool)
            finally:
                pool.submit(_end).result(timeout=60)
    finally:
        os.environ.pop("PYTHONPATH")
        if path is not None:
            os.environ["PYTHONPATH"] = path


_QUICK = {"health_check_period_ms": 1000, "health_check_failure_threshold": 4}
"""A node that is silent for so long is dead; Ray's own 15 s would be spent waiting."""

CLUSTER: Any = None
"""In the lab's process: its cluster."""


def _begin(
    folder: Path, nodes: tuple[dict[str, Any], ...], head: dict[str, Any], connect: bool
) -> None:
    global CLUSTER
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "^"  # before Ray is imported
    from ray.cluster_utils import Cluster

    os.chdir(folder)
    settings = {"include_dashboard": False, "_system_config": _QUICK, **head}
    CLUSTER = Cluster(initialize_head=True, head_node_args=settings)
    for node in nodes:
        add_node(node, wait=False)
    CLUSTER.wait_for_nodes()
    if connect:  # and stay so: workers are then kept from one test to the next
        executor().start()


def _end() -> None:
    import ray

    ray.shutdown()
    CLUSTER.shutdown()


def add_node(settings: dict[str, Any], wait: bool = True) -> Any:
    small = {"num_cpus": 1, "object_store_memory": 100 << 20}
    return CLUSTER.add_node(wait=wait, **{**small, **settings})


def kill_node(node: Any) -> None:
    """Kill a node's raylet and all its workers at one blow."""
    import psutil

    (raylet,) = node.all_processes["raylet"]
    for process in (
        psutil.Process(raylet.process.pid),
        *psutil.Process(raylet.process.pid).children(),
    ):
        process.kill()
    CLUSTER.worker_nodes.discard(node)


def executor(**options: Any) -> Any:
    from pipeline.executor import RayExecutor

    return RayExecutor(CLUSTER.address, **options)


# ── jobs ──


def node_id() -> str:
    import ray

    found: str = ray.get_runtime_context().get_node_id()
    return found


def where(seconds: float, job: int) -> tuple[int, str]:
    time.sleep(seconds)
    return job, node_id()


def where_mapped(array: np.ndarray, job: int) -> tuple[str, int, str, int]:
    """Return the node, the process, and which part of which file the array is a view of."""
    time.sleep(0.3)
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, device, inode, *_ = line.split()
        start, stop = (int(end, 16) for end in span.split("-"))
        if start <= address < stop:
            return node_id(), os.getpid(), f"{device} {inode}", address - start
    raise AssertionError("mapped nowhere")


def fault_on(bad: str | None, job: int) -> tuple[int, str]:
    """Fail on one node, or on every one."""
    if bad is None or node_id() == bad:
        raise PassingFault(f"job {job} found no room")
    time.sleep(0.05)
    return job, node_id()


def digest_here(shared: int) -> tuple[int, str, str]:
    return shared, node_id(), versions.source_digest()


def fail_here(shared: int) -> None:
    raise DreamshardsError("not on this node")


# ── what the lab's process does ──


def run_where(seconds: float, num: int, **options: Any) -> list[tuple[int, str]]:
    with executor(**options) as ray:
        return sorted(ray.outcomes(where, seconds, range(num)))


def run_mapped() -> list[tuple[str, int, str, int]]:
    with executor() as ray:
        return list(ray.map(where_mapped, np.zeros(20_000_000, np.uint8), range(16)))


def run_with_a_node_lost() -> tuple[list[tuple[int, str]], str]:
    """Kill a node after a few results; return the results, and its id."""
    node = add_node({})
    found = []
    with executor() as ray:
        for outcome in ray.outcomes(where, 0.2, range(40)):
            found.append(outcome)
            if len(found) == 8:
                kill_node(node)
    return sorted(found), node.node_id


def run_with_a_node_gained(**options: Any) -> tuple[list[tuple[int, str]], list[int], str]:
    """Add a node after a few results; return the results, how many were drawn by then, and its id."""
    found, drawn, node = [], [], None

    def jobs() -> Iterator[int]:
        for job in range(60):
            drawn.append(job)
            yield job

    with executor() as ray:
        for outcome in ray.outcomes(where, 0.2, jobs()):
            found.append(outcome)
            if len(found) == 4:
                before = len(drawn)
                node = add_node(options)
    assert node is not None
    return sorted(found), before, node.node_id


def run_faults(everywhere: bool) -> tuple[list[Any], str]:
    from pipeline.executor import flight

    flight._LONGEST_PAUSE_S = 0.01
    with executor() as ray:
        ray.start()
        bad = ray._connected().workers[0].id
        return list(ray.outcomes(fault_on, None if everywhere else bad, range(12))), bad


def run_on_every_node() -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    import ray

    up = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    with executor() as cluster:
        return cluster.on_every_node(digest_here, 2), cluster.on_every_node(fail_here, 2), up


def error_of(function: Callable[..., Any], *arguments: Any) -> tuple[str, float]:
    """Return the message of the error that a function ends with, and the seconds it took."""
    begun = time.monotonic()
    try:
        function(*arguments)
    except DreamshardsError as error:
        return str(error), time.monotonic() - begun
    raise AssertionError("no error")


def kill_of_head(*servers: str) -> None:
    for server in servers:
        CLUSTER.head_node.all_processes[server][0].process.kill()


def address() -> str:
    found: str = CLUSTER.address
    return found


def run_beside_another(installed_at: Path, late: bool) -> tuple[str, str]:
    """Have a node with another installation, before the start or after it; return the error and its id."""
    with executor() as ray:
        if late:
            ray.start()
        node = add_node({"env_vars": {"PYTHONPATH": str(installed_at)}})
        try:
            list(ray.outcomes(where, 0.1, range(500)))
        except DreamshardsError as error:
            return str(error), node.node_id
        finally:
            CLUSTER.remove_node(node)
    raise AssertionError("no error")


def run_where_spot_joins_late() -> tuple[list[tuple[int, str]], str, str]:
    """Ask for a resource that no node has, then add one with it; return what was said before, too."""
    said, added = io.StringIO(), []

    def jobs() -> Iterator[int]:
        yield 0
        added.append(add_node({"resources": {"spot": 1}, "num_cpus": 4}))
        yield from range(1, 10)

    with contextlib.redirect_stderr(said), executor(resources={"spot": 0.5}) as ray:
        ray.start()
        before = said.getvalue()
        found = sorted(ray.outcomes(where, 0.01, jobs()))
    CLUSTER.remove_node(added[0])
    return found, added[0].node_id, before


def run_where_memory_is_short(seconds: float) -> tuple[list[tuple[int, str]], str]:
    """Add a node whose memory monitor kills every task that it sees; return the results, and its id."""
    monitor = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "50"}
    node = add_node({"env_vars": monitor, "num_cpus": 2})
    try:
        with executor() as ray:
            return sorted(ray.outcomes(where, seconds, range(8))), node.node_id
    finally:
        CLUSTER.remove_node(node)


def run_with_runtime_env(content: dict[str, Any], name: str) -> str:
    """Read a variable of the environment in a job of a driver of its own."""
    import ray

    ray.shutdown()
    with executor(runtime_env=content) as cluster:
        (found,) = cluster.map(variable, name, [0])
        return found


def variable(name: str, job: int) -> str:
    return os.environ[name]
