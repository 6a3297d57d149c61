"""Progress is one line on a terminal, and elsewhere a plain line now and then."""

from __future__ import annotations

import pytest

import pipeline.progress
from pipeline.progress import PlainProgress, ShardProgress, human_bytes, human_seconds, plural


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a one-item list: the time that the module sees."""
    now = [1000.0]
    monkeypatch.setattr(pipeline.progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_now_and_then_and_count_this_run_alone(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardProgress(10, 800, done_shards=2) as progress:
        for _ in range(8):
            clock[0] += 4
            progress.advance(100, 500_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "shards 5/10  25 samples/s  1.5 MB  ETA 20 s",
        "shards 8/10  25 samples/s  3 MB  ETA 8.0 s",
    ]


def test_short_work_prints_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ShardProgress(1, 100) as progress:
        clock[0] += 2
        progress.advance(100, 500_000)
    plain = PlainProgress("scanning x", 10, "files")
    plain.show(10)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_that_ends_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with ShardProgress(2, 200) as progress:
        progress.advance(100, 500_000)
        progress.advance(100, 500_000)
    err = capsys.readouterr().err
    assert "shards 2/2" in err
    assert "━" in err
    assert "1 MB" in err


def test_amounts_read_well() -> None:
    assert [human_bytes(n) for n in (0, 999, 1500, 1.02e9, 3e15)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "1.02 GB",
        "3 PB",
    ]
    assert [human_seconds(s) for s in (0.42, 12, 59.7, 200, 7500)] == [
        "0.4 s",
        "12 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [plural(n, "shard") for n in (0, 1, 1200)] == ["0 shards", "1 shard", "1,200 shards"]
