"""`evaluate` and `compare`: tables and files out, exit codes that tell the truth, every flag."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evaluation.predictions import read_about
from evaluation.results import Reading, Results, SetResult
from pipeline.cli import main
from tests.conftest import stored
from tests.evaluation_helpers import build_root, save_network
from tests.servers import Moto
from tests.training_helpers import project

CORRUPTED = """
name: noise
source: {kind: digits, split: test, count: 40}
transform: {kind: pad-crop, size: 32, padding: 0, flip: 0.0}
augmentation: {family: corruptions, names: [contrast], severities: [3]}
"""


class Place:
    """A folder with a run, a clean root and a recipe of one corruption."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = str(save_network(folder / "mine" / "last.pt"))
        self.clean = str(build_root(folder / "clean"))
        self.recipe = str(folder / "noise.yaml")
        Path(self.recipe).write_text(CORRUPTED)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return the folder; read it, never change it."""
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_evaluation_prints_its_table_and_names_its_files(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", place.checkpoint, "--data", place.clean, place.recipe, "--out", "e"]
    arguments += ["--pgd-samples", "10", "--pgd-steps", "2", "--pgd-eps", "8/255"]
    arguments += ["--pgd-step", "0.02", "--batch-size", "50", "--device", "cpu", "--seed", "3"]
    assert main([*arguments, "--samples", "200"]) == 0
    out = capsys.readouterr().out
    results = Results.from_json(Path("e/results.json").read_text())
    lines = out.splitlines()
    assert lines[0].split() == [
        "model",
        "Clean",
        "err",
        "C",
        "mCE",
        "PGD",
        "err",
        "RMS",
        "C",
        "RMS",
    ]
    row = next(line for line in lines if line.startswith("mine  "))
    error = results.summary()["clean_error"].value
    assert row.split()[1] == f"{error:.1f}"
    assert any(line.startswith("mine, as published  ") for line in lines)
    assert out.count("digits-test: samples 200 of 360.") == 1
    assert "e: 4 sets evaluated, in " in out
    assert "e/report.html shows them" in out
    (clean, attacked, noisy, _) = results.sets
    assert clean.settings == {"samples": "200 of 360"}
    assert attacked.settings == {
        "centre": "clean",
        "eps": "8/255",
        "steps": "2 of 5.1/255",
        "samples": "10 of 360",
        "seed": "3",
    }
    assert noisy.settings["centre"] == "noisy"
    about = read_about(Path("e/predictions-digits-test-pgd.parquet"))
    assert about is not None
    assert about.identity["batch_size"] == 50
    assert about.identity["attack"] == {"eps": 8 / 255, "steps": 2, "step": 0.02, "centre": "clean"}
    assert main([*arguments, "--samples", "200"]) == 0
    assert "e: 0 sets evaluated, 4 found, in " in capsys.readouterr().out


def test_a_root_in_an_object_store_gives_the_same_and_its_secrets_stay_out(
    place: Place, moto: Moto, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uri = stored(moto, Path(place.clean))
    quick = ["--no-pgd", "--device", "cpu", "--samples", "50"]
    assert (
        main(["evaluate", place.checkpoint, "--data", place.clean, *quick, "--out", "local"]) == 0
    )
    cache = ["--cache-dir", str(tmp_path / "cache"), "--cache-bytes", "10000000"]
    arguments = ["evaluate", place.checkpoint, "--data", uri, *quick, "--out", "remote"]
    assert main([*arguments, *cache]) == 0
    assert list((tmp_path / "cache").glob("*.tar-*"))
    found = [
        Results.from_json(Path(out, "results.json").read_text()).sets[0].readings
        for out in ("local", "remote")
    ]
    assert found[0] == found[1]
    written = capsys.readouterr().out + "".join(
        path.read_bytes().decode("latin-1") for path in Path("remote").rglob("*") if path.is_file()
    )
    assert uri.partition("@")[2].partition("?")[0] in written  # bucket and prefix
    assert moto.secret_key not in written
    assert "endpoint=" not in written
    assert main(["evaluate", place.checkpoint, "--data", place.clean, *quick, *cache]) == 2
    assert "--data names none; leave them out" in capsys.readouterr().err


def test_by_default_it_lies_beside_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = build_root(tmp_path / "clean", "source.count=20")
    checkpoint = save_network(tmp_path / "run" / "best.pt", classes=[str(i) for i in range(10)])
    assert main(["evaluate", str(checkpoint), "--data", str(clean), "--no-pgd"]) == 0
    names = {path.name for path in (tmp_path / "run" / "evaluation-best").iterdir()}
    assert names == {"predictions-digits-test.parquet", "report.html", "results.json"}
    assert "run/best" in capsys.readouterr().out


def test_published_and_set_reach_what_they_change(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", place.checkpoint, "--data", "digits-test", place.recipe]
    arguments += ["--no-pgd", "--out", "e", "--published", "--set", "source.count=30"]
    assert main(arguments) == 0
    assert len(pq.read_table("e/predictions-noise.parquet")) == 30
    assert len(pq.read_table("e/predictions-digits-test.parquet")) == 30
    assert json.loads(Path("e/results.json").read_text())["published"] is True
    assert "as published" not in capsys.readouterr().out


def test_a_hole_is_told_and_ends_in_exit_code_3(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cats/cat").mkdir(parents=True)
    arguments = ["evaluate", place.checkpoint, "--data", place.clean, "clean:cats", "--no-pgd"]
    assert main([*arguments, "--samples", "20", "--out", "e"]) == 3
    out = capsys.readouterr().out
    assert "not evaluated: clean:cats: " in out
    assert "e: 1 set evaluated" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "the following arguments are required: CHECKPOINT, --data"),
        (["none.pt", "--data", "digits-test"], 1, "none.pt"),
        (["{0.checkpoint}", "--data", "digits-tst"], 2, "did you mean 'digits-test'"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--set", "a=1"], 2, "--data names none"),
        (["{0.checkpoint}", "--data", "digits-test", "--set", "sed=1"], 2, "did you mean 'seed'"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--samples", "0"], 2, "got '0'"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--seed", "-1"], 2, "seed"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--pgd-eps", "2"], 2, "such as 2/255"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--pgd-eps", "1/0"], 2, "such as 2/255"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--pgd-step", "x"], 2, "such as 2/255"),
        (
            ["{0.checkpoint}", "--data", "{0.clean}", "--no-pgd", "--pgd-steps", "3"],
            2,
            "--no-pgd attacks nothing",
        ),
        (["{0.checkpoint}", "--data", "{0.clean}", "--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--out", "file"], 1, "file is a file"),
        (["{0.checkpoint}", "--data", "digits"], 2, "no test set: family 'pixmix'"),
        (["{0.checkpoint}", "--data", "{0.clean}", "--pgd-sample", "3"], 2, "'--pgd-samples'"),
    ],
)
def test_mistakes_of_evaluate(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    Path("file").write_text("x")
    assert main(["evaluate", *(text.format(place) for text in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dreamshards: error: ")
    assert words in captured.err


@pytest.mark.slow
def test_the_module_is_the_command() -> None:
    words = [sys.executable, "-m", "evaluation", "x.pt", "--data", "digits-tst"]
    run = subprocess.run(
        words, check=False, cwd=project(), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert "did you mean 'digits-test'" in run.stderr


# ── compare ──


def results(model: str, error: float, attacked: float, dataset: str = "cifar10") -> Results:
    """Return results with two measures."""
    clean = SetResult("test", "clean", (Reading("test", 100, {"error": error, "rms": 0.1}),))
    pgd = SetResult("test-pgd", "pgd", (Reading("test-pgd", 100, {"error": attacked}),))
    return Results(model, dataset, (clean, pgd))


def written(name: str, content: Results) -> str:
    """Write results into a folder and return its name."""
    Path(name).mkdir()
    Path(name, "results.json").write_text(content.to_json())
    return name


def test_compare_puts_models_side_by_side_and_says_which_is_better(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = written("a", results("first", 0.05, 0.9))
    other = written("b", results("second", 0.04, 0.8))
    assert main(["compare", one, f"{other}/results.json", "--out", "page"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["first", "5.0", "90.0", "10.0"],
        ["second", "4.0", "80.0", "10.0"],
    ]
    assert any(line.startswith("PixMix (published)") for line in lines)
    assert any("second is no worse than first" in line for line in lines)
    assert lines[-1] == "page/comparison.html"
    assert "second" in Path("page/comparison.html").read_text()


def test_compare_tells_two_of_one_model_apart_and_repeats_their_holes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written("a", results("mine", 0.05, 0.9))
    written("b", replace(results("mine", 0.04, 0.8), holes={"c": "torn"}))
    assert main(["compare", "a", "b"]) == 3
    out = capsys.readouterr().out
    assert "mine (a)  " in out
    assert "not evaluated: mine (b), c: torn" in out
    assert not Path("comparison.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a"], 2, "allowed: two evaluations or more"),
        (["a", "a"], 2, "each once"),
        (["a", "none"], 1, "none: no readable results"),
        (["a", "c"], 1, "evaluations on cifar10, cifar100; allowed: of one data set"),
        (["a", "torn"], 1, "torn/results.json"),
    ],
)
def test_mistakes_of_compare(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    written("a", results("first", 0.05, 0.9))
    written("c", results("third", 0.05, 0.9, "cifar100"))
    Path("torn").mkdir()
    Path("torn/results.json").write_text("{")
    assert main(["compare", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
