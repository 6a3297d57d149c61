"""The cache of pieces: its limit, its users at once, those that are killed, and disks that are full."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DreamshardsError
from pipeline.stream import cache as module
from pipeline.stream.cache import RangeCache

FORK = multiprocessing.get_context("fork")
COUNTER = 16
"""Bytes of the file that counts the others."""


def held(folder: Path) -> int:
    """Return the bytes of all files at one moment."""
    counter = module._locked(folder / ".bytes", time.monotonic() + 60)
    try:
        found = [entry.stat() for entry in os.scandir(folder) if not vanished(entry)]
    finally:
        module._release(counter)
    return sum({status.st_ino: status.st_size for status in found}.values())


def vanished(entry: os.DirEntry[str]) -> bool:
    """Tell whether it was the empty file of one that waits, gone since it was listed."""
    try:
        entry.stat()
    except FileNotFoundError:
        return True
    return False


def content_of(key: int) -> bytes:
    return np.random.default_rng(key).bytes(1000 + 37 * (key % 90))


def read(cache: RangeCache, key: int) -> None:
    content = content_of(key)
    assert cache.fetch("a/b.tar", key, len(content), lambda: content) == content


def read_on(folder: Path, max_bytes: int, seed: int, times: int, begun=None) -> None:
    """Read at random, most often the same few; the process ends with 1 if anything is wrong."""
    chance, cache = random.Random(seed), RangeCache(folder, max_bytes, "d")
    for turn in range(times):
        read(cache, int(chance.paretovariate(0.3)) % 60)
        if turn == 0 and begun is not None:
            begun.release()


def start(*arguments) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=read_on, args=arguments)
    process.start()
    return process


# ── the limit ──


def put(cache: RangeCache, start: int, content: bytes, file: str = "a/b.tar") -> None:
    assert cache.fetch(file, start, len(content), lambda: content) == content


def test_it_keeps_its_limit_and_what_was_used_last(tmp_path):
    most = 1000 + COUNTER
    cache = RangeCache(tmp_path, most, "d")
    for start in range(9):
        put(cache, start, bytes([start]) * 196)
        assert held(tmp_path) <= most
        os.utime(tmp_path / f"d-a.b.tar-{start}-196", (1000 + start, 1000 + start))
        if start == 4:
            assert cache.get("a/b.tar", 0, 196) == bytes(196)  # used, so it stays
    assert cache.get("a/b.tar", 0, 196) == bytes(196)
    assert [cache.get("a/b.tar", start, 196) is not None for start in range(1, 9)] == [
        False
    ] * 4 + [True] * 4
    put(cache, 99, bytes(2000))  # more than the limit: not kept, and nothing goes for it
    assert cache.get("a/b.tar", 99, 2000) is None
    assert held(tmp_path) == most
    assert RangeCache(tmp_path, most, "e").get("a/b.tar", 0, 196) is None


def test_what_is_taken_away_or_added_by_others_is_counted_in_the_end(tmp_path):
    cache = RangeCache(tmp_path, 1000 + COUNTER, "d")
    for start in range(5):
        put(cache, start, bytes(196))
    for path in tmp_path.glob("d-*"):
        path.unlink()
    for start in range(5):
        put(cache, start, bytes(196))
    assert held(tmp_path) == 1000 + COUNTER
    (tmp_path / ".bytes").write_bytes(b"")  # as where a disk was full
    put(cache, 9, bytes(196))
    assert held(tmp_path) == 1000 + COUNTER
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    put(cache, 1, bytes(196))
    assert cache.get("a/b.tar", 1, 196) == bytes(196)


def test_many_entries_go_one_by_one_without_a_listing_for_each(tmp_path, monkeypatch):
    listings, original = 0, os.scandir

    def scandir(folder):
        nonlocal listings
        listings += 1
        return original(folder)

    monkeypatch.setattr(module.os, "scandir", scandir)
    cache = RangeCache(tmp_path, 100 * 200 + COUNTER, "d")
    for start in range(300):
        put(cache, start, bytes(196))
    assert listings == 1 + 2  # at first, then whenever all that were listed are gone
    kept = [cache.get("a/b.tar", start, 196) is not None for start in range(300)]
    assert kept == [False] * 200 + [True] * 100


def test_a_damaged_entry_is_fetched_again(tmp_path):
    cache, content = RangeCache(tmp_path, 10**6, "d"), bytes(range(200))
    put(cache, 0, content)
    (path,) = tmp_path.glob("d-*")
    for damaged in (content, content[:-1] + b"x" + path.read_bytes()[200:], b"", bytes(204)):
        path.write_bytes(damaged)
        assert cache.get("a/b.tar", 0, 200) is None
        put(cache, 0, content)
        assert cache.get("a/b.tar", 0, 200) == content
    cache.discard("a/b.tar", 0, 200)
    assert cache.get("a/b.tar", 0, 200) is None


# ── several at once ──


def test_what_several_want_at_once_is_fetched_by_one(tmp_path):
    cache, content, asked = RangeCache(tmp_path, 10**6, "d"), bytes(500), []
    together, found = threading.Barrier(6), []

    def ask() -> bytes:
        asked.append(1)
        deadline = time.monotonic() + 0.2  # the others come meanwhile
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return content

    def want() -> None:
        together.wait()
        found.append(bytes(cache.fetch("a", 0, 500, ask)))

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(asked)) == ([content] * 6, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bytes", "d-a-0-500"]


def test_one_that_takes_too_long_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.05)
    cache, content = RangeCache(tmp_path, 10**6, "d"), bytes(500)

    def slow() -> bytes:
        put(cache, 0, content, "a")  # it is wanted again while it is fetched
        return content

    assert cache.fetch("a", 0, 500, slow) == content
    assert cache.get("a", 0, 500) == content


def test_an_error_leaves_nothing_and_the_next_tries(tmp_path):
    cache = RangeCache(tmp_path, 10**6, "d")

    def fail() -> bytes:
        raise DreamshardsError("no")

    for _ in range(2):
        with pytest.raises(DreamshardsError, match="no"):
            cache.fetch("a", 0, 500, fail)
    assert list(tmp_path.iterdir()) == []
    put(cache, 0, bytes(500), "a")


def test_a_process_forked_while_it_is_fetched_does_not_hold_it(tmp_path):
    cache, content, children = RangeCache(tmp_path, 10**6, "d"), bytes(500), []

    def ask() -> bytes:
        children.append(FORK.Process(target=time.sleep, args=(60,)))
        children[0].start()
        return content

    assert cache.fetch("a", 0, 500, ask) == content
    begun = time.monotonic()
    cache.discard("a", 0, 500)
    put(cache, 0, content, "a")
    assert cache.get("a", 0, 500) == content
    assert time.monotonic() - begun < 30
    children[0].kill()
    children[0].join()


@pytest.mark.slow
def test_killed_fifty_times_then_read_by_eight_at_once(tmp_path):
    most, chance = 30_000, random.Random(0)
    begun = FORK.Semaphore(0)
    for seed in range(50):
        process = start(tmp_path, most, seed, 10**6, begun)
        assert begun.acquire(timeout=60)
        time.sleep(chance.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert held(tmp_path) <= most
    for path in tmp_path.glob("d-*"):  # whole, every one
        key = int(path.name.split("-")[2])
        assert path.read_bytes()[:-4] == content_of(key)
    processes = [start(tmp_path, most, 100 + seed, 150) for seed in range(8)]
    while any(process.is_alive() for process in processes):
        assert held(tmp_path) <= most
        time.sleep(0.005)
    assert [process.exitcode for process in processes] == [0] * 8
    kept = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert len(kept) > 5
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".d-")]
    cache = RangeCache(tmp_path, most, "e")
    for key in range(40):  # what the killed had begun is in nobody's way
        read(cache, key)
    assert not [path for path in left if path.exists()]


def test_leftovers_of_killed_processes_go(tmp_path):
    old, new = tmp_path / ".old", tmp_path / ".new"
    for path in (old, new):
        path.write_bytes(bytes(100))
    making = module._locked(new, 0.0)
    put(RangeCache(tmp_path, 1000, "d"), 0, bytes(10), "a")
    assert not old.exists()
    assert new.exists()
    module._release(making)


# ── where it cannot be written ──


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_warning_and_reading_goes_on(small_disk):
    cache = RangeCache(small_disk, 10**7, "d")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(2):
            for key in range(60):
                read(cache, key)
    assert [str(each.message) for each in found] == [
        f"cache_dir {small_disk}: {os.strerror(errno.ENOSPC)}; reading on"
    ]
    assert held(small_disk) <= 1 << 16
    assert len(list(small_disk.glob("d-*"))) > 5
    assert not list(small_disk.glob(".d-*"))


def test_a_folder_that_is_gone_is_one_warning(tmp_path):
    cache = RangeCache(tmp_path / "c", 10**6, "d")
    (tmp_path / "c").rmdir()
    with pytest.warns(UserWarning, match="No such file or directory; reading on"):
        read(cache, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(cache, 2)
