"""The command line: every flag does what it says, every mistake is one clear line and the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline import __version__
from pipeline.cli import main
from tests.conftest import SMALL, Runner, tree

TINY = ("source.split=test", "epochs=1", "mixing_set.count=8")


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """Run the command, check its exit code and that it printed nothing but errors; return them."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dreamshards: error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"dreamshards {__version__}\n"


def test_the_surface_of_the_command_line_is_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    surface = {}
    commands = ("build", "estimate", "pictures", "pictures zoom", "train", "evaluate", "compare")
    commands += ("verify", "replay", "preview", "doctor", "gc")
    for command in commands:
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        words = capsys.readouterr().out.replace("[", " ").split()
        surface[command] = sorted({word.rstrip(",]") for word in words if word.startswith("--")})
    assert surface == {
        "build": [
            *("--help", "--inline", "--out", "--ray-address", "--ray-resources"),
            *("--ray-runtime-env", "--set", "--workers"),
        ],
        "estimate": ["--help", "--set", "--workers"],
        "pictures": [
            *("--count", "--format", "--help", "--inline", "--out", "--ray-address"),
            *("--ray-resources", "--ray-runtime-env", "--seed"),
            *("--set", "--sheet", "--size", "--table", "--workers"),
        ],
        "pictures zoom": [
            *("--chroma", "--factor", "--fps", "--frames", "--help", "--kind", "--out"),
            *("--outwards", "--seed", "--size"),
        ],
        "train": [
            *("--data", "--help", "--keep-best", "--live", "--out", "--set", "--test", "--weights")
        ],
        "evaluate": [
            *("--batch-size", "--cache-bytes", "--cache-dir", "--data", "--device", "--help"),
            *("--no-pgd", "--out", "--pgd"),
            *(
                "--pgd-eps",
                "--pgd-samples",
                "--pgd-step",
                "--pgd-steps",
                "--published",
                "--samples",
            ),
            *("--seed", "--set"),
        ],
        "compare": ["--help", "--out"],
        "verify": ["--help", "--replay", "--set"],
        "replay": ["--help", "--save", "--set"],
        "preview": ["--help", "--out", "--samples", "--set"],
        "doctor": ["--help", "--ray-address"],
        "gc": ["--dry-run", "--help", "--older-than"],
    }


def test_a_build_reports_on_stdout_in_six_lines_and_names_the_next_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["build", "digits", "--inline", "--out", "d", "--set", *TINY]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "d: complete; 1 epoch × 360 samples in 1 shard, 1.84 MB"
    assert out[1] == f"digest {json.loads(Path('d/dataset.json').read_text())['digest']}"
    assert out[2].startswith("made 360 samples in ")
    assert out[3:] == [
        "next: dreamshards verify d --replay 0.01",
        "      dreamshards preview d",
    ]


def test_the_default_root_is_named_after_the_recipe() -> None:
    assert main(["build", "digits", "--inline", "--set", *TINY, "name=mine"]) == 0
    assert Path("datasets/mine/dataset.json").exists()


def test_overrides_may_share_a_flag_or_repeat_it() -> None:
    assert (
        main(["build", "digits", "--inline", "--set", *TINY, "--set", "seed=3", "--out", "d"]) == 0
    )
    recipe = json.loads(Path("d/dataset.json").read_text())["recipe"]
    assert (recipe["seed"], recipe["epochs"], recipe["source"]["split"]) == (3, 1, "test")


def test_workers_and_ray_address_build_the_same_tree(small_root: Path, ray_address: str) -> None:
    arguments = ["build", "digits", "--out", "d", "--ray-address", ray_address, "--workers", "1"]
    assert main([*arguments, "--set", *SMALL]) == 0
    assert tree(Path("d")) == tree(small_root)


def test_a_recipe_file_builds_like_a_preset(small_root: Path) -> None:
    Path("mine.yaml").write_text(
        "name: digits\nepochs: 2\nsource: {kind: digits}\n"
        "transform: {kind: pad-crop, flip: 0.0}\naugmentation: {family: pixmix}\n"
        "mixing_set: {kind: library, count: 24}\nshards: {samples_per_shard: 500}\n"
    )
    assert main(["build", "mine.yaml", "--inline", "--out", "d"]) == 0
    assert tree(Path("d")) == tree(small_root)


