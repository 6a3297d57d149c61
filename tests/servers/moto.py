"""The mock of the moto package."""

from __future__ import annotations

import subprocess
import sys

from tests.servers.base import Server


class Moto(Server):
    """Keeps all in memory: what it holds is gone with it. Takes any key and any secret."""

    num_ports = 1

    def start_processes(self) -> None:
        with (self.folder / "moto.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_one(self, words: list[str]) -> bool:
        return words[1:] == self._command()

    def _command(self) -> list[str]:
        return ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
