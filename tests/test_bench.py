"""The bench's own arithmetic, and its peers: the same samples come out of each reader as went in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.executor import InlineExecutor
from pipeline.inputs import open_inputs
from pipeline.recipe import load_recipe
from tests.bench import remote, stream
from tests.bench.core import Pair, Row, Spread, alternate, compare, machine, ratio_of, table
from tests.bench.peers import checksum, turn
from tests.bench.roots import Repeated, build_root, photographs, tiled, write_input
from tests.bench.served import SCRIPT, Served

ROWS = [
    Row("fast", "peer", 2.0, Spread(30, 20, 40), Spread(10, 10, 10), Spread(3, 2, 4)),
    Row("slow", "peer", 4.0, Spread(3e6, 2e6, 4e6), Spread(1e6, 1e6, 1e6), Spread(3, 2, 4)),
    Row("free", "peer", None, Spread(30, 20, 40), Spread(10, 10, 10), Spread(3, 2, 4)),
    Row("gone", "peer", 1.0, Spread(30, 20, 40), why="it is elsewhere"),
]


def test_sides_take_turns_after_one_run_each_and_every_second_round_goes_backwards():
    calls = []

    def side(name: str):
        return lambda: calls.append(name) or float(len(calls))

    rates = alternate({"a": side("a"), "b": side("b")}, 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert rates == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_ratios_are_paired_by_round():
    # the machine slows down from round to round: the ratio of medians would be 200 / 50
    assert ratio_of([300, 200, 90], [100, 50, 30]) == (3, 3, 4)


def test_a_row_passes_at_its_target_and_not_below():
    rates = {"ours": [2.0, 4.0, 6.0], "theirs": [2.0, 2.0, 2.0]}
    pairs = [Pair("x", "ours", "theirs", target) for target in (2.0, 2.01, None)]
    rows = compare(pairs, rates, {})
    assert [row.passed for row in rows] == [True, False, None]
    assert [row.verdict for row in rows] == ["pass", "FAIL", ""]
    assert rows[0].ours_rate == (4, 2, 6)
    assert rows[0].ratio == (2, 1, 3)


@pytest.mark.parametrize("absent", ["ours", "theirs"])
def test_what_is_missing_says_why_and_the_other_side_keeps_its_rate(absent):
    rates = {"ours": [2.0], "theirs": [1.0]}
    del rates[absent]
    (row,) = compare([Pair("x", "ours", "theirs", 1.0)], rates, {absent: "no such reader"})
    assert row.passed is None
    assert row.verdict == "— not measured: no such reader"
    assert (row.ours_rate is None, row.peer_rate is None) == (absent == "ours", absent == "theirs")


def test_the_table_in_plain_text():
    assert table(ROWS).splitlines() == [
        "what  ours /s                           peer  peer /s                           "
        "ours / peer        target",
        "fast  30 [20, 40]                       peer  10 [10, 10]                       "
        "3.00 [2.00, 4.00]  ≥ 2     pass",
        "slow  3,000,000 [2,000,000, 4,000,000]  peer  1,000,000 [1,000,000, 1,000,000]  "
        "3.00 [2.00, 4.00]  ≥ 4     FAIL",
        "free  30 [20, 40]                       peer  10 [10, 10]                       "
        "3.00 [2.00, 4.00]",
        "gone  30 [20, 40]                       peer                                    "
        "                   ≥ 1     — not measured: it is elsewhere",
    ]


def test_the_table_in_markdown():
    lines = table(ROWS, markdown=True).splitlines()
    assert lines[0] == "| what | ours /s | peer | peer /s | ours / peer | target |  |"
    assert lines[1] == "|---|---|---|---|---|---|---|"
    assert (
        lines[2] == "| fast | 30 [20, 40] | peer | 10 [10, 10] | 3.00 [2.00, 4.00] | ≥ 2 | pass |"
    )
    assert {line.count("|") for line in lines} == {8}


def test_the_machine_lines_name_the_versions_of_both_environments():
    first, ours, peers = machine(7, {"python": "3.11.0", "ffcv": "1.0.2"}).splitlines()
    assert "7 rounds" in first
    assert f"numpy {np.__version__}" in ours
    assert peers == "peers: python 3.11.0, ffcv 1.0.2"
    assert len(machine(7, None).splitlines()) == 2


# ── peers ──


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a raw root of 720 samples and a root of 40 JPEGs, and both as peers take them."""
    folder = tmp_path_factory.mktemp("bench")
    common = ["source.split=test", "mixing_set.count=24"]
    raw = open_inputs(load_recipe("digits", common), InlineExecutor())
    assert build_root(raw, 700, folder / "npy" / "root") == 720
    jpeg = raw._replace(recipe=load_recipe("digits", [*common, "shards.codec=jpg"]))
    build_root(jpeg, 1, folder / "jpg" / "root")
    for codec in ("npy", "jpg"):
        write_input(folder / codec / "root", folder / codec / "input")
    return folder


def expected(work: Path) -> dict[str, int]:
    images, labels = (
        np.load(work / "npy" / "input" / f"{name}.npy") for name in ("images", "labels")
    )
    return checksum([(images, labels)])


@pytest.mark.slow
def test_a_repeated_source_has_unique_ids_and_the_same_pictures():
    source = open_inputs(load_recipe("digits", ["source.split=test"]), InlineExecutor()).source
    twice = Repeated(source, 361)
    assert len(twice.labels) == len(set(twice.ids.to_pylist())) == 720
    assert np.array_equal(twice.read(365), source.read(5))
    assert twice.labels[365] == source.labels[5]


