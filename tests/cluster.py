"""A Ray cluster of several nodes on this machine, to be killed piece by piece and started again.

The nodes are started by a process of their own, `python -m tests.cluster HOST PORT FOLDER`, which adds a
node for each line that it reads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from typing_extensions import Self

from tests.servers import free_ports, wait_until

ROOT = Path(__file__).parents[1]


class Cluster:
    """A head without CPUs, where drivers attach, and nodes of one CPU each.

    Attributes:
        address: host:port; it stays when the whole cluster is killed and started again.
    """

    def __init__(self, num_nodes: int, host: str = "") -> None:
        """Settle on an address, of a host if this machine has several; nothing is started."""
        self.num_nodes, self.host = num_nodes, host
        self.port = free_ports(1)
        self.address = f"{host or '127.0.0.1'}:{self.port}"
        self._nodes: list[psutil.Process] = []

    def start(self) -> None:
        """Start a head and its nodes."""
        self._folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
        command = [sys.executable, "-m", "tests.cluster", self.host, str(self.port), self._folder]
        self._starter = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._head = self._read_pid()
        for _ in range(self.num_nodes):
            self.add_node()

    def add_node(self) -> None:
        """Have another node join."""
        self._starter.stdin.write("\n")  # type: ignore[union-attr]
        self._starter.stdin.flush()  # type: ignore[union-attr]
        self._nodes.append(self._read_pid())

    def join(self, host: str = "", **environment: str) -> None:
        """Have a node join from the host that this thread is on, and return once it takes tasks."""
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", f"--address={self.address}", "--num-cpus=1"]
        command += ["--object-store-memory=100000000"]
        command += [f"--node-ip-address={host}"] if host else []
        subprocess.run(
            command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL
        )

    def _read_pid(self) -> psutil.Process:
        line = self._starter.stdout.readline()  # type: ignore[union-attr]
        assert line, "no node could be started"
        return psutil.Process(int(line))

    def nodes(self) -> list[psutil.Process]:
        """Return the raylets at work."""
        self._nodes = [node for node in self._nodes if _lives(node)]
        return self._nodes

    def workers(self) -> list[psutil.Process]:
        """Return the processes that are making a shard."""
        found = [child for node in self.nodes() for child in _children(node)]
        return [process for process in found if _title(process).startswith("ray::_")]

    def kill(self) -> None:
        """Kill all of it at once: the head, its state, and every node."""
        begun = [self._starter, self._head, *self.nodes()]
        everything = {psutil.Process(each.pid) for each in begun if _lives(each)}
        everything |= {child for process in list(everything) for child in _children(process)}
        everything |= {process for process in psutil.process_iter() if self._is_ours(process)}
        for process in everything:
            _kill(process)
        self._starter.communicate()
        wait_until(lambda: not any(map(_lives, everything)), f"{self.address} is dead")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._nodes = []

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return any(self._folder in word for word in process.cmdline())
        except psutil.Error:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _lives(process: Any) -> bool:
    try:
        return psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""


def _run(host: str, port: int, folder: str) -> None:
    """Start a head, then a node for each line read; say the process of each raylet."""
    from ray.cluster_utils import Cluster as RayCluster

    def add(**options: Any) -> None:
        node = cluster.add_node(**options)
        print(node.all_processes["raylet"][0].process.pid, flush=True)

    cluster = RayCluster()
    place = {"temp_dir": folder} | ({"node_ip_address": host} if host else {})
    add(num_cpus=0, gcs_server_port=port, include_dashboard=False, **place)
    for _ in sys.stdin:
        add(num_cpus=1, **place)


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]), sys.argv[3])
