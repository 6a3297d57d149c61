"""A process that dies without a word has its last words printed, and one that ends by itself has not."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Runner

WORDS = "it is over; 'go' on with $this"


def ended(inner: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import os, signal, sys
from pipeline.last_words import last_words
with last_words({WORDS!r}):
    {inner}
print("told", file=sys.stderr)
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("os._exit(1)", 1),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.setsid(); os.killpg(0, signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_a_death_is_told(inner: str, code: int) -> None:
    done = ended(inner)
    assert done.returncode == code
    assert done.stderr == WORDS + "\n"


@pytest.mark.parametrize(
    ("inner", "code", "last"),
    [
        ("pass", 0, "told"),
        ("sys.exit(3)", 3, ""),
        ("raise ValueError('x')", 1, "ValueError: x"),
        (
            "raise KeyboardInterrupt",
            -signal.SIGINT,
            "KeyboardInterrupt",
        ),
    ],
)
def test_an_end_of_its_own_is_not(inner: str, code: int, last: str) -> None:
    done = ended(inner)
    assert done.returncode == code
    assert WORDS not in done.stderr
    assert done.stderr.strip().rpartition("\n")[2] == last


def test_on_a_terminal_it_has_a_line_of_its_own() -> None:
    ours, theirs = pty.openpty()
    program = f"""
import os, sys
from pipeline.last_words import last_words
with last_words({WORDS!r}):
    print("shards 3/9", end="", file=sys.stderr, flush=True)
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", program], stderr=theirs, timeout=120, check=False)
    text = ""
    while WORDS not in text:
        text += os.read(ours, 1000).decode()
    os.close(ours)
    os.close(theirs)
    assert text.startswith(f"shards 3/9\r\n{WORDS}")


@pytest.mark.slow
def test_a_build_that_is_killed_says_how_to_go_on(dreamshards: Runner, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "build", "digits", "--inline", "--out", "r"]
    command += ["--set", "mixing_set.count=8", "shards.samples_per_shard=20"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("r/epoch-*/*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert re.search(
        r"^dreamshards: error: this process was ended by a signal.*; what is committed is kept; "
        r"run the same command to go on\n\Z",
        errors,
        re.MULTILINE,
    ), errors
    assert dreamshards(*command[3:]).returncode == 0
