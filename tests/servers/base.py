"""What every store server of the tests is: started, killed and started again, and looked into."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "bkt"
"""Every server has it."""

_START_S = 60
_PORTS = range(20000, 32000)
"""Below those that the kernel gives to clients, so that they stay free while a server is down."""


class Server(ABC):
    """An S3 store in a folder of its own.

    Attributes:
        endpoint: URL.
        access_key, secret_key: of a user who owns `BUCKET`.
        environment: variables that make pyarrow, boto3 and Dreamshards use it.
    """

    num_ports: ClassVar[int]
    access_key, secret_key = "AKID", "SECRETKEY"
    checksums: ClassVar[str | None] = None

    def __init__(self, folder: Path) -> None:
        """Settle on free ports; nothing is started."""
        self.folder = folder.absolute()
        self.port = self._settle_ports()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    @classmethod
    def missing(cls) -> str | None:
        """Return what must be installed before it can be started, None if nothing."""
        return None

    @property
    def environment(self) -> dict[str, str]:
        found = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return found | (
            {"AWS_REQUEST_CHECKSUM_CALCULATION": self.checksums} if self.checksums else {}
        )

    # ── its processes ──

    def start(self) -> None:
        """Start it, or start it again, and return once it answers."""
        self.start_processes()
        wait_until(self._answers, f"{self.endpoint} answers, see {self.folder}")

    restart = start

    @abstractmethod
    def start_processes(self) -> None: ...

    def kill(self, kind: signal.Signals = signal.SIGKILL) -> None:
        """Kill all its processes at once, and return once they are gone."""
        killed = self.processes()
        for process in killed:
            process.send_signal(kind)
        ports = range(self.port, self.port + self.num_ports)
        wait_until(
            lambda: not any(map(_lives, killed)) and not any(map(listens, ports)),
            f"{self.endpoint} is dead",
        )

    def processes(self) -> list[psutil.Process]:
        """Return its processes: those whose command line names its folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "exe"]):
            words = process.info["cmdline"] or []
            if process.pid != os.getpid() and _lives(process) and self.is_one(words):
                found.append(process)
        return found

    def is_one(self, words: list[str]) -> bool:
        """Tell whether a command line is that of one of its processes."""
        return any(word.startswith(f"{self.folder}/") for word in words)

    def run(self, *command: str, **options: Any) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"

    def _settle_ports(self) -> int:
        chosen = self.folder / "port"
        if not chosen.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            chosen.write_text(str(free_ports(self.num_ports)))
        return int(chosen.read_text())

    def _answers(self) -> bool:
        client = self.client()
        try:
            if BUCKET not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key=".started", Body=b"")
            client.delete_object(Bucket=BUCKET, Key=".started")
        except (BotoCoreError, ClientError):
            return False
        return True

    # ── its content ──

    def client(self) -> Any:
        """Return a client of boto3, which tries a request once."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=30,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process and its children reach it by the environment, for one test."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def uri(self, prefix: str) -> str:
        """Return a root in the bucket; `environment` says how it is reached."""
        return f"s3://{BUCKET}/{prefix}"

    def full_uri(self, prefix: str, endpoint: str | None = None) -> str:
        """Return a root in the bucket with all that is needed to reach it, at a proxy's endpoint too."""
        keys = ":".join(quote(key, safe="") for key in (self.access_key, self.secret_key))
        options = f"endpoint={quote(endpoint or self.endpoint, safe='')}&region=us-east-1"
        options += f"&checksums={self.checksums}" if self.checksums else ""
        return f"s3://{keys}@{BUCKET}/{prefix}?{options}"

    def tree(self, prefix: str) -> dict[str, str]:
        """Return the SHA-256 of every object below a prefix, by what follows it."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{prefix}/"
        ):
            for entry in page.get("Contents", []):
                content = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                digest = hashlib.sha256(content).hexdigest()
                found[entry["Key"].removeprefix(f"{prefix}/")] = digest
        return found

    def uploads(self, prefix: str) -> list[str]:
        """Return the keys of unfinished uploads below a prefix, once for each upload."""
        pages = self.client().get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET)
        found = [entry["Key"] for page in pages for entry in page.get("Uploads", [])]
        return [key for key in found if key.startswith(f"{prefix}/")]


def free_ports(num: int) -> int:
    """Return the first of `num` neighbouring ports that nobody listens at."""
    chance = random.SystemRandom()
    for _ in range(1000):
        first = chance.randrange(_PORTS.start, _PORTS.stop - num)
        if all(_is_free(port) for port in range(first, first + num)):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(
    true: Callable[[], bool], what: str | Callable[[], str], seconds: float = _START_S
) -> None:
    """Return once it is true; fail after some time, saying what was waited for, or what was there instead."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, (
            f"not in {seconds} s: {what if isinstance(what, str) else what()}"
        )
        time.sleep(0.02)
