"""Rendering one stored sample again, from its manifest row, its clean source and the mixing set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.captions import describe_base, describe_steps
from pipeline.errors import DreamshardsError
from pipeline.executor import Executor
from pipeline.families import FAMILIES
from pipeline.inputs import reopen_inputs
from pipeline.plan.base import ClipBasePlan
from pipeline.publish import publish
from pipeline.sampling import (
    Inputs,
    Plan,
    draw_plan,
    encode_samples,
    plan_columns,
    plan_fields,
    plan_from_rows,
    render_base,
    render_plan,
)
from pipeline.shards.codecs import CODECS
from pipeline.shards.dataset import read_dataset
from pipeline.shards.reader import find_shard, read_manifest, read_payload
from pipeline.sources.clips import ClipSource
from pipeline.store import Root, open_store

_PICTURE_AXES = 3
U8 = npt.NDArray[np.uint8]


class Rendered(NamedTuple):
    """Some manifest rows rendered again.

    Attributes:
        clean: the source pictures, each uint8 [H, W, 3], or clips [T, H, W, 3].
        bases: uint8 [n, S, S, 3], after the base transform, or [n, T, S, S, 3] of clips.
        mixing: what each sample was mixed with, uint8 [S, S, 3] or of a clip [T, S, S, 3], None where it met
            nothing: the crop of its mixing picture, or a second source sample after its base transform.
        samples: uint8 [n, S, S, 3], or [n, F, S, S, 3] of clips.
    """

    clean: list[U8]
    bases: U8
    mixing: list[U8 | None]
    samples: U8


def render_rows(inputs: Inputs, rows: pa.Table) -> Rendered:
    """Render manifest rows again, with the pictures they were made from."""
    plan = plan_from_rows(inputs.recipe, rows)
    family = FAMILIES[inputs.recipe.augmentation.family]
    mixing: list[U8 | None] = [None] * len(rows)
    if family.partner is not None:
        mixing = family.partners(plan.augmentation, inputs)
    return Rendered(
        _clean(inputs, plan),
        render_base(inputs, plan),
        mixing,
        render_plan(inputs, plan),
    )


def _clean(inputs: Inputs, plan: Plan) -> list[U8]:
    """Return the source picture or clip of each sample of a plan."""
    source, indices = inputs.source, plan.sources.tolist()
    if not isinstance(source, ClipSource):
        return [source.read(index) for index in indices]
    assert isinstance(plan.base, ClipBasePlan)
    starts = plan.base.start_frame.tolist()
    return [source.read_clip(*place) for place in zip(indices, starts, strict=True)]


def draw_rows(inputs: Inputs, epoch: int, start: int, stop: int) -> pa.Table:
    """Draw the decisions of positions [start, stop) again, as the plan's columns of their manifest rows."""
    columns = plan_columns(inputs, draw_plan(inputs, epoch, start, stop))
    fields = plan_fields(inputs.recipe)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def encode_rows(inputs: Inputs, rows: pa.Table) -> list[bytes]:
    """Render manifest rows again and encode them as their shards hold them."""
    samples = render_plan(inputs, plan_from_rows(inputs.recipe, rows))
    return [bytes(payload) for payload in encode_samples(inputs.recipe, samples)]


def replay(
    root: Root, key: str, save: Path | None, overrides: Sequence[str], executor: Executor
) -> list[str]:
    """Render one sample again and compare it with the stored bytes; return lines that say what it is.

    Raises:
        DreamshardsError: there is no such sample, its inputs are not found, or its decisions or bytes differ.
    """
    store = open_store(root)
    dataset = read_dataset(store)
    name, row = find_shard(dataset, key)
    (entry,) = (shard for shard in dataset["shards"] if shard["file"] == name.tar)
    rows = read_manifest(store, name.manifest, entry["manifest_sha256"])
    payload = read_payload(store, name, rows, row)
    inputs = reopen_inputs(store, dataset, overrides, executor)
    one = rows.slice(row, 1)
    facts = one.to_pylist()[0]
    position = name.start + row
    (drawn,) = draw_rows(inputs, name.epoch, position, position + 1).to_pylist()
    changed = [column for column in drawn if drawn[column] != facts[column]]
    if changed:
        raise DreamshardsError(
            f"{store.address(name.manifest)}: sample {key} is not what the recipe draws: "
            f"{', '.join(changed)}; `dreamshards verify {store} --replay 1` lists all that is wrong"
        )
    (again,) = encode_rows(inputs, one)
    if save is not None:
        stored = CODECS[inputs.recipe.shards.codec].decode(payload)
        _save(save, key, _pictures(inputs, render_rows(inputs, one)) | {"stored": stored})
    if again != payload:
        raise DreamshardsError(
            f"{store.address(name.tar)}: sample {key} rendered again gives other bytes "
            f"({len(again)} against {len(payload)} stored); the tar was altered and its digests "
            f"with it, or other package versions made it; see `dreamshards verify {store}`"
        )
    lines = [
        f"{key}: source {facts['source_id']}, label {facts['label']} "
        f"({dataset['classes'][facts['label']]})",
        f"  {describe_base(facts)}",
        *(f"  {line}" for line in describe_steps(facts)),
        f"identical: {len(payload):,} bytes, CRC-32 {facts['crc32']:08x}",
    ]
    if save is not None:
        lines.append(f"pictures: {save}/{key}-*.png")
    return lines


def _pictures(inputs: Inputs, rendered: Rendered) -> dict[str, U8 | None]:
    """Return the pictures of one sample rendered again, by what they are."""
    partner = FAMILIES[inputs.recipe.augmentation.family].partner or "none"
    return {
        "clean": rendered.clean[0],
        "base": rendered.bases[0],
        partner.split()[0]: rendered.mixing[0],
        "replayed": rendered.samples[0],
    }


def _save(folder: Path, key: str, pictures: dict[str, U8 | None]) -> None:
    for what, picture in pictures.items():
        if picture is not None:
            if picture.ndim > _PICTURE_AXES:  # the frames of a clip side by side
                picture = np.concatenate(picture, axis=1)
            with publish(folder / f"{key}-{what}.png") as file:
                Image.fromarray(picture).save(file, "PNG")
