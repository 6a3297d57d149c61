"""One server for all processes that test against it, which ends with the last of them, however that ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.base import Server

S = TypeVar("S", bound=Server)


@contextmanager
def serve(kind: type[S], folder: Path) -> Iterator[S]:
    """Start a server in a folder, or join the one at work there.

    Each user holds a shared lock, which the kernel releases should it be killed. A watch waits for an
    exclusive one: it then kills the server and removes its folder.
    """
    skip_without(kind)
    users = _join(folder)
    try:
        with (folder / "starting").open("ab") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            server = kind(folder)  # the first settles on its ports
            if not server.processes():
                command = [sys.executable, "-m", "tests.servers", kind.__name__, str(folder)]
                subprocess.Popen(
                    command,
                    cwd=Path(__file__).parents[2],
                    stdout=subprocess.DEVNULL,  # else whoever reads this user's waits for the last one's
                    start_new_session=True,
                )
                server.start()
        yield server
    finally:
        os.close(users)


def _join(folder: Path) -> int:
    """Return the descriptor of a folder's shared lock; make the folder anew if a watch removes it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            users = os.open(folder / "users", os.O_CREAT | os.O_RDWR)
            fcntl.flock(users, fcntl.LOCK_SH)
            if os.fstat(users).st_nlink:
                return users
            os.close(users)


def watch(kind: type[Server], folder: Path) -> None:
    """Wait until nobody uses the server any more; kill it and remove its folder."""
    with (folder / "users").open("ab") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        kind(folder).kill()
        shutil.rmtree(folder, ignore_errors=True)


def shared_folder(name: str, factory: pytest.TempPathFactory) -> Path:
    """Return the same folder in each process of a test session."""
    folder = factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / name


def skip_without(kind: type[Server]) -> None:
    """Skip the test if the server is not installed; fail where CI is set, which must have it."""
    reason = kind.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
