"""A connection to a Ray cluster: its nodes, what is installed on them, and whether its head still answers."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from pipeline.errors import DreamshardsError
from pipeline.executor.base import GO_ON
from pipeline.executor.versions import ABSENT, differing, installed

HEAD_PATIENCE_S = 30.0
"""How long a head may not answer; Ray itself ends the process after 60 s, without an exception."""
_CONNECT_TIMEOUT_S = 2.0
_NODE_PATIENCE_S, _CHECK_PATIENCE_S = 120.0, 30.0
"""How long a node may take to start a worker and answer, and how long a build waits for that to begin."""
_SHOWN = 8


class NoAnswerError(DreamshardsError):
    """A node that was asked went away, or did not answer in time."""


class Node(NamedTuple):
    """One node that is up.

    Attributes:
        id: Ray's, 56 hex digits.
        name: what a person calls it: its name or address, with a part of `id` where others share that.
        slots: how many tasks it can run at once.
    """

    id: str
    name: str
    slots: int


class Cluster:
    """What is known of a cluster that this process is connected to."""

    def __init__(self, ray: ModuleType, needs: Mapping[str, float], head: str | None) -> None:
        """Look at the nodes.

        Args:
            ray: the module, initialised.
            needs: what each task takes, by resource.
            head: host:port that the head listens at; None is where its own processes find it.
        """
        self.ray = ray
        self.needs = dict(needs)
        self.head: str = head or ray.get_runtime_context().gcs_address
        self._answered = time.monotonic()
        self._told = False
        self.nodes: list[Node] = []
        self.look()

    @property
    def workers(self) -> list[Node]:
        """The nodes that can run tasks."""
        return [node for node in self.nodes if node.slots]

    @property
    def num_slots(self) -> int:
        """How many tasks the cluster can run at once."""
        return sum(node.slots for node in self.nodes)

    def look(self) -> None:
        """Learn which nodes are up now.

        Raises:
            DreamshardsError: the head has not answered for `HEAD_PATIENCE_S`.
        """
        now = time.monotonic()
        if not self._head_listens():
            if now - self._answered > HEAD_PATIENCE_S:
                raise DreamshardsError(
                    f"the head of the Ray cluster at {self.head} has not answered for "
                    f"{now - self._answered:.0f} s: it, or the way to it, is gone; {GO_ON}"
                )
            return
        self._answered = now
        up = [node for node in self.ray.nodes() if node["Alive"]]
        names = [node["NodeName"] or node["NodeManagerAddress"] for node in up]
        self.nodes = [
            Node(
                node["NodeID"],
                name if names.count(name) == 1 else f"{name} ({node['NodeID'][:8]})",
                self._slots(node["Resources"]),
            )
            for node, name in zip(up, names, strict=True)
        ]
        self._tell_if_none()

    def _head_listens(self) -> bool:
        host, _, port = self.head.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S):
                return True
        except OSError:
            return False

    def _slots(self, resources: Mapping[str, float]) -> int:
        return min(
            int(resources.get(name, 0) / amount) for name, amount in self.needs.items() if amount
        )

    def _tell_if_none(self) -> None:
        if self.num_slots:
            self._told = False
        elif not self._told:
            self._told = True
            needs = ", ".join(f"{name} {amount:g}" for name, amount in self.needs.items())
            count = len(self.nodes)
            print(
                f"waiting for a node: none of the {count} of the Ray cluster offers {needs}",
                file=sys.stderr,
                flush=True,
            )

    def on_every_node(
        self,
        function: Callable[[Any], Any],
        shared: Any,
        nodes: list[Node],
        patience_s: float = _NODE_PATIENCE_S,
    ) -> dict[str, Any | DreamshardsError]:
        """Return `function(shared)` of each node by its name, or why it could not be had."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self.ray.remote(function)
        asked = {}
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            asked[task.options(**options).remote(shared)] = node.name
        answered, silent = [], list(asked)
        if asked:
            answered, silent = self.ray.wait(silent, num_returns=len(silent), timeout=patience_s)
        found = {asked[reference]: self._answer(reference) for reference in answered}
        for reference in silent:
            self.ray.cancel(reference, force=False)
            text = f"it did not answer within {patience_s:.0f} s"
            found[asked[reference]] = NoAnswerError(text)
        return {name: found[name] for name in asked.values()}

    def _answer(self, reference: Any) -> Any | DreamshardsError:
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except (errors.NodeDiedError, errors.TaskUnschedulableError, errors.WorkerCrashedError):
            return NoAnswerError("it went away when it was asked")
        except errors.OutOfMemoryError:
            return NoAnswerError("it is so low on memory that Ray ended what asked it")
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, DreamshardsError):
                return cause
            return DreamshardsError(last_line(error))

    def check_versions(self) -> None:
        """Compare what is installed on the nodes that run tasks with what is installed here.

        Raises:
            DreamshardsError: it differs; the message names nodes and versions.
        """
        faults = []
        answers = self.on_every_node(asking(), None, self.workers, _CHECK_PATIENCE_S)
        for name, found in answers.items():
            if isinstance(found, NoAnswerError):
                continue  # a worker there will look before its first job
            if isinstance(found, DreamshardsError):
                faults.append(f"node {name}: {found}")
            elif found is None:
                faults.append(
                    f"node {name}: dreamshards {ABSENT}, here {installed()['dreamshards']}"
                )
            elif differing(found, installed()):
                faults.append(f"node {name}: {differing(found, installed())}")
        if faults:
            raise DreamshardsError(versions_differ(faults))


def asking() -> Callable[[Any], dict[str, str] | None]:
    """Return a function that returns what is installed where it runs, None if this code is not.

    Being nested it travels with its code, and so runs where this package cannot be imported.
    """

    def ask(_: Any) -> dict[str, str] | None:
        try:
            from pipeline.executor import versions
        except ImportError:
            return None
        return versions.installed()

    return ask


def versions_differ(faults: list[str]) -> str:
    """Return the message that nodes cannot take part, given a line for each."""
    lines = faults[:_SHOWN] + [f"and {len(faults) - _SHOWN} more"] * (len(faults) > _SHOWN)
    return (
        "the Ray cluster's nodes must run the same versions as this process:\n  "
        + "\n  ".join(lines)
        + "\ninstall the same wheel there, or send the code along: --ray-runtime-env, or ray job submit"
    )


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {_lines(error)[0]}"


def last_line(error: Exception) -> str:
    """Return the last line of what an error says: of one that Ray brought from a worker, its cause."""
    return _lines(error)[-1]


def _lines(error: Exception) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines or [type(error).__name__]
