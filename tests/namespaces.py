"""Hosts on a network of their own: network namespaces, each with two links that can be cut. Needs root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
LINKS = ("ray", "store")
"""A host reaches the hub by each; the hub is 10.77.1.1 on the first and 10.77.2.1 on the second."""


class Network:
    """A hub, where this thread is while the network is in use, and hosts around it."""

    def __init__(self, num_hosts: int) -> None:
        """Make the namespaces.

        Raises:
            RuntimeError: this machine does not let us.
        """
        self._names = [f"ds{os.getpid()}-{host}" for host in range(num_hosts + 1)]
        self._hub = self._names[0]
        try:
            for name in self._names:
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            for place, link in enumerate(LINKS, start=1):
                _ip("-n", self._hub, "link", "add", link, "type", "bridge")
                self._address(self._hub, link, place, 1)
                for host in range(1, num_hosts + 1):
                    end = ["peer", "name", link, "netns", self._names[host]]
                    port = _port(link, host)
                    _ip("-n", self._hub, "link", "add", port, "type", "veth", *end)
                    _ip("-n", self._hub, "link", "set", port, "master", link, "up")
                    self._address(self._names[host], link, place, 1 + host)
        except BaseException:
            self.close()
            raise

    def _address(self, name: str, link: str, place: int, last: int) -> None:
        _ip("-n", name, "address", "add", f"10.77.{place}.{last}/24", "dev", link)
        _ip("-n", name, "link", "set", link, "up")

    def address(self, link: str, host: int = 0) -> str:
        """Return the address of a host, or of the hub, on a link."""
        return f"10.77.{1 + LINKS.index(link)}.{1 + host}"

    def cut(self, host: int, link: str) -> None:
        """Have all that is sent over a host's link be lost."""
        _ip("-n", self._hub, "link", "set", _port(link, host), "down")

    def mend(self, host: int, link: str) -> None:
        """Have the link work again."""
        _ip("-n", self._hub, "link", "set", _port(link, host), "up")

    @contextmanager
    def on(self, host: int = 0) -> Iterator[None]:
        """Have this thread, and what it starts, be on a host, or on the hub."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/run/netns/{self._names[host]}")
            yield
        finally:
            _enter(f"/proc/self/fd/{before}")
            os.close(before)

    def close(self) -> None:
        """Remove all of it, once the processes on it are gone."""
        for name in self._names:
            if Path("/run/netns", name).exists():
                _ip("netns", "del", name)


@contextmanager
def network(num_hosts: int) -> Iterator[Network]:
    """Make a network and have this thread be on its hub; skip the test where that is not allowed."""
    try:
        made = Network(num_hosts)
    except RuntimeError as error:
        reason = f"no network namespaces here: {error}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    try:
        with made.on():
            yield made
    finally:
        made.close()


def _port(link: str, host: int) -> str:
    return f"{link}-{host}"


def _ip(*words: str) -> None:
    if shutil.which("ip") is None:
        raise RuntimeError("ip is not installed; run make servers as root")
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _enter(place: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {place}")
    finally:
        os.close(descriptor)
