"""Several drivers or nodes of one root: none harms another, and what one has made no other makes again."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.build import build
from pipeline.errors import DreamshardsError
from pipeline.executor import InlineExecutor
from pipeline.identity import inputs_identity, recipe_hash
from pipeline.inputs import open_inputs
from pipeline.pending import plan_shards
from pipeline.recipe import load_recipe
from pipeline.reuse import build_shards
from pipeline.sampling import draw_plan
from pipeline.shards.dataset import read_sealed, write_sealed
from pipeline.store import LocalStore, open_store
from pipeline.worker import (
    Contents,
    ShardContext,
    ShardResult,
    _rendered,
    build_shard,
    commit_shard,
)
from tests.conftest import tree
from tests.kill_helpers import CONTEXT
from tests.servers import Moto, Server

FIELDS = ("source.split=test", "epochs=3", "mixing_set.count=8", "shards.samples_per_shard=60")
NUM_SHARDS = 18


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root that one driver built; read it, never change it."""
    root = tmp_path_factory.mktemp("drivers") / "r"
    build(load_recipe("digits", FIELDS), root, InlineExecutor())
    return root


class Hindered(InlineExecutor):
    """Does something before each shard is made."""

    def __init__(self, before: Callable[[int], None]) -> None:
        self.before = before

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]
    ) -> Iterator[Any]:
        for number, job in enumerate(jobs):
            if function is build_shard:
                self.before(number)
            yield function(shared, job)


def build_together(uri: str, barrier: Barrier, reports: Any) -> None:
    def wait(number: int) -> None:
        if number == 0:
            barrier.wait(60)

    report = build(load_recipe("digits", FIELDS), uri, Hindered(wait))
    reports.put((report.num_built, report.dataset["digest"]))


@pytest.mark.slow
def test_two_drivers_at_once_make_the_root_that_one_makes(
    any_store: Server, prefix: str, whole: Path
) -> None:
    barrier, reports = CONTEXT.Barrier(2), CONTEXT.Queue()
    uri = any_store.full_uri(prefix)
    drivers = [
        CONTEXT.Process(target=build_together, args=(uri, barrier, reports)) for _ in range(2)
    ]
    for driver in drivers:
        driver.start()
    (one, digest), (other, same) = reports.get(timeout=120), reports.get(timeout=120)
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0, 0]
    assert digest == same == json.loads((whole / "dataset.json").read_bytes())["digest"]
    assert NUM_SHARDS <= one + other <= 2 * NUM_SHARDS
    assert any_store.tree(prefix) == tree(whole)


def test_what_another_driver_made_meanwhile_is_found_and_not_written_again(
    moto: Moto, prefix: str, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.use(monkeypatch)
    uri, written = moto.full_uri(prefix), []
    store = type(open_store(uri))

    def noting(write: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, path: str, *rest: Any) -> Any:
            written.append(path)
            return write(self, path, *rest)

        return noted

    def another(number: int) -> None:
        if number == 4:
            report = build(load_recipe("digits", FIELDS), uri, InlineExecutor())
            assert (report.num_built, report.num_found) == (NUM_SHARDS - 4, 4)
            for name in ("create", "write"):
                monkeypatch.setattr(store, name, noting(getattr(store, name)))

    report = build(load_recipe("digits", FIELDS), uri, Hindered(another))
    assert (report.num_built, report.num_found) == (4, NUM_SHARDS - 4)
    assert report.dataset["digest"] == json.loads((whole / "dataset.json").read_bytes())["digest"]
    assert written == []
    assert moto.tree(prefix) == tree(whole)


@pytest.fixture
def context(tmp_path: Path) -> ShardContext:
    """Return what the shards of the build share, in an empty folder that no build has begun."""
    inputs = open_inputs(load_recipe("digits", FIELDS), InlineExecutor())
    return ShardContext(inputs, recipe_hash(inputs_identity(inputs)), LocalStore(tmp_path / "r"))


def test_a_shard_that_another_made_while_it_was_rendered_stays_as_it_is(
    context: ShardContext, whole: Path
) -> None:
    name = next(plan_shards(context.inputs))
    root = context.store.folder  # type: ignore[attr-defined]
    plan = draw_plan(context.inputs, name.epoch, name.start, name.stop)
    before: dict[Path, int] = {}

    def parts() -> Iterator[Any]:
        for number, part in enumerate(_rendered(context.inputs, plan)):
            if number == 0:
                assert build_shard(context, name).made
                before.update({path: path.stat().st_mtime_ns for path in root.rglob("shard-*")})
            yield part

    contents = Contents(plan, np.arange(name.start, name.stop))
    result = commit_shard(context, name, contents, parts(), 0.0)
    assert result == ShardResult.found(name)
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in root.rglob("shard-*")} == before
    assert tree(root).items() <= tree(whole).items()
    assert build_shard(context, name) == result
    assert build_shards(context, (name,)) == [result]