def test_skipped_inputs_are_recorded_and_end_in_exit_code_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for label in ("a", "b"):
        folder = Path("train") / label
        folder.mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(folder / "good.png")
        (folder / "bad.jpg").write_bytes(b"not a picture")
    arguments = ["build", "image-folder", "--inline", "--out", "d", "--set", "source.path=train"]
    arguments += ["transform.size=32", "mixing_set.count=4", "epochs=1"]
    message = failed(capsys, *arguments, code=1)
    assert "a/bad.jpg" in message
    assert "b/bad.jpg" in message
    assert not Path("d").exists()
    assert main([*arguments, "source.on_unreadable=skip"]) == 3
    assert "skipped 2 unreadable inputs" in capsys.readouterr().out
    skipped = json.loads(Path("d/dataset.json").read_text())["source"]["skipped"]
    assert [entry["id"] for entry in skipped] == ["a/bad.jpg", "b/bad.jpg"]
    assert main([*arguments, "source.on_unreadable=skip"]) == 3  # still, when nothing is left to do


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bild"], 2, "invalid choice: 'bild'"),
        (["build", "digits", "--ouy", "x"], 2, "unknown argument '--ouy' (did you mean '--out'?)"),
        (["build", "digits", "--inl"], 2, "did you mean '--inline'"),
        (["build", "digit"], 2, "unknown recipe 'digit' (did you mean 'digits'?)"),
        (["build", "digits", "--set", "augmentation.k=-1"], 2, "augmentation.k: got -1"),
        (["build", "digits", "--set", "augmentation.kk=1"], 2, "unknown field (did you mean 'k'?)"),
        (["build", "digits", "--workers", "0"], 2, "got '0'; allowed: a whole number, 1 or more"),
        (["build", "digits", "--inline", "--workers", "2"], 2, "--inline works in one process"),
        (
            ["build", "digits", "--inline", "--ray-resources", "spot=1"],
            2,
            "leave out --workers and",
        ),
        (["build", "digits", "--ray-resources", "spot=1"], 2, "for a running cluster: give --ray"),
        (["build", "digits", "--ray-resources", "spot"], 2, "got 'spot'; allowed: NAME=NUMBER"),
        (["build", "digits", "--ray-resources", "spot=1GB"], 2, "memory=SIZE such as 4GB"),
        (["build", "digits", "--ray-runtime-env", "none.yaml"], 2, "none.yaml: No such file"),
        (["build", "digits", "--ray-address", "127.0.0.1:1"], 1, "no Ray cluster answers"),
        (["build", "digits", "--ray-address", "nowhere"], 2, "got 'nowhere'; allowed: auto, local"),
        (["build", "digits", "--out", "file"], 1, "file is a file; give --out a folder"),
        (["build", "digits", "--out", "file/d"], 1, "file is a file; give --out a folder"),
        (["build", "digits", "--out", "full"], 1, "full holds files that are not a build's"),
        (["build", "digits", "--out", "ftp://host/x"], 2, "no such kind of store; allowed: a path"),
        (["build", "cifar10", "--inline"], 2, "source.download=true"),
        (["build", "image-folder", "--set", "source.path=none"], 2, "none"),
        (["build", "image-folder", "--set", "source.path=holed"], 2, "empty"),
        (
            [
                "build",
                "digits",
                "--inline",
                "--set",
                "mixing_set.kind=folder",
                "mixing_set.path=full",
            ],
            2,
            "full",
        ),
        (["verify", "none"], 1, "none: no such folder"),
        (["verify", "full"], 1, "full: no dataset.json; this is not the root of a build"),
        (["verify", "full", "--replay", "2"], 2, "got '2'; allowed: 0 to 1"),
        (["replay", "full", "0000-0000000000"], 1, "no dataset.json"),
        (["preview", "none"], 1, "none: no such folder"),
        (["preview", "full", "--samples", "x"], 2, "got 'x'; allowed: a whole number"),
        (["estimate", "digits", "--set", "epochs=0"], 2, "epochs: got 0"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    Path("file").write_text("x")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    for label in ("a", "empty"):
        Path("holed", label).mkdir(parents=True)
    Image.new("RGB", (64, 64)).save("holed/a/x.png")
    before = tree(Path())
    assert words in failed(capsys, *arguments, code=code)
    assert tree(Path()) == before


def test_estimate_prints_time_core_hours_and_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "digits", "--workers", "16", "--set", "mixing_set.count=8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("measured ")
    assert "4 epochs, 5,748 samples in 4 shards, about 29.8 MB" in lines[1]
    assert "core-hours" in lines[1]
    assert "this machine" in lines[2]
    assert lines[3].startswith("  16 workers: ")
    assert not Path("datasets").exists()


def test_an_interrupt_keeps_what_is_committed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.build

    whole = pipeline.losses.build_shard
    calls = []

    def interrupted(context: object, name: object) -> object:
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(context, name)  # type: ignore[arg-type]

    arguments = ["build", "digits", "--inline", "--out", "d"]
    arguments += ["--set", *TINY, "shards.samples_per_shard=90"]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.losses, "build_shard", interrupted)
        assert main(arguments) == 130
    assert "interrupted; what is committed is kept" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "2 shards found" in capsys.readouterr().out


def test_the_module_and_the_command_are_one(dreamshards: Runner) -> None:
    run = dreamshards("build", "digits", "--set", "nonsense")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
