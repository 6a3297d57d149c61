"""Sets of several kinds: counts follow weights, parts keep their pictures, mistakes are named."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.pictures import open_pictures
from pipeline.pictures.blend import FRACTALS, LIBRARY, apportion, blend_parts
from pipeline.pictures.picture_set import PictureSet
from pipeline.recipe import load_pictures


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _blend(parts: str, *more: str, count: int = 20) -> PictureSet:
    config = load_pictures("blend", [f"parts={parts}", *more], {"count": count, "size": 16})
    return open_pictures(config, InlineExecutor())


def _kinds(pictures: PictureSet) -> dict[str, int]:
    names = pictures.ids.to_pylist()
    return dict(Counter(n.split("/")[0] if "/" in n else n.rpartition("-")[0] for n in names))


def _folder(count: int, size: int = 20) -> Path:
    folder = Path("photos/a")
    folder.mkdir(parents=True)
    generator = np.random.Generator(np.random.PCG64(0))
    for number in range(count):
        pixels = generator.integers(0, 256, (size, size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder.parent


# ── counts ──


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.integers(0, 10_000))
def test_counts_add_up_and_are_within_one_of_their_share(weights: list[float], total: int) -> None:
    counts = apportion(weights, total)
    assert sum(counts) == total
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count - total * weight / math.fsum(weights)) < 1 + 1e-6


def test_the_largest_remainder_is_rounded_up_and_the_first_of_equals() -> None:
    assert apportion([0.45, 0.30, 0.10, 0.15], 8) == [4, 2, 1, 1]
    assert apportion([1, 1, 1], 2) == [1, 1, 0]
    assert apportion([3, 1], 100) == [75, 25]


def test_the_library_is_the_published_mixture() -> None:
    assert FRACTALS == {"flame": 0.45, "escape": 0.30, "ifs": 0.10}
    assert LIBRARY == {**FRACTALS, "gabor": 0.15}
    pictures = open_pictures(
        load_pictures("library", (), {"count": 40, "size": 16}), InlineExecutor()
    )
    assert _kinds(pictures) == {"flame": 18, "escape": 12, "ifs": 4, "gabor": 6}
    assert [tally.kind for tally in pictures.tallies] == list(LIBRARY)
    assert [tally.kept for tally in pictures.tallies] == [18, 12, 4, 6]


def test_the_library_with_feature_visualisations_differs_in_its_last_part_alone() -> None:
    plain, fvis = (
        open_pictures(load_pictures(kind, (), {"count": 40, "size": 16}), InlineExecutor())
        for kind in ("library", "library-fvis")
    )
    assert _kinds(fvis) == {"flame": 18, "escape": 12, "ifs": 4, "fvis": 6}
    shared = int(plain.offsets[34])
    assert np.array_equal(fvis.pixels[:shared], plain.pixels[:shared])
    assert not np.array_equal(fvis.pixels[shared:], plain.pixels[shared:])


# ── parts ──


def test_a_part_holds_the_pictures_of_its_kind() -> None:
    blended = _blend("{ifs: 3, gabor: 1}")
    alone = open_pictures(load_pictures("ifs", (), {"count": 15, "size": 16}), InlineExecutor())
    assert _kinds(blended) == {"ifs": 15, "gabor": 5}
    assert np.array_equal(blended.pixels[: len(alone.pixels)], alone.pixels)
    blended.verify()


def test_a_named_blend_may_be_a_part() -> None:
    pictures = _blend("{fractals: 0.75, gabor: 0.25}", count=34)
    kinds = _kinds(pictures)
    assert (kinds["flame"], kinds["escape"], kinds["ifs"], kinds["gabor"]) == (14, 9, 3, 8)


def test_parts_that_are_the_same_add_up() -> None:
    twice = load_pictures("blend", ["parts={fractals: 0.85, flame: 0.45}"], {"count": 130})
    counts = {part.section.kind: part.section.count for part in blend_parts(twice)}  # type: ignore[arg-type]
    assert counts == {"flame": 90, "escape": 30, "ifs": 10}


def test_a_part_of_another_name_and_seed() -> None:
    pictures = _blend("{ifs: 1, other: {kind: ifs, weight: 1, seed: 5}}", count=6)
    names = pictures.ids.to_pylist()
    assert names[0] == "ifs-000000"
    assert names[3:] == ["other/ifs-000000", "other/ifs-000001", "other/ifs-000002"]
    assert pictures.picture(0).tobytes() != pictures.picture(3).tobytes()


def test_size_and_seed_of_the_blend_hold_for_its_parts() -> None:
    first, other = _blend("{ifs: 1, gabor: 1}"), _blend("{ifs: 1, gabor: 1}", "seed=1")
    assert set(first.heights) == {16}
    assert not set(map(bytes, map(first.picture, range(20)))) & set(
        map(bytes, map(other.picture, range(20)))
    )


def test_folders_and_arrays_as_parts() -> None:
    photos = _folder(8)
    array = np.arange(5 * 24 * 24 * 3, dtype=np.uint64).astype(np.uint8).reshape(5, 24, 24, 3)
    np.save("random.npy", array)
    pictures = _blend(
        "{ifs: 0.5, photos: {kind: folder, path: photos, weight: 0.3},"
        " random: {kind: npy, path: random.npy, weight: 0.2}}"
    )
    assert _kinds(pictures) == {"ifs": 10, "photos": 6, "random": 4}
    names = pictures.ids.to_pylist()
    assert names[10:12] == ["photos/a/00.png", "photos/a/01.png"]
    assert names[16:] == ["random/000000", "random/000001", "random/000002", "random/000003"]
    assert set(pictures.heights[:16]) == {
        16
    }  # a folder is resized as the blend is, an array is not
    assert np.array_equal(pictures.picture(16), array[0])
    assert photos.is_dir()
    pictures.verify()


def test_unreadable_pictures_of_a_part_are_recorded() -> None:
    (_folder(3) / "bad.png").write_bytes(b"no picture")
    parts = "{ifs: 1, photos: {kind: folder, path: photos, weight: 1, on_unreadable: skip}}"
    pictures = _blend(parts, count=8)
    assert len(pictures) == 7
    assert [skip.id for skip in pictures.skipped] == ["bad.png"]


def test_a_part_that_is_too_small_says_how_many_it_has() -> None:
    _folder(5)
    with pytest.raises(UsageError, match=r"'photos' holds 5 pictures, 10 are asked for"):
        _blend("{ifs: 1, photos: {kind: folder, path: photos, weight: 1}}")


def test_workers_change_nothing(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_pictures("blend", ["parts={ifs: 1, gabor: 2}"], {"count": 240, "size": 16})
    inline = open_pictures(config, InlineExecutor())
    monkeypatch.setenv("DREAMSHARDS_CACHE", str(tmp_path / "other"))
    with RayExecutor(ray_address, 2) as ray:
        assert open_pictures(config, ray).digest == inline.digest


# ── mistakes ──


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("{}", "parts: got {}; allowed: one part or more"),
        ("[flame]", "allowed: a mapping from part to weight"),
        ("{flme: 1}", "parts.flme.kind: got 'flme' (did you mean 'flame'?)"),
        ("{flame: 0}", "parts.flame: got weight 0; allowed: a number above 0"),
        ("{flame: -1}", "parts.flame: got weight -1"),
        ("{flame: .inf}", "parts.flame: got weight inf"),
        ("{flame: .nan}", "parts.flame: got weight nan"),
        ("{flame: true}", "parts.flame: got weight True"),
        ("{flame: much}", "parts.flame: got weight 'much'"),
        ("{flame: {seed: 1}}", "parts.flame: got weight None"),
        ("{flame: {weight: 1, count: 5}}", "parts.flame.count: the weight decides how many"),
        (
            "{flame: {weight: 1, seeds: 5}}",
            "parts.flame.seeds: unknown field (did you mean 'seed'?",
        ),
        ("{flame: {weight: 1, size: 0}}", "parts.flame.size: got 0; allowed: a whole number, 8 to"),
        ("{x: {weight: 1, kind: folder}}", "parts.x.path: missing; add it, text"),
        ("{x: {weight: 1, kind: blend, parts: {}}}", "a blend cannot be part of one"),
        ("{x: {weight: 1, kind: dead-leaves, shapes: round}}", "parts.x.shapes: got 'round'"),
    ],
)
def test_each_wrong_part_is_named(parts: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        _blend(parts)
    assert words in str(caught.value)
    assert "blend is not valid; nothing was made" in str(caught.value)


def test_all_wrong_parts_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        _blend("{flame: 0, photos: {weight: 1, kind: folder}, ifs: {weight: 1, size: 1}}")
    for words in ("parts.flame", "parts.photos.path", "parts.ifs.size"):
        assert words in str(caught.value)
