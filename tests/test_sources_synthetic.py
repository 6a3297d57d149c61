"""Synthetic anomalies as a source: the same pictures and identity, held in memory or made when read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.build import build
from pipeline.corruptions.anomalies import ANOMALIES, anomaly_pictures
from pipeline.errors import UsageError
from pipeline.executor import InlineExecutor
from pipeline.recipe import load_recipe
from pipeline.source_sections import SyntheticSource
from pipeline.sources import ArraySource, synthetic
from pipeline.sources.synthetic import GeneratedSource, open_synthetic
from pipeline.stream import ShardStream
from pipeline.verify import verify
from tests.conftest import tree

EXECUTOR = InlineExecutor()


def config(**fields: object) -> SyntheticSource:
    content = {"kind": "synthetic", "law": "blobs", "count": 9, "size": 16, "seed": 5} | fields
    return SyntheticSource.model_validate(content)


@pytest.mark.parametrize("law", ANOMALIES)
def test_a_set_is_the_pictures_of_its_law(law: str) -> None:
    source = open_synthetic(config(law=law), EXECUTOR)
    assert isinstance(source, ArraySource)
    np.testing.assert_array_equal(source.pixels, anomaly_pictures(law, 9, 16, 5))
    assert source.class_names == ("anomaly",)
    assert source.labels.tolist() == [0] * 9
    assert source.ids.to_pylist()[::8] == [f"{law}-000000", f"{law}-000008"]


@pytest.mark.parametrize("law", ANOMALIES)
def test_a_large_set_is_made_as_it_is_read(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_synthetic(config(law=law), EXECUTOR)
    monkeypatch.setattr(synthetic, "MAX_BYTES", 9 * 16 * 16 * 3 - 1)
    monkeypatch.setattr(synthetic, "_CHUNK_BYTES", 4 * 16 * 16 * 3)
    made = open_synthetic(config(law=law), EXECUTOR)
    assert isinstance(made, GeneratedSource)
    assert made.fingerprint == held.fingerprint
    assert made.heights.tolist() == made.widths.tolist() == [16] * 9
    for index in (0, 4, 8):
        np.testing.assert_array_equal(made.read(index), held.read(index))
        np.testing.assert_array_equal(made.read_scaled(index, 4).pixels, held.read(index))


def test_every_field_is_in_the_fingerprint() -> None:
    changes: list[dict[str, object]] = [{}, {"law": "gaussian"}, {"count": 8}, {"size": 17}]
    sources = [open_synthetic(config(**change), EXECUTOR) for change in [*changes, {"seed": 6}]]
    assert len({source.fingerprint for source in sources}) == 5


def test_either_form_builds_the_same_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("anomalies-blobs", ["source.count=20"])
    build(recipe, tmp_path / "held", EXECUTOR)
    monkeypatch.setattr(synthetic, "MAX_BYTES", 0)
    build(recipe, tmp_path / "made", EXECUTOR)
    assert tree(tmp_path / "held") == tree(tmp_path / "made")
    assert verify(tmp_path / "made", 1.0, (), EXECUTOR).faults == []
    stream = ShardStream(tmp_path / "made", batch_size=20, return_keys=True)
    ((images, labels, _),) = list(stream)
    expected = {picture.tobytes() for picture in anomaly_pictures("blobs", 20, 32, 0)}
    assert {image.numpy().tobytes() for image in images} == expected
    assert (stream.classes, labels.tolist()) == (["anomaly"], [0] * 20)


def test_a_law_has_to_be_named() -> None:
    with pytest.raises(UsageError, match=r"source\.law: missing; add it, 'gaussian' or"):
        load_recipe("digits-test", ["source.kind=synthetic"])
    with pytest.raises(UsageError, match=r"source\.law: got 'blob' \(did you mean 'blobs'\?\)"):
        load_recipe("anomalies-blobs", ["source.law=blob"])