def test_a_tiled_source_has_unique_ids_and_the_same_pictures():
    source = open_inputs(load_recipe("digits", ["source.split=test"]), InlineExecutor()).source
    twice = tiled(source, 361)
    assert len(twice.labels) == len(set(twice.ids.to_pylist())) == 720
    assert np.array_equal(twice.read(365), source.read(5))
    assert np.array_equal(twice.labels, np.tile(source.labels, 2))
    assert len(tiled(source, 360).labels) == 360


def test_the_photographs_build_past_their_number(tmp_path):
    assert build_root(photographs(), 4, tmp_path) == 4
    assert len(list(tmp_path.glob("epoch-0000/shard-*.tar"))) == 1


def test_a_checksum_sees_the_pairs_and_not_the_order():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    labels = np.array([0, 1])
    same = checksum([(images[::-1], labels[::-1])])
    assert same == checksum([(images[:1], labels[:1]), (images[1:], labels[1:])])
    swapped = checksum([(images, labels[::-1])])
    assert {**same, "crcs": swapped["crcs"]} == swapped
    assert same != swapped


def test_a_turn_runs_pass_after_pass_and_closes_its_last(monkeypatch):
    clock, closed = [5.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    class Batches:
        def __iter__(self):
            try:
                for labels in ([1, 2, 3], [4, 5]):
                    clock[0] += 0.011
                    yield None, labels
            finally:
                closed.append(True)

    samples, seconds = turn(Batches(), 0.025)
    assert samples == 8
    assert seconds >= 0.03
    assert closed == [True, True]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ["numpy-take", "webdataset"])
def test_readers_serve_the_samples_that_went_in(work, kind, shuffle):
    folder = work / "npy" / ("input" if kind == "numpy-take" else "root")
    with Served(kind, folder, shuffle=shuffle, batch_size=128, cores=1, threads=1) as served:
        served.start()
        assert served.check() == expected(work)
        assert served.run(0.01) > 0


def test_jpeg_readers_agree(work):
    sums = {}
    for kind, folder in (("simplejpeg", "input"), ("webdataset", "root")):
        with Served(
            kind, work / "jpg" / folder, shuffle=False, batch_size=50, cores=1, threads=2
        ) as served:
            served.start()
            sums[kind] = served.check()
    assert sums["simplejpeg"]["samples"] == 360
    stream.same_samples(sums, exact=False)


def test_other_samples_are_an_error():
    one = {"samples": 2, "pixels": 10_000, "labels": 3, "crcs": 5}
    for name in ("samples", "labels"):
        with pytest.raises(RuntimeError, match="them delivers other samples"):
            stream.same_samples({"us": one, "them": one | {name: 1}}, exact=False)
    stream.same_samples({"us": one, "them": one | {"pixels": 10_070, "crcs": 6}}, exact=False)
    with pytest.raises(RuntimeError, match="them delivers other samples"):
        stream.same_samples({"us": one, "them": one | {"crcs": 6}}, exact=True)


def test_a_reader_that_fails_shows_its_error(tmp_path):
    served = Served("numpy-take", tmp_path, shuffle=False, batch_size=8, cores=1, threads=1)
    with served, pytest.raises(RuntimeError, match=r"(?s)numpy-take reader ended.*labels\.npy"):
        served.start()


def test_the_script_imports_nothing_of_ours():
    program = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pipeline" not in done.stdout
    assert "tests" not in done.stdout


def test_versions_are_one_line_of_json():
    command = [sys.executable, "-I", SCRIPT, "versions"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["numpy"] == np.__version__


def test_a_race_without_our_readers_still_measures_the_peers(work, monkeypatch):
    def absent(root: Path):
        raise ModuleNotFoundError("No module named 'pipeline.stream'")

    race = stream.Race("raw", False, {"ours": absent}, {"numpy.take": 0.6, "FFCV": 1}, exact=True)
    monkeypatch.setattr(stream, "SECONDS", 0.01)
    take, ffcv = stream.run_race(race, work / "npy", 1, 1, None)
    assert take.peer_rate is not None
    assert take.verdict == "— not measured: No module named 'pipeline.stream'"
    assert ffcv.peer_rate is None
    assert ffcv.passed is None


def test_our_streams_race_beside_the_peers(work, monkeypatch):
    monkeypatch.setattr(stream, "SECONDS", 0.01)
    for race in stream.RAW:
        only = race._replace(targets={"numpy.take": 0.6, "FFCV": 1})
        rows = stream.run_race(only, work / "npy", 2, 1, None)
        assert len(rows) == 2 * len(race.ours)
        assert [row.ratio is not None for row in rows] == [True, False] * len(race.ours)
        assert rows[1].verdict == "— not measured: `make peers` makes it measurable"


def test_the_remote_section_reads_whole_passes_and_says_where_it_cannot(
    moto, monkeypatch, tmp_path
):
    monkeypatch.setattr(remote, "SHARD_BYTES", 200_000)
    monkeypatch.setattr(remote, "WEBDATASET_S", 0.01)
    inputs = open_inputs(load_recipe("digits", ["mixing_set.count=24"]), InlineExecutor())
    rows = remote._measure(inputs, 1, moto, tmp_path)
    assert [(row.peer, row.target) for row in rows] == [
        ("one GET a shard", 0.8),
        ("one GET a shard", 0.8),
        ("webdataset, pipe:curl", None),
    ]
    assert all(row.ours_rate.median > 0 for row in rows)
    assert {path.name[:1] for path in tmp_path.iterdir()} > {"."}  # the cache was used
    (first, *_) = remote.rows_without("no server")
    assert first.verdict == "— not measured: no server"
