"""What all generators share: redrawing, prefixes, resuming, and the same bytes whatever the workers did."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.picture_sections import DeadLeavesPictures, FlamePictures, GaborPictures
from pipeline.pictures import generated, open_pictures
from pipeline.pictures.generated import GENERATORS, MAX_ATTEMPTS, Generator, Job
from pipeline.pictures.picture_set import PictureSet, Tally
from pipeline.pictures.quality import NO_GATE, Cells, Gate
from pipeline.pictures.sources import source_digest
from pipeline.recipe import load_pictures
from tests.elsewhere import without_avx

U8 = generated.U8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))


class _Backwards(InlineExecutor):
    def map(self, function: Any, shared: Any, jobs: Any) -> Iterator[Any]:
        return super().map(function, shared, reversed(list(jobs)))


def _gabor(count: int, executor: Any = None, seed: int = 0) -> PictureSet:
    config = GaborPictures(kind="gabor", count=count, size=16, seed=seed)
    return open_pictures(config, executor or InlineExecutor())


def _install(
    monkeypatch: pytest.MonkeyPatch, render: Callable[..., None], gate: Gate, alike: float
) -> None:
    """Make `render` the generator of the kind flame."""
    module = types.SimpleNamespace(render=render)
    importlib = types.SimpleNamespace(import_module=lambda _: module)
    monkeypatch.setattr(generated, "importlib", importlib)
    monkeypatch.setattr(generated, "_compile_once", lambda kind: None)
    monkeypatch.setitem(generated.GENERATORS, "flame", Generator("flame", "render", gate, alike))


def _plain(levels: dict[tuple[int, int], int]) -> Callable[..., None]:
    """Return a generator of plain grey pictures; `levels` by (index, attempt)."""

    def render(seed: int, index: int, attempt: int, out: U8) -> None:
        out[:] = levels[index, attempt]

    return render


def _greys(count: int) -> tuple[list[int], Tally]:
    family = generated.Family("flame", 0, 8, {})
    chunk = generated.render_chunk([family], Job(0, 0, 0, count))
    pictures = chunk.pixels.reshape(count, -1)
    assert (pictures == pictures[:, :1]).all()
    return pictures[:, 0].tolist(), chunk.tallies[0]


def test_a_picture_that_fails_its_gate_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Gate(entropy=(0.5, 6.0))
    seen = []

    def render(seed: int, index: int, attempt: int, out: U8) -> None:
        seen.append((index, attempt))
        out[:] = 0
        out[: 4 if attempt >= index else 0] = 255  # picture i passes at attempt i

    _install(monkeypatch, render, busy, 0.0)
    chunk = generated.render_chunk([generated.Family("flame", 0, 8, {})], Job(0, 0, 0, 3))
    assert seen == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert chunk.tallies == (Tally("flame", 3, 6, 3, 0, 0),)
    assert chunk.ids == ["flame-000000", "flame-000001", "flame-000002"]
    pictures = chunk.pixels.reshape(3, 8, 8, 3)
    assert (pictures[:, :4] == 255).all()


def test_a_picture_that_looks_like_another_of_its_chunk_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = {(0, 0): 100, (1, 0): 101, (1, 1): 200, (2, 0): 10}
    _install(monkeypatch, _plain(levels), NO_GATE, 0.2)
    assert _greys(3) == ([100, 200, 10], Tally("flame", 3, 4, 0, 1, 0))


def test_after_the_last_attempt_the_best_is_kept_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = {(1, attempt): 100 + attempt for attempt in range(MAX_ATTEMPTS)}
    levels |= {(0, 0): 100, (1, 5): 117}  # the farthest from 100
    _install(monkeypatch, _plain(levels), NO_GATE, 0.2)
    expected = Tally("flame", 2, 1 + MAX_ATTEMPTS, 0, MAX_ATTEMPTS, 1)
    assert _greys(2) == ([100, 117], expected)


def test_options_reach_the_generator() -> None:
    squares, circles = (
        open_pictures(
            DeadLeavesPictures(kind="dead-leaves", count=2, size=16, shapes=shapes),
            InlineExecutor(),
        )
        for shapes in ("squares", "circles")
    )
    assert squares.digest != circles.digest


def test_a_smaller_set_is_the_start_of_a_larger_one() -> None:
    few, many = _gabor(40), _gabor(150)
    assert np.array_equal(many.pixels[: len(few.pixels)], few.pixels)
    assert many.ids.to_pylist()[:40] == few.ids.to_pylist()
    assert (few.ids[0].as_py(), many.ids[149].as_py()) == ("gabor-000000", "gabor-000149")
    assert few.digest != _gabor(40, seed=1).digest
    few.verify()


def test_every_picture_passes_and_no_two_of_a_chunk_are_alike() -> None:
    pictures = _gabor(64)
    gate, alike = GENERATORS["gabor"].gate, GENERATORS["gabor"].alike
    cells = [Cells(pictures.picture(index)) for index in range(64)]
    assert pictures.tallies[0].forced == 0
    assert max(gate.shortfall(one) for one in cells) == 0
    vectors = np.stack([one.descriptor for one in cells])
    distances = np.sqrt(((vectors[:, None] - vectors) ** 2).sum(axis=-1))
    assert distances[np.triu_indices(64, 1)].min() >= alike - 1e-12


def test_workers_and_their_order_change_nothing(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, files = set(), set()
    with RayExecutor(ray_address, 2) as ray:
        for name, executor in (("a", InlineExecutor()), ("b", _Backwards()), ("c", ray)):
            monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / name))
            pictures = _gabor(200, executor)
            digests.add((pictures.digest, pictures.tallies))
            (entry,) = (tmp_path / name / "pictures").iterdir()
            files.add((entry.name, (entry / "index.parquet").read_bytes()))
    assert len(digests) == len(files) == 1


@pytest.mark.slow
def test_a_processor_without_avx_decides_alike(tmp_path: Path) -> None:
    """Gates and distances too: the same draws are kept."""
    script = (
        f"import os; os.environ['DREAMSHARDS_CACHE'] = {str(tmp_path)!r}\n"
        "from pipeline.executor import InlineExecutor\n"
        "from pipeline.pictures import open_pictures\n"
        "from pipeline.recipe import load_pictures\n"
        "config = load_pictures('ifs', (), {'count': 64, 'size': 36})\n"
        "print(open_pictures(config, InlineExecutor()).digest)\n"
    )
    config = load_pictures("ifs", (), {"count": 64, "size": 36})
    pictures = open_pictures(config, InlineExecutor())
    assert pictures.tallies[0].drawn > 64
    assert without_avx(script) == [pictures.digest]


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from pipeline.executor import InlineExecutor\n"
        "from pipeline.picture_sections import GaborPictures\n"
        "from pipeline.pictures import open_pictures\n"
        "class Killed(InlineExecutor):\n"
        "    def map(self, function, shared, jobs):\n"
        "        for done, job in enumerate(jobs):\n"
        "            if done == 2:\n"
        "                os.kill(os.getpid(), signal.SIGKILL)\n"
        "            yield function(shared, job)\n"
        "open_pictures(GaborPictures(kind='gabor', count=200, size=16), Killed())\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    folder = tmp_path / "cache" / "pictures"
    (chunks,) = folder.glob(".*.chunks")
    assert sorted(path.name for path in chunks.glob("*.npz")) == ["000000.npz", "000001.npz"]
    made = []

    class Counting(InlineExecutor):
        def map(self, function: Any, shared: Any, jobs: Any) -> Iterator[Any]:
            for job in jobs:
                made.append(job.number)
                yield function(shared, job)

    resumed = _gabor(200, Counting())
    assert made == [2, 3]
    os.environ["DREAMSHARDS_CACHE"] = str(tmp_path / "other")
    whole = _gabor(200)
    assert (resumed.digest, resumed.tallies) == (whole.digest, whole.tallies)
    assert not list(folder.glob(".*.chunks"))


def test_the_second_opening_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _gabor(3)
    monkeypatch.setattr(generated, "render_chunk", None)
    again = _gabor(3)
    assert (again.digest, again.tallies) == (first.digest, first.tallies)


def test_a_change_of_a_generator_makes_a_new_set(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FlamePictures(kind="flame", count=1, size=16)
    before = generated.family_identity(generated.family_of(config))
    monkeypatch.setattr(generated, "source_digest", lambda *modules: "edited")
    assert generated.family_identity(generated.family_of(config)) != before


def test_sources_are_followed_through_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.pictures import sources

    def digest() -> str:
        source_digest.cache_clear()
        return source_digest("a")

    monkeypatch.setattr(sources, "_FOLDER", tmp_path)
    (tmp_path / "a.py").write_text("from pipeline.pictures import b as c\nimport os\n")
    (tmp_path / "b.py").write_text("def f():\n    from pipeline.pictures.d import e\n")
    (tmp_path / "d.py").write_text(
        "import pipeline.pictures.a\nfrom pipeline.pictures import cache\n"
    )
    (tmp_path / "cache.py").write_text("")
    (tmp_path / "unused.py").write_text("")
    first = digest()
    (tmp_path / "unused.py").write_text("1")
    (tmp_path / "cache.py").write_text("1")
    assert digest() == first
    (tmp_path / "d.py").write_text("pass\n")
    assert digest() != first
    source_digest.cache_clear()


@pytest.mark.parametrize("kind", [kind for kind in GENERATORS if kind != "fvis"])
def test_every_kind_makes_pictures_of_any_size(kind: str) -> None:
    for size in (8, 33):
        config = load_pictures(kind, (), {"count": 2, "size": size})
        pictures = open_pictures(config, InlineExecutor())
        assert len(pictures) == 2
        assert pictures.picture(1).shape == (size, size, 3)
        assert pictures.picture(0).tobytes() != pictures.picture(1).tobytes()
        assert pictures.ids.to_pylist() == [f"{kind}-000000", f"{kind}-000001"]


def test_chunks_are_cut_family_by_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "chunk_length", lambda size: 4)
    families = [generated.Family("flame", 0, 36, {}), generated.Family("ifs", 0, 36, {})]
    assert generated.chunk_jobs(families, [6, 4]) == [
        Job(0, 0, 0, 4),
        Job(1, 0, 4, 6),
        Job(2, 1, 0, 4),
    ]