def test_a_node_that_does_not_see_the_root_writes_nothing_and_is_named(
    context: ShardContext, whole: Path, small_root: Path
) -> None:
    store = context.store
    begun = ShardContext(context.inputs, context.recipe_hash, store, begun=True)
    name = next(plan_shards(context.inputs))
    advice = "; put it on storage that every node sees, or give --out a URI"
    for make in (lambda: build_shard(begun, name), lambda: build_shards(begun, (name,))):
        with pytest.raises(DreamshardsError) as caught:
            make()
        assert str(caught.value) == f"node {socket.gethostname()} does not see {store}{advice}"
    root = Path(str(store))
    assert not root.exists()
    root.mkdir()
    shutil.copy(small_root / "recipe.json", root)
    with pytest.raises(DreamshardsError, match=r"^node \S+ sees another build at "):
        build_shard(begun, name)
    shutil.copy(whole / "recipe.json", root)
    assert build_shard(begun, name).made


# ── versions ──


def begin_with(root: Path, whole: Path, versions: dict[str, str] | None) -> None:
    """Copy a root without its dataset.json and a shard, begun with other packages."""
    shutil.copytree(whole, root)
    (root / "dataset.json").unlink()
    (root / "epoch-0001/shard-000002.parquet").unlink()
    content = read_sealed(root, "recipe.json")
    assert content is not None
    del content["digest"]
    if versions is None:
        del content["versions"]
    else:
        content["versions"] |= versions
    write_sealed(root, "recipe.json", content)


def test_a_build_begun_with_other_packages_is_not_gone_on_with(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "r"
    here = json.loads((whole / "dataset.json").read_bytes())["versions"]
    begin_with(root, whole, {"numpy": "0.1", "numba": "0.2", "python": "2.7", "ray": "0"})
    before = tree(root)
    with pytest.raises(DreamshardsError) as caught:
        build(load_recipe("digits", FIELDS), root, InlineExecutor())
    assert str(caught.value).splitlines() == [
        f"{root} was begun with other packages, which may make other bytes; it was left as it is",
        f"  numba: the root has 0.2, here is {here['numba']}",
        f"  numpy: the root has 0.1, here is {here['numpy']}",
        "either go on with those:   pip install numba==0.2 numpy==0.1",
        f"or build into a new root:  --out {root}-2",
    ]
    assert tree(root) == before


def test_what_tells_in_no_byte_may_differ_and_every_driver_says_the_same(
    whole: Path, tmp_path: Path
) -> None:
    begin_with(tmp_path / "r", whole, {"python": "2.7", "ray": "0"})
    report = build(load_recipe("digits", FIELDS), tmp_path / "r", InlineExecutor())
    assert report.num_built == 1
    assert report.dataset["versions"]["python"] == "2.7"


def test_a_root_begun_before_versions_were_recorded_is_gone_on_with(
    whole: Path, tmp_path: Path
) -> None:
    begin_with(tmp_path / "r", whole, None)
    build(load_recipe("digits", FIELDS), tmp_path / "r", InlineExecutor())
    made = tree(tmp_path / "r")
    assert made.pop("recipe.json") != (expected := tree(whole)).pop("recipe.json")
    assert made == expected


def test_a_complete_root_stays_complete_whatever_is_installed(whole: Path, tmp_path: Path) -> None:
    begin_with(tmp_path / "r", whole, {"numpy": "0.1"})
    shutil.copy(whole / "dataset.json", tmp_path / "r")
    assert build(load_recipe("digits", FIELDS), tmp_path / "r", InlineExecutor()).num_built == 0
