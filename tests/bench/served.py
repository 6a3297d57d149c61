"""Talking to `tests/bench/peers.py`, which runs other people's readers in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from typing_extensions import Self

SCRIPT = Path(__file__).with_name("peers.py")
PEERS_PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
NO_ENVIRONMENT = "`make peers` makes it measurable"


def peer_versions() -> dict[str, str] | None:
    """Return the packages of `.venv-peers`, or None where `make peers` was not run."""
    if not PEERS_PYTHON.exists():
        return None
    found: dict[str, str] = json.loads(_call(PEERS_PYTHON, "versions"))
    return found


def prepare(kind: str, given: Path, out: Path) -> Path:
    """Convert samples into the format of a peer; return its folder."""
    _call(PEERS_PYTHON, "prepare", kind, given, out)
    return out


def _call(*arguments: Any) -> str:
    python, *rest = map(str, arguments)
    done = subprocess.run(
        [python, "-I", str(SCRIPT), *rest], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"peers.py {' '.join(rest)}: {done.stderr[-2000:]}")
    return done.stdout


class Served:
    """A reader in a process of its own; calling it streams for a while and returns samples/s."""

    def __init__(
        self, kind: str, folder: Path, *, shuffle: bool, batch_size: int, cores: int, threads: int
    ) -> None:
        in_peers = kind in ("ffcv", "litdata", "mosaicml")
        python = PEERS_PYTHON if in_peers else Path(sys.executable)
        order = "random" if shuffle else "sequential"
        self._kind = kind
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed on leaving
        self._process = subprocess.Popen(
            [
                *(python, "-I", SCRIPT, "serve", kind, folder),
                *(f"--order={order}", f"--batch-size={batch_size}"),
                *(f"--cores={cores}", f"--threads={threads}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def start(self) -> None:
        """Wait until the reader is open."""
        self._answer()

    def check(self) -> dict[str, int]:
        """Return the checksum of one pass."""
        return self._ask("check")

    def run(self, seconds: float) -> float:
        """Stream for `seconds`; return samples/s."""
        answer = self._ask(f"run {seconds}")
        return float(answer["samples"] / answer["seconds"])

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"the {self._kind} reader ended: {self._errors.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
