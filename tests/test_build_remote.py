"""Building into an object store and checking, replaying and showing what is there: each S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.store import base, open_store
from tests.conftest import tree
from tests.servers import Moto, Server
from tests.tiny import KEY, MANIFEST, MERGED, TAR, build_tiny, check, flipped, planted


@pytest.fixture
def uri(any_store: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where a root may lie on each server, with keys and options that are nobody's business."""
    for name in any_store.environment:
        monkeypatch.delenv(name)
    return any_store.full_uri(prefix)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished root in a folder; its recipe lies beside it."""
    return build_tiny(tmp_path_factory.mktemp("remote"))


@pytest.mark.slow
def test_every_command_takes_a_uri(
    any_store: Server,
    prefix: str,
    uri: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = str(open_store(uri))
    recipe = str(tiny.parent / "tiny.yaml")
    assert main(["build", recipe, "--inline", "--out", uri]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0].startswith(f"{name}: complete; 1 epoch × 24 samples in 3 shards")
    assert out[-1] == f"      dreamshards preview {name}"
    assert any_store.tree(prefix) == tree(tiny)
    assert main(["build", recipe, "--inline", "--out", uri]) == 0
    assert "nothing was left to do" in capfd.readouterr().out
    assert main(["build", recipe, "--inline", "--out", uri, "--set", "seed=3"]) == 1
    refusal = capfd.readouterr().err.splitlines()
    assert refusal[-2:] == [
        f"either build into a new root:  --out {name}-2",
        f"or remove the old one first:   aws s3 rm --recursive {name}",
    ]
    assert main(["verify", uri, "--replay", "1"]) == 0
    expected = f"{name}: 24 samples in 3 shards as written, 24 of them rendered again\n"
    assert capfd.readouterr().out == expected
    assert main(["replay", uri, KEY, "--save", "saved"]) == 0
    assert main(["replay", str(tiny), KEY, "--save", "saved-too"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[: len(lines) // 2 - 1] == lines[len(lines) // 2 : -1]
    assert "identical: 320 bytes" in lines[-2]
    assert tree(Path("saved")) == tree(Path("saved-too"))
    assert len(tree(Path("saved"))) == 5
    assert main(["preview", uri]) == 0
    assert main(["preview", str(tiny), "--out", "expected"]) == 0
    shown = Path(name.rpartition("/")[2] + ".preview")
    assert tree(shown) == tree(Path("expected"))
    assert any_store.tree(prefix) == tree(tiny)
    assert any_store.secret_key not in "".join(capfd.readouterr())


def test_a_folder_that_must_be_local_is_refused_without_its_secrets(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", str(tiny), "--out", "s3://key:secret@bucket/x?region=y"]) == 2
    assert capsys.readouterr().err == (
        "dreamshards: error: argument --out: got s3://…; allowed: a local folder; "
        "see dreamshards preview --help\n"
    )


def test_what_is_no_root_is_told(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = open_store(uri)
    for command in (["verify", uri], ["replay", uri, KEY], ["preview", uri]):
        assert main(command) == 1
        assert capsys.readouterr().err == (
            f"dreamshards: error: {name}: no dataset.json; this is not the root of a build\n"
        )


@pytest.mark.slow
def test_faults_are_those_that_the_same_files_have_in_a_folder(
    moto: Moto, prefix: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = moto.full_uri(prefix)
    monkeypatch.setattr(base, "PIECE_BYTES", 9000)
    store = open_store(uri)
    files = {file: (tiny / file).read_bytes() for file in tree(tiny)}
    for file, content in files.items():
        store.write(file, content)
    assert check(store, 1).faults == check(tiny, 1).faults == []
    damages = [
        (TAR, flipped(files[TAR], 9000, 3)),
        (TAR, flipped(files[TAR], len(files[TAR]) - 1, 3)),
        (TAR, files[TAR][:9500]),
        (TAR, files[TAR] + b"more"),
        (TAR, b""),
        (TAR, None),
        (MANIFEST, flipped(files[MANIFEST], 900, 3)),
        (MANIFEST, None),
        (MERGED, None),
        ("recipe.json", None),
        ("epoch-0000/notes.txt", b"mine"),
    ]
    for file, content in damages:
        store.delete(file)
        if content is not None:
            store.write(file, content)
        with planted(tiny / file, content):
            expected = check(tiny, 0.2).faults
        found = check(open_store(uri), 0.2).faults
        assert [fault.file for fault in expected] == [file] * len(expected)
        assert expected
        assert found == expected
        store.delete(file)
        if file in files:
            store.write(file, files[file])
