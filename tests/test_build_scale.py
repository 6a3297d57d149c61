"""What a build takes does not grow with it: the driver from 10³ to 10⁵ shards, a worker over 50 epochs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

BEGINNING = 8
"""Requests of a driver before its first job, with no listing that has more than a page."""


def measured(script: str, *arguments: int | str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.{script}", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """Return what a driver of a thousand shards takes."""
    return measured("scale_driver", 1, 0)


@pytest.mark.slow
def test_a_driver_takes_no_more_for_a_hundred_times_the_shards(small: dict[str, Any]) -> None:
    sizes = [small, measured("scale_driver", 10, 0), measured("scale_driver", 100, 0)]
    print(json.dumps(sizes, indent=1))
    assert [size["shards"] for size in sizes] == [1000, 10_000, 100_000]
    assert [size["built"] for size in sizes] == [1000, 10_000, 100_000]
    assert sizes[2]["dataset_json_mb"] > 30  # it lists them all
    assert [size["asked_before_the_first"] for size in sizes] == [BEGINNING] * 3
    peaks = [size["peak_mb"] for size in sizes]
    assert max(peaks) < 1.15 * min(peaks)


@pytest.mark.slow
def test_a_driver_that_goes_on_lists_page_by_page_and_takes_no_more(small: dict[str, Any]) -> None:
    resumed = measured("scale_driver", 100, 40)
    print(json.dumps(resumed))
    assert (resumed["shards"], resumed["built"]) == (100_000, 60_000)
    assert resumed["asked_before_the_first"] <= BEGINNING + 40_000 * 2 // 1000
    assert resumed["peak_mb"] < 1.15 * small["peak_mb"]


@pytest.mark.slow
def test_a_worker_takes_no_more_after_fifty_epochs_than_after_five() -> None:
    found = measured("scale_worker", 50, "jpg")
    print(json.dumps(found))
    assert found["epochs"] == 50
    assert found["mb_after"][49] < 1.02 * found["mb_after"][4]
