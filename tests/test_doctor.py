"""The commands that look after stores and clusters: doctor and gc, on real servers and a real cluster."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.doctor.nodes import NodeState, Token, _of_node
from pipeline.executor.versions import installed
from pipeline.store import LocalStore, open_store
from tests.conftest import tree
from tests.proxy import Answer, Proxy, Rule
from tests.servers import BUCKET, Ceph, Moto, Server
from tests.tls import behind_tls

STEPS = [
    "write 1 kB",
    "read it back",
    "write over it",
    "write 21 MB",
    "read it whole and by range",
    "an object of the same bytes is left alone",
    "list",
    "half-written objects are found and removed",
    "nothing left behind",
]


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> list[tuple[str, ...]]:
    """Run the command and return its lines as (state, what, detail); a heading has an empty state."""
    assert main(["doctor", *arguments]) == code
    found: list[tuple[str, ...]] = []
    for line in capsys.readouterr().out.splitlines():
        state, text = (line[2:9].strip(), line[10:]) if line.startswith("  ") else ("", line)
        found.append((state, *text.partition(": ")[::2]))
    return found


def test_a_store_that_is_well_passes_every_step(
    any_store: Server, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    any_store.client().put_object(Bucket=BUCKET, Key=f"{prefix}/mine", Body=b"kept")
    lines = doctor(capsys, any_store.uri(prefix), code=0)
    assert lines[0][1].startswith(f"s3://{BUCKET}/{prefix}, at {any_store.endpoint}")
    assert [(state, what) for state, what, _ in lines[1:]] == [
        ("ok", what) for what in ("answer", *STEPS)
    ]
    assert "clocks agree" in lines[1][2]
    assert "MB/s" in lines[5][2]
    assert list(any_store.tree(prefix)) == ["mine"]
    assert any_store.uploads(prefix) == []


def test_a_folder_that_is_well_is_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("kept")
    lines = doctor(capsys, "new/folder", str(tmp_path), code=0)
    assert [what for _, what, _ in lines] == [
        *("new/folder", "free", *STEPS),
        *(str(tmp_path), "free", *STEPS),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    lines = doctor(capsys, "file/d", code=1)
    assert lines[1] == ("failed", "write", f"{tmp_path}/file is a file; give --out a folder")


def test_uploads_refused_for_their_checksums_work_with_the_setting_that_is_printed(
    ceph: Ceph, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    ceph.use(monkeypatch)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    with behind_tls(ceph.endpoint, tmp_path) as (endpoint, certificate):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        lines = doctor(capsys, ceph.uri(prefix), code=1)
        assert lines[1][0] == "failed"
        assert "is not trusted; set AWS_CA_BUNDLE" in lines[1][2]
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        lines = doctor(capsys, ceph.uri(prefix), code=1)
        assert [(state, what) for state, what, _ in lines[1:]] == [
            ("ok", "answer"),
            ("failed", "write 1 kB"),
            ("note", "it works"),
            ("ok", "nothing left behind"),
            ("", "1 failed"),
        ]
        assert "HTTP 411 MissingContentLength" in lines[2][2]
        assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in lines[3][2]
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        doctor(capsys, ceph.uri(prefix), code=0)
    assert ceph.tree(prefix) == {}


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        (("http%3A", "https%3A"), "does not speak TLS", "AWS_ENDPOINT_URL=http://127.0.0.1:"),
        (("SECRETKEY", "guessed"), "HTTP 403", None),
        (("@bkt/", "@nobucket/"), "aws s3 mb s3://nobucket", None),
    ],
)
def test_what_is_wrong_is_said_with_what_mends_it(
    ceph: Ceph, prefix: str, capsys, change: tuple[str, str], words: str, remedy: str | None
) -> None:
    uri = ceph.full_uri(prefix).replace(*change)
    lines = doctor(capsys, uri, code=1)
    assert lines[1][:2] == ("failed", "answer")
    assert words in lines[1][2]
    notes = [detail for state, _, detail in lines if state == "note"]
    assert len(notes) == (remedy is not None)
    assert all(str(remedy) in note for note in notes)
    assert not any("SECRETKEY" in part or "guessed" in part for line in lines for part in line)


def test_a_store_that_may_not_be_deleted_from_is_told_what_is_left(
    moto: Moto, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Proxy(moto.endpoint) as proxy:
        proxy.add(Rule(Answer(403, "AccessDenied"), "DELETE"))
        lines = doctor(capsys, moto.full_uri(prefix, proxy.endpoint), code=1)
    assert lines[-2][:2] == ("failed", "nothing left behind")
    assert "s3:DeleteObject" in lines[-2][2]


def test_there_must_be_something_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 2
    assert "give a URI or a path, or --ray-address" in capsys.readouterr().err
    assert main(["doctor", "ftp://x/y"]) == 1
    assert "no such kind of store" in capsys.readouterr().err


# ── nodes ──


def test_every_node_of_a_cluster_is_looked_at(
    ray_address: str, moto: Moto, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [moto.full_uri(prefix), str(tmp_path)]
    lines = doctor(capsys, *roots, "--ray-address", ray_address, code=0)
    begin = next(i for i, line in enumerate(lines) if line[1].startswith("Ray cluster at"))
    details = [detail for _, _, detail in lines[begin + 1 :]]
    assert details[0].startswith("1 answer: ")
    assert details[1].startswith("versions as here: dreamshards ")
    assert [detail.partition(" ")[0] for detail in details[2:5]] == ["temporary", "cache", "memory"]
    assert details[5] == "clock agrees"
    assert details[6:] == [
        f"s3://{BUCKET}/{prefix} is the same there",
        f"{tmp_path} is the same there",
    ]
    assert moto.tree(prefix) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = doctor(capsys, "--ray-address", "127.0.0.1:1", code=1)
    assert lines[1][:2] == ("failed", "nodes")
    assert "no Ray cluster answers" in lines[1][2]


def test_what_is_wrong_with_a_node_names_it() -> None:
    well = NodeState(
        installed(), ("/tmp", 10**12), ("/cache", 10**12), 10**11, 10**11, time.time(), [""]
    )
    tokens = [Token(LocalStore(Path("/data")), "x", b"x")]
    between = well.time_s - 1, well.time_s + 1
    assert not any(found.is_failed for found in _of_node("n7", well, between, tokens))
    changes: list[tuple[dict[str, object], str]] = [
        ({"versions": installed() | {"numpy": "1.0"}}, "versions: numpy 1.0, here "),
        ({"temp": ("/tmp", 5)}, "temporary folder /tmp: 5 B free; free some, or set TMPDIR"),
        ({"cache": ("/c", 5)}, "cache /c: 5 B free; free some, or set DREAMSHARDS_CACHE"),
        ({"available_bytes": 10**6}, "memory 1 MB of 100 GB available"),
        ({"time_s": well.time_s + 1000}, "clock 999 s off this machine's; set it"),
        ({"unseen": ["/data/x: No such file"]}, "does not see /data; put it on storage that every"),
    ]
    for change, words in changes:
        state = NodeState(**{**vars(well), **change})  # type: ignore[arg-type]
        failed = [found for found in _of_node("n7", state, between, tokens) if found.is_failed]
        assert len(failed) == 1
        assert failed[0].what == "node n7"
        assert failed[0].detail.startswith(words)


# ── gc ──


def begin_uploads(server: Server, prefix: str, *names: str) -> None:
    for name in names:
        server.client().create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/{name}")


def gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["gc", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_uploads_of_killed_builds_are_listed_and_aborted(
    any_store: Server, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "epoch-0000/shard-000001.tar", "below/epoch-0002/manifest.parquet"
    begin_uploads(any_store, prefix, *ours, "theirs.bin")
    begin_uploads(any_store, f"{prefix}-other", ours[0])
    any_store.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{ours[0]}", Body=b"kept")
    root = any_store.uri(prefix)
    if not isinstance(any_store, Moto):  # it says of every upload that it is years old
        assert gc(capsys, root) == [
            f"{root}: 0 half-written objects removed, 2 younger than 1 h 00 min kept"
        ]
    lines = gc(capsys, root, "--older-than", "0s", "--dry-run")
    assert sorted(line.partition(",")[0] for line in lines[:-1]) == [
        f"would remove {name}" for name in sorted(ours)
    ]
    assert lines[-1] == f"{root}: 2 half-written objects would be removed"
    assert len(any_store.uploads(prefix)) == 3
    assert gc(capsys, root, "--older-than", "0s")[-1] == f"{root}: 2 half-written objects removed"
    assert any_store.uploads(prefix) == [f"{prefix}/theirs.bin"]
    assert len(any_store.uploads(f"{prefix}-other")) == 1
    assert list(any_store.tree(prefix)) == [ours[0]]
    for each in (prefix, f"{prefix}-other"):
        store = open_store(any_store.uri(each))
        for left in list(store.leftovers()):
            store.discard(left)


def test_a_folder_is_cleared_of_half_written_files_and_of_nothing_else(
    small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    before = tree(root)
    (root / ".partial").mkdir(exist_ok=True)
    (root / ".partial/.shard-000000.tar.0.tmp").write_bytes(b"half")
    (root / "epoch-0000/shard-000099.tar").write_bytes(b"of another plan")
    (root / "notes.txt").write_text("mine")
    for path in (root / ".partial/.shard-000000.tar.0.tmp", root / "epoch-0000/shard-000099.tar"):
        os.utime(path, (1, 1))
    lines = gc(capsys, str(root))
    assert [line.rpartition(",")[0] for line in lines[:-1]] == [
        "removed .partial/.shard-000000.tar.0.tmp, half-written",
        "removed epoch-0000/shard-000099.tar, not listed",
    ]
    assert lines[-1] == (
        f"{root}: 1 half-written object removed, 1 object that dataset.json lacks removed"
    )
    assert tree(root) == before | tree_of_notes(root)
    (root / "dataset.json").unlink()
    (root / "epoch-0000/shard-000001.parquet").unlink()
    before = tree(root)
    assert gc(capsys, str(root), "--older-than", "0s") == [
        f"{root}: 0 half-written objects removed"
    ]
    assert tree(root) == before  # a build that is not complete goes on from what is there


def tree_of_notes(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(root).items() if name == "notes.txt"}


def test_gc_keeps_off_a_folder_in_which_a_build_is_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalStore(tmp_path).claim():
        assert main(["gc", str(tmp_path)]) == 1
    assert "another build is at work" in capsys.readouterr().err
    assert main(["gc", "none"]) == 1
    assert "none: no such folder" in capsys.readouterr().err
    assert main(["gc", str(tmp_path), "--older-than", "1"]) == 2
    assert "got '1'; allowed: 90s, 30m, 1h, 2d" in capsys.readouterr().err


# ── settings of recipes ──


def test_a_recipes_store_section_reaches_its_root_and_is_kept_nowhere(
    ceph: Ceph, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    Path("mine.yaml").write_text(
        "name: digits\nepochs: 1\nsource: {kind: digits, split: test}\n"
        "transform: {kind: pad-crop}\naugmentation: {family: pixmix}\n"
        "mixing_set: {kind: library, count: 8}\n"
        f"store: {{endpoint: '{ceph.endpoint}', access_key: AKID, secret_key: {ceph.secret_key}}}\n"
    )
    root = f"s3://{BUCKET}/{prefix}"
    assert main(["build", "mine.yaml", "--inline", "--out", root]) == 0
    told = capsys.readouterr()
    with_recipe = ceph.tree(prefix)
    assert main(["build", "mine.yaml", "--inline", "--out", "d", "--set", "store.region=eu"]) == 0
    assert with_recipe == tree(Path("d"))
    content = "".join(
        path.read_bytes().decode("latin1") for path in Path("d").rglob("*") if path.is_file()
    )
    for secret in (ceph.secret_key, "AKID", ceph.endpoint):
        assert secret not in content
        assert secret not in told.out + told.err
    assert "store" not in json.loads(Path("d/dataset.json").read_text())["recipe"]
