"""What `reserve` does on file systems that can and cannot, and what a reader of the result sees."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import publish


@pytest.mark.skipif(publish._fallocate is None, reason="this system has no fallocate")
def test_a_reserved_file_is_as_long_as_asked_and_reads_as_zeros(tmp_path: Path) -> None:
    with (tmp_path / "x").open("xb") as file:
        publish.reserve(file, 10_000)
        file.write(b"abc")
    content = (tmp_path / "x").read_bytes()
    assert content == b"abc" + bytes(9_997)
    assert (tmp_path / "x").stat().st_blocks * 512 >= 10_000


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_lack_of_room_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    failing(monkeypatch, reason)
    with (tmp_path / "x").open("xb") as file, pytest.raises(OSError) as caught:  # noqa: PT011
        publish.reserve(file, 100)
    assert caught.value.errno == reason
    assert caught.value.strerror == os.strerror(reason)


@pytest.mark.parametrize("reason", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_it_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    failing(monkeypatch, reason)
    with (tmp_path / "x").open("xb") as file:
        publish.reserve(file, 100)
        file.write(b"abc")
    assert (tmp_path / "x").read_bytes() == b"abc"


def failing(monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    monkeypatch.setattr(publish, "_fallocate", lambda *arguments: -1)
    monkeypatch.setattr(publish.ctypes, "get_errno", lambda: reason)


@pytest.mark.slow
def test_a_shard_past_the_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    program = f"import resource; {limit}\nfrom pipeline.cli import main; raise SystemExit(main())"
    words = ["build", "digits", "--inline", "--out", "d"]
    words += ["--set", "source.split=test", "epochs=1", "mixing_set.count=8"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert not list(tmp_path.rglob("shard-*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
