"""What a run shows: a line an epoch off a terminal, a live line on one, nothing on other ranks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import pipeline.progress
import training.progress
from training.log import log_row
from training.meter import Meter, Outcome
from training.progress import TrainProgress

METER = Meter(loss=64.0, wrong=32.0, samples=128.0, seconds=0.5, waited_s=0.005)
TESTED = Outcome(mean_loss=0.5, error=0.25)
LINE = (
    "epoch  3/12  loss 0.500  error 25.00%  test loss 0.500  error 25.00%  "
    "256 samples/s  waiting 1.00%  0.5 s"
)


def test_a_finished_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(12, 10, shown=True) as shown:
        shown.show(2, 5, METER)  # too soon for a line
        shown.finished(log_row(2, 30, 0.1, METER, TESTED))
        shown.finished(log_row(3, 40, 0.1, METER, None))
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first == LINE
    assert second == "epoch  4/12  loss 0.500  error 25.00%  256 samples/s  waiting 1.00%  0.5 s"
    assert captured.out == ""


def test_a_long_epoch_prints_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = TrainProgress(12, 10, shown=True)
    monkeypatch.setattr(training.progress, "_PLAIN_INTERVAL_S", 0.0)
    shown.show(2, 5, METER)
    assert capsys.readouterr().err == (
        "epoch 3/12  5/10  loss 0.500  accuracy 75.0%  256 samples/s  waiting 1.0%  ETA 9.5 s\n"
    )


def test_other_ranks_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(12, 10, shown=False) as shown:
        shown.show(2, 5, METER)
        shown.finished(log_row(2, 30, 0.1, METER, TESTED))
    assert capsys.readouterr().err == ""


def test_a_terminal_has_one_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    monkeypatch.setattr(pipeline.progress, "Console", lambda stderr: console)
    with TrainProgress(12, 10, shown=True) as shown:
        shown.show(2, 5, METER)
        shown.finished(log_row(2, 30, 0.1, METER, TESTED))
    said = screen.getvalue()
    assert "epoch 3/12" in said
    assert "loss 0.500  accuracy 75.0%" in said
    assert LINE in said
